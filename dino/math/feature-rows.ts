/** Feature vectors as matrix rows, and their similarities. */

/** Features, one row per image: row-major [rows, dim]. */
export interface FeatureRows {
  readonly values: Float32Array;
  readonly rows: number;
  readonly dim: number;
}

/**
 * Computes dot products of a block of rows with all train rows: [block.rows, dim], [train.rows, dim] -> [block.rows,
 * train.rows].
 */
export type Similarities = (block: FeatureRows, train: FeatureRows) => Float32Array | Promise<Float32Array>;

/** Largest block of similarities held at once: 64 MiB. */
const BLOCK_ELEMENTS = 1 << 24;

/**
 * Yields each row with its similarities to all others, [others.rows], valid until the next iteration. Works on blocks
 * whose similarities fit into 64 MiB. Throws if `similarities` returns a wrong number of values.
 */
export async function* compareRows(
  features: FeatureRows,
  others: FeatureRows,
  similarities: Similarities,
): AsyncGenerator<{ readonly row: number; readonly similarity: Float32Array }> {
  const most = Math.max(1, Math.min(256, Math.floor(BLOCK_ELEMENTS / others.rows)));
  for (let from = 0; from < features.rows; from += most) {
    const block = sliceRows(features, from, Math.min(from + most, features.rows));
    const all = await similarities(block, others); // [block.rows, others.rows]
    if (all.length !== block.rows * others.rows) {
      throw new Error(`knn: expected ${block.rows * others.rows} similarities, got ${all.length}`);
    }
    for (let r = 0; r < block.rows; r++) {
      yield { row: from + r, similarity: all.subarray(r * others.rows, (r + 1) * others.rows) };
    }
  }
}

/** Scales every row to unit length in place and returns the same features; rows of zeros stay zero. */
export function normalizeRows(features: FeatureRows): FeatureRows {
  const { values, rows, dim } = features;
  for (let r = 0; r < rows; r++) {
    const scale = 1 / Math.max(rowLength(features, r), 1e-12);
    for (let c = r * dim; c < (r + 1) * dim; c++) values[c]! *= scale;
  }
  return features;
}

/**
 * Computes similarities on the CPU, summed in float64: [block.rows, dim], [train.rows, dim] -> [block.rows,
 * train.rows].
 */
export function dotProducts(block: FeatureRows, train: FeatureRows): Float32Array {
  const { dim } = train;
  const { values: a } = block;
  const { values: b } = train;
  const out = new Float32Array(block.rows * train.rows);
  // Tiles of train rows that fit into a 256 KiB cache.
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

/**
 * Returns the indices of the `count` largest values in descending order; ties keep the lower index first. Needs count
 * <= length.
 */
export function topK(values: ArrayLike<number>, count: number): Int32Array {
  const heap = new Int32Array(count); // min-heap: the smallest candidate is at 0
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

/** Copies some rows, in the order of `rows`. */
export function selectRows({ values, dim }: FeatureRows, rows: ArrayLike<number>): FeatureRows {
  const taken = new Float32Array(rows.length * dim);
  for (let i = 0; i < rows.length; i++) taken.set(values.subarray(rows[i]! * dim, (rows[i]! + 1) * dim), i * dim);
  return { values: taken, rows: rows.length, dim };
}

/** Returns rows `from` to `to` (exclusive) as a view of the same memory. */
export function sliceRows({ values, dim }: FeatureRows, from: number, to: number): FeatureRows {
  return { values: values.subarray(from * dim, to * dim), rows: to - from, dim };
}

export function rowLength({ values, dim }: FeatureRows, row: number): number {
  let squares = 0;
  for (let c = row * dim; c < (row + 1) * dim; c++) squares += values[c]! ** 2;
  return Math.sqrt(squares);
}
