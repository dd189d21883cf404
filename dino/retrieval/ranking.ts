/** Quality of rankings: average precision and precision at k, as in the revisited Oxford and Paris benchmarks. */
import { compareRows, type FeatureRows, type Similarities } from "../math/feature-rows.js";

/** The ground truth of a query. Images that are neither relevant nor junk are wrong. */
export interface Truth {
  /** Relevant images, by index in the database. */
  readonly relevant: readonly number[];
  /** Images that are ignored. */
  readonly junk: readonly number[];
}

/** The scores of a query, each 0 to 1. */
export interface QueryScore {
  readonly averagePrecision: number;
  /** Precision at each k. */
  readonly precisions: readonly number[];
}

/** Mean scores over all queries with relevant images, 0 to 1. */
export interface Scores {
  readonly meanAveragePrecision: number;
  readonly meanPrecisions: readonly number[];
  /** Number of queries with relevant images. */
  readonly queries: number;
}

/**
 * Computes the area under the precision-recall curve, by trapezoids: ascending places of the `relevant` images found,
 * counted from 0, -> 0 to 1. `compute_ap` of https://github.com/filipradenovic/revisitop/blob/master/python/evaluate.py
 */
export function averagePrecision(places: readonly number[], relevant: number): number {
  let area = 0;
  for (const [found, place] of places.entries()) {
    const before = place === 0 ? 1 : found / place;
    const after = (found + 1) / (place + 1);
    area += (before + after) / 2 / relevant;
  }
  return area;
}

/**
 * Scores one ranking: `order` holds all images of the database, the nearest first. Junk is removed. If the last
 * relevant image comes before k, the precision at k is that at its place: a query with three relevant images in front
 * has a precision of 1 at 5 too. Returns undefined for a query without relevant images. `compute_map` of the same file.
 */
export function scoreRanking(order: Iterable<number>, truth: Truth, ks: readonly number[]): QueryScore | undefined {
  if (truth.relevant.length === 0) return undefined;
  const relevant = new Set(truth.relevant);
  const junk = new Set(truth.junk);
  const places: number[] = [];
  let place = 0;
  for (const image of order) {
    if (relevant.has(image)) places.push(place++);
    else if (!junk.has(image)) place++;
  }
  const last = (places.at(-1) ?? 0) + 1;
  return {
    averagePrecision: averagePrecision(places, relevant.size),
    precisions: ks.map((k) => {
      const depth = Math.min(last, k);
      return places.filter((found) => found < depth).length / depth;
    }),
  };
}

/** Averages over the scored queries; NaN if there are none. */
export function meanScores(scores: readonly (QueryScore | undefined)[]): Scores {
  const counted = scores.filter((score) => score !== undefined);
  const mean = (of: (score: QueryScore) => number): number =>
    counted.reduce((sum, score) => sum + of(score), 0) / counted.length;
  return {
    meanAveragePrecision: mean(({ averagePrecision: precision }) => precision),
    meanPrecisions: (counted[0]?.precisions ?? []).map((_, i) => mean(({ precisions }) => precisions[i]!)),
    queries: counted.length,
  };
}

export interface RankingOptions {
  /** Rows of length one: see normalizeRows. */
  readonly queries: FeatureRows;
  readonly database: FeatureRows;
  readonly similarities: Similarities;
  /**
   * Called for each query in turn with its row and the rows of the database, the most similar first; ties go to the
   * earlier row.
   */
  readonly onRanked: (query: number, order: Int32Array) => void;
}

/** Ranks the whole database for every query. */
export async function rankAll({ queries, database, similarities, onRanked }: RankingOptions): Promise<void> {
  for await (const { row, similarity } of compareRows(queries, database, similarities)) {
    const order = Int32Array.from(similarity.keys()).sort((a, b) => similarity[b]! - similarity[a]! || a - b);
    onRanked(row, order);
  }
}
