import { grid, kernel } from "../core/kernel.js";
import { differentiable, transient } from "../core/recording.js";
import { axes, expectShape, sizeOf, type Tensor } from "../core/tensor.js";

const forward = kernel("normalize", { reads: ["x"], writes: ["y", "lengths"], constants: ["ROWS", "COLS", "EPSILON"] });
const backward = kernel("normalize-backward", {
  reads: ["y", "lengths", "dy"],
  writes: ["dx"],
  constants: ["ROWS", "COLS", "EPSILON"],
});
const scaling = kernel("scale-rows", { reads: ["x", "factors"], writes: ["y"], constants: ["ROWS", "COLS"] });
const scalingBackward = kernel("scale-rows-backward", {
  reads: ["x", "dy"],
  writes: ["dFactors"],
  constants: ["ROWS", "COLS"],
});

/** Scales rows to Euclidean norm 1: [..., cols] -> [..., cols]; rows of a norm below epsilon are divided by epsilon. */
export function l2Normalize(x: Tensor, epsilon = 1e-12): Tensor {
  const { rows, cols } = axes("l2Normalize x", x, "...rows", "cols");
  const y = transient(x.shape);
  const lengths = transient([rows]);
  const constants = { ROWS: rows, COLS: cols, EPSILON: epsilon };
  forward({ x, y, lengths }, constants, grid(rows));
  return differentiable(y, [x], (dy) => {
    const dx = transient(x.shape);
    backward({ y, lengths, dy, dx }, constants, grid(rows));
    return [dx];
  });
}

/** Multiplies every row of x by its own factor: x [rows, ...], factors [rows] or [rows, 1] -> [rows, ...]. */
export function scaleRows(x: Tensor, factors: Tensor): Tensor {
  const rows = x.shape[0] ?? 1;
  expectShape("scaleRows factors", factors, factors.shape.length === 2 ? [rows, 1] : [rows]);
  const y = transient(x.shape);
  const sizes = { ROWS: rows, COLS: sizeOf(x.shape) / rows };
  scaling({ x, factors, y }, sizes, grid(rows));
  return differentiable(y, [x, factors], (dy) => {
    const dFactors = transient(factors.shape);
    scalingBackward({ x, dy, dFactors }, sizes, grid(rows));
    return [scaleRows(dy, factors), dFactors];
  });
}

/**
 * Weight normalization of a linear layer, lengths * directions / |directions|:
 * directions [out, in], lengths [out, 1] -> [out, in]. Salimans & Kingma 2016, eq. 2 (https://arxiv.org/abs/1602.07868).
 */
export function weightNorm(directions: Tensor, lengths: Tensor): Tensor {
  return scaleRows(l2Normalize(directions), lengths);
}
