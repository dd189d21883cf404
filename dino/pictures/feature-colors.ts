/** Features as colours: their first three principal components as red, green and blue, so that like features look alike. */
import type { Color } from "./drawing.js";
import { principalComponents, type PrincipalComponents, project } from "../math/principal-components.js";
import type { FeatureRows } from "../math/feature-rows.js";

/** What colours mean, for any number of features. */
export interface Palette {
  readonly components: PrincipalComponents;
  /** Of each component, where its channel is darkest and brightest. */
  readonly ranges: readonly { readonly low: number; readonly high: number }[];
}

/**
 * The colours that tell these features apart best: each component from its 1st to its 99th percentile, so that a few odd ones
 * do not dim the rest. Throws where principalComponents does.
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

/** One colour a row: [rows, dim] -> rows. A channel without a component or a range is half bright. */
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
