/** Outliers: images far from all others. */
import type { NeighborRows } from "../math/nearest-rows.js";
import { type ComparingOptions, distanceOf, neighborsOf } from "../retrieval/neighbors.js";
import { checkRows } from "./check-rows.js";

/** Options of `outlierScores`. */
export interface OutlierOptions extends ComparingOptions {
  /** Neighbours that count; default 10. */
  readonly k?: number | undefined;
}

/**
 * Returns the mean Euclidean distance of each image from its nearest others, 0 to 2: [rows]. Few strange images that are
 * alike count as outliers if `k` is larger than their number.
 */
export async function outlierScores({ k = 10, ...options }: OutlierOptions): Promise<Float64Array> {
  const { rows } = options.features;
  checkRows("outliers", options.features);
  if (!Number.isInteger(k) || k < 1) throw new Error(`outliers: expected 1 neighbour or more, got ${k}`);
  return scoresOfNeighbors(await neighborsOf({ ...options, k }), rows);
}

/** Returns the scores of `outlierScores` by known neighbours. */
export function scoresOfNeighbors({ k, similarities }: NeighborRows, rows: number): Float64Array {
  return Float64Array.from({ length: rows }, (_, row) => {
    let sum = 0;
    for (let n = 0; n < k; n++) sum += distanceOf(similarities[row * k + n]!);
    return sum / k;
  });
}
