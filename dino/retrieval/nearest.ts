/** Nearest neighbours by cosine similarity. */
import type { FeatureRows } from "../math/feature-rows.js";
import { type FindNearest, nearestIn, nearestRows } from "../math/nearest-rows.js";

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
  /** Finds the nearest rows of the index; by default, the processor compares all. */
  readonly find?: FindNearest;
}): Promise<readonly (readonly Neighbor[])[]> {
  const { queries, index, k, find = nearestIn(index) } = options;
  return nearestBy(find, { queries, rows: index.rows, k });
}

/** Finds what `nearest` does where `find` alone has the index, of so many rows. */
export async function nearestBy(
  find: FindNearest,
  { queries, rows: indexed, k: wanted }: { readonly queries: FeatureRows; readonly rows: number; readonly k: number },
): Promise<readonly (readonly Neighbor[])[]> {
  const k = Math.min(wanted, indexed);
  const found: Neighbor[][] = [];
  for await (const { nearest: rows, similarities } of nearestRows(queries, k, find)) {
    found.push(Array.from(rows, (row, n) => ({ row, similarity: similarities[n]! })));
  }
  return found;
}
