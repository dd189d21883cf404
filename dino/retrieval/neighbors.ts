/** The nearest other images of each image of a set. */
import { compareRows, dotProducts, type FeatureRows, type Similarities, topK } from "../math/feature-rows.js";

/** Options of functions that compare all images with each other. */
export interface ComparingOptions {
  /** Rows of length one: see normalizeRows. */
  readonly features: FeatureRows;
  /** Computes similarities with `features`; default `dotProducts`. */
  readonly similarities?: Similarities | undefined;
  /** Called with the number of images compared. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** The nearest other images of each image. */
export interface NeighborRows {
  /** Neighbours per image. */
  readonly k: number;
  /** The most similar first; ties go to the earlier row: [rows, k]. */
  readonly rows: Int32Array;
  /** Cosines: [rows, k]. */
  readonly similarities: Float32Array;
}

/** Finds the `k` most similar other images of each image, or all others if there are fewer. */
export async function neighborsOf(options: ComparingOptions & { readonly k: number }): Promise<NeighborRows> {
  const { features, similarities = dotProducts, onProgress } = options;
  const k = Math.min(options.k, features.rows - 1);
  const rows = new Int32Array(features.rows * k);
  const found = new Float32Array(features.rows * k);
  for await (const { row, similarity } of compareRows(features, features, similarities)) {
    similarity[row] = -Infinity; // not its own neighbour
    const nearest = topK(similarity, k);
    rows.set(nearest, row * k);
    for (let n = 0; n < k; n++) found[row * k + n] = similarity[nearest[n]!]!;
    onProgress?.(row + 1, features.rows);
  }
  return { k, rows, similarities: found };
}

/** Converts the cosine of unit vectors to their Euclidean distance, 0 to 2. */
export function distanceOf(similarity: number): number {
  return Math.sqrt(Math.max(0, 2 - 2 * similarity));
}
