import { elementGrid, kernel } from "../core/kernel.js";
import { transient } from "../core/recording.js";
import { axes, type Tensor } from "../core/tensor.js";

const forward = kernel("largest", { reads: ["x"], writes: ["y"], constants: ["COLS"] });

/** Maximum of each row, optimized for short rows: [..., cols] -> [...]. Not differentiable. */
export function max(x: Tensor): Tensor {
  const { rows, cols } = axes("largest x", x, "...rows", "cols");
  const y = transient(x.shape.slice(0, -1));
  forward({ x, y }, { COLS: cols }, elementGrid(rows));
  return y;
}
