import { grid, kernel } from "../core/kernel.js";
import { differentiable, transient } from "../core/recording.js";
import { axes, type Tensor } from "../core/tensor.js";

const forward = kernel("log-softmax", { reads: ["x"], writes: ["y"], constants: ["ROWS", "COLS"] });
const backward = kernel("log-softmax-backward", { reads: ["y", "dy"], writes: ["dx"], constants: ["ROWS", "COLS"] });

/** Logarithm of the softmax over the last axis: [..., cols] -> [..., cols]. */
export function logSoftmax(x: Tensor): Tensor {
  const { rows, cols } = axes("logSoftmax x", x, "...rows", "cols");
  const y = transient(x.shape);
  forward({ x, y }, { ROWS: rows, COLS: cols }, grid(rows));
  return differentiable(y, [x], (dy) => {
    const dx = transient(x.shape);
    backward({ y, dy, dx }, { ROWS: rows, COLS: cols }, grid(rows));
    return [dx];
  });
}
