/** The rows of features that are most like others, by the cosine between them. */
import { compareRows, dotProducts, type FeatureRows, topK, type Similarities } from "../math/feature-rows.js";

/** A row of an index, and how like it is. */
export interface Neighbor {
  readonly row: number;
  /** The cosine between the features, -1 to 1. */
  readonly similarity: number;
}

/** The `k` rows of an index most similar to each query, the most similar first and the earlier of equals. */
export async function nearest(options: {
  /** Rows of length one: see normalizeRows. */
  readonly queries: FeatureRows;
  /** Likewise. */
  readonly index: FeatureRows;
  readonly k: number;
  /** Who computes similarities; `dotProducts` if left out. */
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
