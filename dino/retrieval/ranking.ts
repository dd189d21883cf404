/** How good rankings are: average precision and precision at k, as the revisited Oxford and Paris benchmarks count them. */
import { compareRows, type FeatureRows, type Similarities } from "../math/feature-rows.js";

/** What a query should find. An image that is neither relevant nor junk is wrong. */
export interface Truth {
  /** Images of the database, by number. */
  readonly relevant: readonly number[];
  /** Images that count neither for nor against. */
  readonly junk: readonly number[];
}

/** How well one query was answered, each 0 to 1. */
export interface QueryScore {
  readonly averagePrecision: number;
  /** One for each k. */
  readonly precisions: readonly number[];
}

/** The same over all queries that have relevant images, 0 to 1. */
export interface Scores {
  readonly meanAveragePrecision: number;
  readonly meanPrecisions: readonly number[];
  /** Queries that counted: those without relevant images do not. */
  readonly queries: number;
}

/**
 * The area under the curve of precision over recall, by trapezoids: places of all `relevant` images that were found, counted
 * from 0 and rising, -> 0 to 1. `compute_ap` of https://github.com/filipradenovic/revisitop/blob/master/python/evaluate.py
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
 * Scores one ranking: `order` holds all images of the database, the nearest first. Junk is passed over as if it were not there.
 * The precision at k is that at the last relevant image where this comes before k: a query with three relevant images that come
 * first has a precision of 1 at 5 too. Undefined for a query without relevant images. `compute_map` of the same file.
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

/** The mean over the queries that were scored; NaN where there are none. */
export function meanScores(scores: readonly (QueryScore | undefined)[]): Scores {
  const counted = scores.filter((score) => score !== undefined);
  const mean = (of: (score: QueryScore) => number): number =>
    counted.reduce((sum, score) => sum + of(score), 0) / counted.length;
  return {
    meanAveragePrecision: mean(({ averagePrecision }) => averagePrecision),
    meanPrecisions: (counted[0]?.precisions ?? []).map((_, i) => mean(({ precisions }) => precisions[i]!)),
    queries: counted.length,
  };
}

export interface RankingOptions {
  /** Rows of length one: see normalizeRows. */
  readonly queries: FeatureRows;
  readonly database: FeatureRows;
  readonly similarities: Similarities;
  /** Told of each query in turn: its row, the rows of the database, the most similar first and the earlier of equals. */
  readonly onRanked: (query: number, order: Int32Array) => void;
}

/** Ranks the whole database for every query. */
export async function rankAll({ queries, database, similarities, onRanked }: RankingOptions): Promise<void> {
  for await (const { row, similarity } of compareRows(queries, database, similarities)) {
    const order = Int32Array.from(similarity.keys()).sort((a, b) => similarity[b]! - similarity[a]! || a - b);
    onRanked(row, order);
  }
}
