/** Features made for tests of groups, outliers and labels. */
import { type FeatureRows, normalizeRows } from "../../dino/math/feature-rows.js";
import { rng } from "../../dino/math/random.js";

/** Draws rows around one direction per group, `perGroup` each: row i belongs to group i mod groups. */
export function madeGroups(options: {
  readonly groups: number;
  readonly perGroup: number;
  readonly dim: number;
  /** Standard deviation of each number. */
  readonly spread: number;
  readonly seed?: number;
}): { readonly features: FeatureRows; readonly labels: Int32Array } {
  const { groups, perGroup, dim, spread, seed = 0 } = options;
  const random = rng({ seed, purpose: "made groups" });
  const draw = (count: number): Float32Array => Float32Array.from({ length: count }, () => random.normal());
  const centers = normalizeRows({ values: draw(groups * dim), rows: groups, dim });
  const rows = groups * perGroup;
  const values = draw(rows * dim).map((value, i) => {
    const group = Math.floor(i / dim) % groups;
    return centers.values[group * dim + (i % dim)]! + spread * value;
  });
  const labels = Int32Array.from({ length: rows }, (_, row) => row % groups);
  return { features: normalizeRows({ values, rows, dim }), labels };
}
