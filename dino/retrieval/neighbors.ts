/** The nearest other images of each image of a set. */
import { type FeatureRows, selectRows, type Similarities } from "../math/feature-rows.js";
import { type FindNearest, nearestIn, nearestRows, type NeighborRows } from "../math/nearest-rows.js";

/** Options of functions that compare all images with each other. */
export interface ComparingOptions {
  /** Rows of length one: see normalizeRows. */
  readonly features: FeatureRows;
  /** Computes similarities with `features`; default `dotProducts`. */
  readonly similarities?: Similarities | undefined;
  /** Finds rows of `features`; default: `nearestIn`. */
  readonly nearest?: FindNearest | undefined;
  /** Called with the number of images compared. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Options of `neighborsOf`. */
export interface NeighborOptions extends ComparingOptions {
  readonly k: number;
  /** The images whose neighbours are found; default: all. */
  readonly of?: Int32Array | undefined;
}

/** Finds the `k` most similar other images of each image, or all others if there are fewer. */
export async function neighborsOf(options: NeighborOptions): Promise<NeighborRows> {
  const { features, nearest: find = nearestIn(options.features), of, onProgress } = options;
  const queries = of ? selectRows(features, of) : features;
  const k = Math.min(options.k, features.rows - 1);
  const rows = new Int32Array(queries.rows * k);
  const found = new Float32Array(queries.rows * k);
  for await (const { row, nearest, similarities } of nearestRows(queries, k + 1, find)) {
    const own = nearest.indexOf(of ? of[row]! : row); // where many rows are alike, the row itself may not be among the nearest
    for (let n = 0; n < k; n++) {
      const at = own >= 0 && n >= own ? n + 1 : n;
      rows[row * k + n] = nearest[at]!;
      found[row * k + n] = similarities[at]!;
    }
    onProgress?.(row + 1, queries.rows);
  }
  return { k, rows, similarities: found };
}

/** Converts the cosine of unit vectors to their Euclidean distance, 0 to 2. */
export function distanceOf(similarity: number): number {
  return Math.sqrt(Math.max(0, 2 - 2 * similarity));
}
