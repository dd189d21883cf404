import { type Device, input, max, matmul, record, reshape } from "../../engine/index.js";
import { type FeatureRows, sliceRows } from "../math/feature-rows.js";

/** Two rows, the earlier first, with their cosine similarity. */
export interface Pair {
  readonly first: number;
  readonly second: number;
  readonly similarity: number;
}

export interface SimilarPairsOptions {
  readonly device: Device;
  /** Rows of length one: see normalizeRows. */
  readonly features: FeatureRows;
  /** Minimum similarity of a pair, above 0. */
  readonly atLeast: number;
  /** Called once per pair; the pairs of a tile come together. */
  readonly onPair: (pair: Pair) => void;
  readonly onProgress?: (done: number, total: number) => void;
}

/** Rows per tile; the products of a tile take 16 MiB. */
const TILE = 2048;
/** Number of products of which the device returns the maximum. */
const RUN = 64;
/** Maximum error of a product on a device relative to float64. */
const TOLERANCE = 1e-4;

/**
 * Finds all similar pairs of rows [rows, dim]. Never stores all similarities: the device multiplies tiles of the upper
 * triangle and returns the maximum of each run of products, and runs that may contain a pair are computed again on the
 * host in float64. Memory is therefore independent of the number of rows, and results are the same on every device.
 */
export async function similarPairs(options: SimilarPairsOptions): Promise<void> {
  const { device, features, atLeast, onPair, onProgress } = options;
  const { rows, dim } = features;
  const tile = Math.min(TILE, Math.ceil(rows / RUN) * RUN);
  const runs = tile / RUN;
  using left = input(device, [tile, dim], { label: "rows" });
  using right = input(device, [tile, dim], { label: "other rows" });
  using program = await record(device, () => {
    const products = matmul(left, right, { b: true }); // [tile, tile]
    return { most: max(reshape(products, [tile, runs, RUN])) }; // [tile, runs]
  });
  const padded = new Float32Array(tile * dim);
  const write = (to: typeof left, from: number): void => {
    padded.fill(0);
    padded.set(sliceRows(features, from, Math.min(from + tile, rows)).values);
    to.write(padded);
  };

  const tiles = Math.ceil(rows / tile);
  const total = (tiles * (tiles + 1)) / 2;
  let done = 0;
  for (let top = 0; top < rows; top += tile) {
    write(left, top);
    for (let from = top; from < rows; from += tile) {
      write(right, from);
      await program.run();
      const most = await program.read("most");
      for (let i = 0; i < most.length; i++) {
        if (most[i]! < atLeast - TOLERANCE) continue;
        const first = top + Math.floor(i / runs);
        const start = from + (i % runs) * RUN;
        for (let second = Math.max(start, first + 1); second < Math.min(start + RUN, rows); second++) {
          const similarity = dotOfRows(features, first, second);
          if (similarity >= atLeast) onPair({ first, second, similarity });
        }
      }
      onProgress?.(++done, total);
    }
  }
}

function dotOfRows({ values, dim }: FeatureRows, a: number, b: number): number {
  let sum = 0;
  for (let c = 0; c < dim; c++) sum += values[a * dim + c]! * values[b * dim + c]!;
  return sum;
}
