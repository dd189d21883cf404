/** Nearest neighbours by cosine similarity. */
import type { FeatureRows } from "../math/feature-rows.js";
import { type FindNearest, nearestRows } from "../math/nearest-rows.js";

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
  /** Rows of length one, too, of which `find` alone needs the values. */
  readonly index: Pick<FeatureRows, "rows">;
  readonly k: number;
  /** Finds the nearest rows of the index. */
  readonly find: FindNearest;
}): Promise<readonly (readonly Neighbor[])[]> {
  const { queries, index, find } = options;
  const k = Math.min(options.k, index.rows);
  const found: Neighbor[][] = [];
  for await (const { nearest: rows, similarities } of nearestRows(queries, k, find)) {
    found.push(Array.from(rows, (row, n) => ({ row, similarity: similarities[n]! })));
  }
  return found;
}
