/** The rows of an index that are nearest to other rows. */
import { compareRows, dotProducts, type FeatureRows, type Similarities, sliceRows, topK } from "./feature-rows.js";

/** The nearest rows of each row. */
export interface NeighborRows {
  /** Neighbours per row. */
  readonly k: number;
  /** The most similar first; ties go to the earlier row: [rows, k]. */
  readonly rows: Int32Array;
  /** Cosines: [rows, k]. */
  readonly similarities: Float32Array;
}

/** Finds the `k` rows of an index, at most all of them, that are most similar to each row of a block. */
export type FindNearest = (block: FeatureRows, k: number) => Promise<NeighborRows>;

/** Returns what finds rows of an index among all their similarities. */
export function nearestIn(index: FeatureRows, similarities: Similarities = dotProducts): FindNearest {
  return async (block, k) => {
    const rows = new Int32Array(block.rows * k);
    const found = new Float32Array(block.rows * k);
    for await (const { row, similarity } of compareRows(block, index, similarities)) {
      const nearest = topK(similarity, k);
      rows.set(nearest, row * k);
      for (let n = 0; n < k; n++) found[row * k + n] = similarity[nearest[n]!]!;
    }
    return { k, rows, similarities: found };
  };
}

/** Rows searched for at once. */
const BLOCK_ROWS = 256;

/** The nearest rows of one row: [k]. */
export interface Nearest {
  readonly row: number;
  readonly nearest: Int32Array;
  readonly similarities: Float32Array;
}

/** Yields each row with its `k` nearest. */
export async function* nearestRows(features: FeatureRows, k: number, find: FindNearest): AsyncGenerator<Nearest> {
  for (let start = 0; start < features.rows; start += BLOCK_ROWS) {
    const block = sliceRows(features, start, Math.min(start + BLOCK_ROWS, features.rows));
    const { rows, similarities } = await find(block, k);
    for (let r = 0; r < block.rows; r++) {
      const [first, end] = [r * k, (r + 1) * k];
      yield { row: start + r, nearest: rows.subarray(first, end), similarities: similarities.subarray(first, end) };
    }
  }
}
