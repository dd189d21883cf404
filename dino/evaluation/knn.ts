/** Weighted k-nearest-neighbour classification of features, as the official evaluation does it. */
import {
  compareRows,
  dotProducts,
  type FeatureRows,
  topK,
  rowLength,
  type Similarities,
} from "../math/feature-rows.js";

export interface KnnOptions {
  /** Rows of length one: see normalizeRows. */
  readonly train: FeatureRows;
  readonly test: FeatureRows;
  /** One class per train row, 0 to classes - 1. */
  readonly trainLabels: ArrayLike<number>;
  readonly testLabels: ArrayLike<number>;
  readonly classes: number;
  /** How many neighbours vote; every entry gives one result. */
  readonly ks: readonly number[];
  /** A neighbour of similarity s has exp(s / temperature) votes; 0.07 if left out. */
  readonly temperature?: number;
  /** Who computes similarities; `dotProducts` if left out. */
  readonly similarities?: Similarities;
}

/** What so many neighbours make of the test rows. */
export interface KnnResult {
  /** Neighbours asked for. */
  readonly k: number;
  /** Neighbours that voted: `k`, or all train rows where there are fewer. */
  readonly neighbors: number;
  /** Percent of test rows whose class has the most votes. */
  readonly top1: number;
  /** Percent whose class is among the first five, or the first min(5, k, classes); with k below 5 it means little. */
  readonly top5: number;
  /** The class of most votes per test row, the lower one of equals. */
  readonly predictions: Int32Array;
  /** Votes, not normalised: [test.rows, classes]. */
  readonly votes: Float64Array;
}

/** How far a row's length may be from one, or from zero: even f16 features that went through normalizeRows stay below it. */
const LENGTH_TOLERANCE = 5e-3;

/**
 * Classifies every test row by its nearest train rows, the earlier one of equals, for each k.
 * Throws if sizes and labels do not fit or rows are not normalised. `knn_classifier` of
 * https://github.com/facebookresearch/dino/blob/main/eval_knn.py
 */
export async function knnClassify(options: KnnOptions): Promise<readonly KnnResult[]> {
  const { train, test, trainLabels, testLabels, classes, ks } = options;
  const { temperature = 0.07, similarities = dotProducts } = options;
  checkOptions(options, temperature);

  const most = Math.min(Math.max(0, ...ks), train.rows);
  const results = ks.map((k) => ({
    k,
    neighbors: Math.min(k, train.rows),
    hits1: 0,
    hits5: 0,
    predictions: new Int32Array(test.rows),
    votes: new Float64Array(test.rows * classes),
  }));

  for await (const { row, similarity } of compareRows(test, train, similarities)) {
    const nearest = topK(similarity, most);
    for (const result of results) {
      const votes = result.votes.subarray(row * classes, (row + 1) * classes);
      for (let n = 0; n < result.neighbors; n++) {
        const neighbor = nearest[n]!;
        votes[trainLabels[neighbor]!]! += Math.exp(similarity[neighbor]! / temperature);
      }
      const ranking = topK(votes, Math.min(5, result.k, classes));
      result.predictions[row] = ranking[0]!;
      if (ranking[0] === testLabels[row]) result.hits1++;
      if (ranking.includes(testLabels[row]!)) result.hits5++;
    }
  }
  return results.map(({ hits1, hits5, ...result }) => ({
    ...result,
    top1: (hits1 * 100) / test.rows,
    top5: (hits5 * 100) / test.rows,
  }));
}

function checkOptions(options: KnnOptions, temperature: number): void {
  const { train, test, trainLabels, testLabels, classes, ks } = options;
  if (!(temperature > 0)) throw new Error(`knn temperature: expected more than 0, got ${temperature}`);
  if (!Number.isInteger(classes) || classes < 1) {
    throw new Error(`knn classes: expected a whole number from 1 on, got ${classes}`);
  }
  for (const k of ks) {
    if (!Number.isInteger(k) || k < 1) throw new Error(`knn k: expected a whole number from 1 on, got ${k}`);
  }
  if (train.dim !== test.dim) throw new Error(`knn: train [rows, ${train.dim}] and test [rows, ${test.dim}] differ`);
  checkRows("train", train, trainLabels, classes);
  checkRows("test", test, testLabels, classes);
}

function checkRows(what: string, features: FeatureRows, labels: ArrayLike<number>, classes: number): void {
  const { values, rows, dim } = features;
  if (rows < 1) throw new Error(`knn ${what}: there are no images`);
  if (values.length !== rows * dim) {
    throw new Error(`knn ${what}: [${rows}, ${dim}] takes ${rows * dim} values, got ${values.length}`);
  }
  if (labels.length !== rows) throw new Error(`knn ${what}: ${rows} rows, but ${labels.length} labels`);
  for (let r = 0; r < rows; r++) {
    const label = labels[r]!;
    if (!Number.isInteger(label) || label < 0 || label >= classes) {
      throw new Error(`knn ${what}: label ${label} of row ${r} is not from 0 to ${classes - 1}`);
    }
    const length = rowLength(features, r);
    if (!(length <= LENGTH_TOLERANCE || Math.abs(length - 1) <= LENGTH_TOLERANCE)) {
      throw new Error(
        `knn ${what}: row ${r} has length ${length}, expected 1; pass the features through normalizeRows`,
      );
    }
  }
}
