import { type Device, input, max, matmul, record, reshape } from "../../engine/index.js";
import { type FeatureRows, sliceRows } from "../math/feature-rows.js";

/** Two rows, the earlier one first, and the cosine between them. */
export interface Pair {
  readonly first: number;
  readonly second: number;
  readonly similarity: number;
}

export interface SimilarPairsOptions {
  readonly device: Device;
  /** Rows of length one: see normalizeRows. */
  readonly features: FeatureRows;
  /** The least similarity of a pair, above 0. */
  readonly atLeast: number;
  /** Told of each pair once; pairs of one tile of the table come together. */
  readonly onPair: (pair: Pair) => void;
  readonly onProgress?: (done: number, total: number) => void;
}

/** Rows that are multiplied with as many others at once; their products take 16 MiB. */
const TILE = 2048;
/** Products of which only the largest leaves the device. */
const RUN = 64;
/** How far a product on a device may be from the same in float64. */
const TOLERANCE = 1e-4;

/**
 * Finds all pairs of rows that are similar: [rows, dim]. The table of all similarities is never whole: tiles of its upper half
 * are multiplied on the device, which gives back the largest of each run of products, and only runs that may hold a pair are
 * multiplied again here, in float64. So it takes the same memory for any number of rows, and finds the same on every device.
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
