/** Outliers: images far from all others. */
import { checkRows } from "./check-rows.js";
import { type ComparingOptions, distanceOf, neighborsOf } from "./neighbors.js";

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
  const nearest = await neighborsOf({ ...options, k });
  return Float64Array.from({ length: rows }, (_, row) => {
    let sum = 0;
    for (let n = 0; n < nearest.k; n++) sum += distanceOf(nearest.similarities[row * nearest.k + n]!);
    return sum / nearest.k;
  });
}
