/** Weighted k-nearest-neighbour classification of features, as the official evaluation does it. */

/** Features, one row an image: row-major [rows, dim]. */
export interface FeatureRows {
  readonly values: Float32Array;
  readonly rows: number;
  readonly dim: number;
}

/** Dot products of a few test rows with all train rows: [block.rows, dim], [train.rows, dim] -> [block.rows, train.rows]. */
export type Similarities = (block: FeatureRows, train: FeatureRows) => Float32Array | Promise<Float32Array>;

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

/** Largest block of similarities held at once: 64 MiB. */
const BLOCK_ELEMENTS = 1 << 24;

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
    const nearest = largest(similarity, most);
    for (const result of results) {
      const votes = result.votes.subarray(row * classes, (row + 1) * classes);
      for (let n = 0; n < result.neighbors; n++) {
        const neighbor = nearest[n]!;
        votes[trainLabels[neighbor]!]! += Math.exp(similarity[neighbor]! / temperature);
      }
      const ranking = largest(votes, Math.min(5, result.k, classes));
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

/**
 * Each row with its similarities to all the others, [others.rows], for use until the next; computed for so many rows at a time
 * that they fit into 64 MiB. Throws where `similarities` gives too few.
 */
export async function* compareRows(
  features: FeatureRows,
  others: FeatureRows,
  similarities: Similarities,
): AsyncGenerator<{ readonly row: number; readonly similarity: Float32Array }> {
  const most = Math.max(1, Math.min(256, Math.floor(BLOCK_ELEMENTS / others.rows)));
  for (let from = 0; from < features.rows; from += most) {
    const block = rowsOf(features, from, Math.min(from + most, features.rows));
    const all = await similarities(block, others); // [block.rows, others.rows]
    if (all.length !== block.rows * others.rows) {
      throw new Error(`knn: expected ${block.rows * others.rows} similarities, got ${all.length}`);
    }
    for (let r = 0; r < block.rows; r++) {
      yield { row: from + r, similarity: all.subarray(r * others.rows, (r + 1) * others.rows) };
    }
  }
}

/** Scales every row to length one, in place, and returns the same features; a row of zeros stays as it is. */
export function normalizeRows(features: FeatureRows): FeatureRows {
  const { values, rows, dim } = features;
  for (let r = 0; r < rows; r++) {
    const scale = 1 / Math.max(rowLength(features, r), 1e-12);
    for (let c = r * dim; c < (r + 1) * dim; c++) values[c]! *= scale;
  }
  return features;
}

/** Similarities on the CPU, summed in float64: [block.rows, dim], [train.rows, dim] -> [block.rows, train.rows]. */
export function dotProducts(block: FeatureRows, train: FeatureRows): Float32Array {
  const { dim } = train;
  const { values: a } = block;
  const { values: b } = train;
  const out = new Float32Array(block.rows * train.rows);
  // As many train rows as stay in a 256 KiB cache while all test rows pass by them.
  const tile = Math.max(1, Math.floor(65536 / Math.max(1, dim)));
  for (let tileStart = 0; tileStart < train.rows; tileStart += tile) {
    const tileEnd = Math.min(tileStart + tile, train.rows);
    for (let i = 0; i < block.rows; i++) {
      const row = i * dim;
      const outRow = i * train.rows;
      let j = tileStart;
      for (; j + 4 <= tileEnd; j += 4) {
        const b0 = j * dim;
        const b1 = b0 + dim;
        const b2 = b1 + dim;
        const b3 = b2 + dim;
        let s0 = 0;
        let s1 = 0;
        let s2 = 0;
        let s3 = 0;
        for (let c = 0; c < dim; c++) {
          const x = a[row + c]!;
          s0 += x * b[b0 + c]!;
          s1 += x * b[b1 + c]!;
          s2 += x * b[b2 + c]!;
          s3 += x * b[b3 + c]!;
        }
        out[outRow + j] = s0;
        out[outRow + j + 1] = s1;
        out[outRow + j + 2] = s2;
        out[outRow + j + 3] = s3;
      }
      for (; j < tileEnd; j++) {
        let sum = 0;
        for (let c = 0; c < dim; c++) sum += a[row + c]! * b[j * dim + c]!;
        out[outRow + j] = sum;
      }
    }
  }
  return out;
}

/** Where the `count` largest values stand, largest first, the earlier one of equals first; needs count <= length. */
export function largest(values: ArrayLike<number>, count: number): Int32Array {
  const heap = new Int32Array(count); // the worst of those kept is at 0
  const worse = (a: number, b: number): boolean => values[a]! < values[b]! || (values[a]! === values[b]! && a > b);
  const sink = (size: number, index: number): void => {
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && worse(heap[child + 1]!, heap[child]!)) child++;
      if (!worse(heap[child]!, index)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = index;
  };
  const rise = (start: number, index: number): void => {
    let at = start;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!worse(index, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = index;
  };
  for (let i = 0; i < values.length; i++) {
    if (i < count) rise(i, i);
    else if (worse(heap[0]!, i)) sink(count, i);
  }
  for (let size = count - 1; size > 0; size--) {
    const worst = heap[0]!;
    const last = heap[size]!;
    sink(size, last);
    heap[size] = worst;
  }
  return heap;
}

/** A copy of some rows, in the order asked for. */
export function takeRows({ values, dim }: FeatureRows, rows: ArrayLike<number>): FeatureRows {
  const taken = new Float32Array(rows.length * dim);
  for (let i = 0; i < rows.length; i++) taken.set(values.subarray(rows[i]! * dim, (rows[i]! + 1) * dim), i * dim);
  return { values: taken, rows: rows.length, dim };
}

/** Rows from one on to before another, in the same memory. */
export function rowsOf({ values, dim }: FeatureRows, from: number, to: number): FeatureRows {
  return { values: values.subarray(from * dim, to * dim), rows: to - from, dim };
}

function rowLength({ values, dim }: FeatureRows, row: number): number {
  let squares = 0;
  for (let c = row * dim; c < (row + 1) * dim; c++) squares += values[c]! ** 2;
  return Math.sqrt(squares);
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
