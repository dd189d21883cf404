import { constant } from "../core/recording.js";
import { axes, type Tensor } from "../core/tensor.js";
import { matmul } from "./matmul.js";

/** Size of a grid. */
export interface GridSize {
  readonly rows: number;
  readonly cols: number;
}

/**
 * Resamples a grid of vectors bicubically: x [from.rows * from.cols, dim] -> [to.rows * to.cols, dim].
 * As torch's interpolate(mode="bicubic", align_corners=False) does with explicit scale factors: coefficient -0.75, no
 * antialias, neighbours clamped at the border, sample i lies at (i + 0.5) / scale - 0.5. `scale` may differ from to / from.
 */
export function resizeGrid(x: Tensor, from: GridSize, to: GridSize, scale: GridSize): Tensor {
  const { cells } = axes("resizeGrid x", x, "cells", "dim");
  if (cells !== from.rows * from.cols) {
    throw new Error(`resizeGrid x: expected ${from.rows} x ${from.cols} rows, got ${cells}`);
  }
  const down = bicubicWeights(from.rows, to.rows, scale.rows);
  const across = bicubicWeights(from.cols, to.cols, scale.cols);
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

/** Returns source index and weight of the four taps of every output along one axis. */
function bicubicWeights(from: number, to: number, scale: number): (readonly [number, number])[][] {
  return Array.from({ length: to }, (_, i) => {
    const position = (i + 0.5) / scale - 0.5;
    const first = Math.floor(position);
    return [-1, 0, 1, 2].map((tap) => {
      const source = Math.min(Math.max(first + tap, 0), from - 1);
      return [source, cubic(position - (first + tap))] as const;
    });
  });
}

/** The cubic convolution kernel with a = -0.75 (Keys 1981, eq. 4). */
function cubic(distance: number): number {
  const a = -0.75;
  const d = Math.abs(distance);
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  if (d < 2) return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
  return 0;
}
