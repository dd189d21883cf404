/** Nearest neighbours by cosine similarity. */
import { compareRows, dotProducts, type FeatureRows, topK, type Similarities } from "../math/feature-rows.js";

/** A row of an index with its similarity to a query. */
export interface Neighbor {
  readonly row: number;
  /** Cosine between the features, -1 to 1. */
  readonly similarity: number;
}

/** Finds the `k` rows of an index most similar to each query, the most similar first; ties go to the earlier row. */
export async function nearest(options: {
  /** Rows of length one: see normalizeRows. */
  readonly queries: FeatureRows;
  /** Rows of length one, too. */
  readonly index: FeatureRows;
  readonly k: number;
  /** Computes similarities; default `dotProducts`. */
  readonly similarities?: Similarities;
}): Promise<readonly (readonly Neighbor[])[]> {
  const { queries, index, similarities = dotProducts } = options;
  const k = Math.min(options.k, index.rows);
  const found: Neighbor[][] = [];
  for await (const { similarity } of compareRows(queries, index, similarities)) {
    found.push(Array.from(topK(similarity, k), (row) => ({ row, similarity: similarity[row]! })));
  }
  return found;
}
