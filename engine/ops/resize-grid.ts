import { constant } from "../core/recording.js";
import { axes, type Tensor } from "../core/tensor.js";
import { matmul } from "./matmul.js";

/** Size of a grid. */
export interface GridSize {
  readonly rows: number;
  readonly cols: number;
}

/** Options of `resizeGrid`. */
export interface ResizeOptions {
  /** Size of the target over that of the source; default to / from, from which it may differ. */
  readonly scale?: GridSize;
  /** Widens the taps where the grid shrinks, and takes the coefficient -0.5 instead of -0.75; default false. */
  readonly antialias?: boolean;
}

/**
 * Resamples a grid of vectors bicubically: x [from.rows * from.cols, dim] -> [to.rows * to.cols, dim].
 * As torch's interpolate(mode="bicubic", align_corners=False): sample i lies at (i + 0.5) / scale - 0.5; without antialias,
 * neighbours are clamped at the border, with it, taps beyond the border are left out and the others normalised.
 */
export function resizeGrid(x: Tensor, from: GridSize, to: GridSize, options: ResizeOptions = {}): Tensor {
  const { cells } = axes("resizeGrid x", x, "cells", "dim");
  if (cells !== from.rows * from.cols) {
    throw new Error(`resizeGrid x: expected ${from.rows} x ${from.cols} rows, got ${cells}`);
  }
  const { scale = { rows: to.rows / from.rows, cols: to.cols / from.cols }, antialias = false } = options;
  const tapsOf = antialias ? antialiasedTaps : fourTaps;
  const down = tapsOf(from.rows, to.rows, scale.rows);
  const across = tapsOf(from.cols, to.cols, scale.cols);
  const outputs = to.rows * to.cols;
  const weights = new Float32Array(outputs * cells);
  for (let r = 0; r < to.rows; r++) {
    for (let c = 0; c < to.cols; c++) {
      const target = (r * to.cols + c) * cells;
      for (const [i, weightDown] of down[r]!) {
        for (const [j, weightAcross] of across[c]!) weights[target + i * from.cols + j]! += weightDown * weightAcross;
      }
    }
  }
  return matmul(constant([outputs, cells], weights, { label: "bicubic weights" }), x);
}

/** Source index and weight of each tap of one output along one axis. */
type Taps = readonly (readonly [index: number, weight: number])[];

/** Returns the four taps of every output along one axis, clamped at the border. */
function fourTaps(from: number, to: number, scale: number): Taps[] {
  return Array.from({ length: to }, (_, i) => {
    const position = (i + 0.5) / scale - 0.5;
    const first = Math.floor(position);
    return [-1, 0, 1, 2].map((tap) => {
      const source = Math.min(Math.max(first + tap, 0), from - 1);
      return [source, cubic(position - (first + tap), -0.75)] as const;
    });
  });
}

/** Returns the taps of every output along one axis: four source cells where the grid grows, more where it shrinks. */
function antialiasedTaps(from: number, to: number, scale: number): Taps[] {
  const stretch = Math.max(1 / scale, 1);
  return Array.from({ length: to }, (_, i) => {
    const center = (i + 0.5) / scale;
    const first = Math.max(Math.trunc(center - 2 * stretch + 0.5), 0);
    const end = Math.min(Math.trunc(center + 2 * stretch + 0.5), from);
    const taps = Array.from({ length: end - first }, (_tap, j) => {
      return [first + j, cubic((first + j + 0.5 - center) / stretch, -0.5)] as const;
    });
    const total = taps.reduce((sum, [, weight]) => sum + weight, 0);
    return taps.map(([source, weight]) => [source, weight / total] as const);
  });
}

/** The cubic convolution kernel with coefficient a (Keys 1981, eq. 4). */
function cubic(distance: number, a: number): number {
  const d = Math.abs(distance);
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  if (d < 2) return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
  return 0;
}
