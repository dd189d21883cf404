/**
 * Features as colours: their first three principal components as red, green and blue, so that similar features look
 * similar.
 */
import type { FeatureRows } from "../math/feature-rows.js";
import { principalComponents, type PrincipalComponents, project } from "../math/principal-components.js";
import type { Color } from "./drawing.js";

/** A mapping of features to colours. */
export interface Palette {
  readonly components: PrincipalComponents;
  /** The values of each component at which its channel is darkest and brightest. */
  readonly ranges: readonly { readonly low: number; readonly high: number }[];
}

/**
 * Fits the colours that separate these features best: each component from its 1st to its 99th percentile, so that
 * outliers do not dim the rest. Throws as `principalComponents` does.
 */
export function fitColors({ values, rows, dim }: FeatureRows): Palette {
  const components = principalComponents({ values, rows, dim, count: 3 });
  const { count, projected } = components;
  const ranges = Array.from({ length: count }, (_, d) => {
    const sorted = Float64Array.from({ length: rows }, (_, r) => projected[r * count + d]!).sort();
    return { low: sorted[Math.floor(0.01 * (rows - 1))]!, high: sorted[Math.ceil(0.99 * (rows - 1))]! };
  });
  return { components, ranges };
}

/** Maps each row to a colour: [rows, dim] -> rows. A channel without a component or a range has half brightness. */
export function colorsOf({ components, ranges }: Palette, values: Float32Array): Color[] {
  const { count } = components;
  const projected = project(components, values);
  const channel = (r: number, d: number): number => {
    const { low, high } = ranges[d] ?? { low: 0, high: 0 };
    const share = high > low ? (projected[r * count + d]! - low) / (high - low) : 0.5;
    return Math.round(255 * Math.min(1, Math.max(0, share)));
  };
  return Array.from({ length: projected.length / count }, (_, r) => [channel(r, 0), channel(r, 1), channel(r, 2)]);
}
