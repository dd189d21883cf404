/** Weighted k-NN classification of features, as in the official evaluation. */
import { type FeatureRows, rowLength, topK } from "../math/feature-rows.js";
import { type FindNearest, nearestIn, nearestRows } from "../math/nearest-rows.js";

export interface KnnOptions {
  /** Rows of length one: see normalizeRows. */
  readonly train: FeatureRows;
  readonly test: FeatureRows;
  /** The class of each train row, 0 to classes - 1. */
  readonly trainLabels: ArrayLike<number>;
  readonly testLabels: ArrayLike<number>;
  readonly classes: number;
  /** Numbers of neighbours that vote; each gives one result. */
  readonly ks: readonly number[];
  /** A neighbour of similarity s has exp(s / temperature) votes; default 0.07. */
  readonly temperature?: number;
  /** Finds train rows; default: `nearestIn`. */
  readonly nearest?: FindNearest;
}

/** The classification by one number of neighbours. */
export interface KnnResult {
  /** The requested number of neighbours. */
  readonly k: number;
  /** Neighbours that voted: `k`, or all train rows if there are fewer. */
  readonly neighbors: number;
  /** Percent of test rows whose class has the most votes. */
  readonly top1: number;
  /** Percent of test rows whose class is among the first min(5, k, classes); of little meaning for k below 5. */
  readonly top5: number;
  /** The class with the most votes per test row; ties go to the lower class. */
  readonly predictions: Int32Array;
  /** Votes, not normalised: [test.rows, classes]. */
  readonly votes: Float64Array;
}

/** Tolerance of row lengths, which must be 1 or 0; f16 features after normalizeRows are within it. */
const LENGTH_TOLERANCE = 5e-3;

/**
 * Classifies every test row by its nearest train rows, for each k; ties go to the earlier row. Throws if sizes and
 * labels do not match or rows are not normalised. `knn_classifier` of
 * https://github.com/facebookresearch/dino/blob/main/eval_knn.py
 */
export async function knnClassify(options: KnnOptions): Promise<readonly KnnResult[]> {
  const { train, test, trainLabels, testLabels, classes, ks } = options;
  const { temperature = 0.07, nearest: find = nearestIn(train) } = options;
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

  for await (const { row, nearest, similarities } of nearestRows(test, most, find)) {
    for (const result of results) {
      const votes = result.votes.subarray(row * classes, (row + 1) * classes);
      for (let n = 0; n < result.neighbors; n++) {
        votes[trainLabels[nearest[n]!]!]! += Math.exp(similarities[n]! / temperature);
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
  if (rows < 1) throw new Error(`knn ${what}: expected images, got none`);
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
