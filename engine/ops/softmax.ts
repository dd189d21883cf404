import { grid, kernel } from "../core/kernel.js";
import { differentiable, transient } from "../core/recording.js";
import { axes, type Tensor } from "../core/tensor.js";

const byOne = kernel("softmax", { reads: ["x"], writes: ["y"], constants: ["ROWS", "COLS"] });
const byFour = kernel("softmax-vec4", { reads: ["x"], writes: ["y"], constants: ["ROWS", "COLS"] });
const backward = kernel("softmax-backward", { reads: ["y", "dy"], writes: ["dx"], constants: ["ROWS", "COLS"] });

/** Softmax over the last axis: [..., cols] -> [..., cols]; every row of the result sums to one. */
export function softmax(x: Tensor): Tensor {
  const { rows, cols } = axes("softmax x", x, "...rows", "cols");
  const y = transient(x.shape);
  const forward = cols % 4 === 0 ? byFour : byOne;
  forward({ x, y }, { ROWS: rows, COLS: cols }, grid(rows));
  return differentiable(y, [x], (dy) => {
    const dx = transient(x.shape);
    backward({ y, dy, dx }, { ROWS: rows, COLS: cols }, grid(rows));
    return [dx];
  });
}
