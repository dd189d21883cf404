import { grid, kernel } from "../core/kernel.js";
import { differentiable, transient } from "../core/recording.js";
import { axes, formatShape, type Tensor } from "../core/tensor.js";
import { mean } from "./sum.js";

const forward = kernel("koleo", {
  reads: ["x"],
  writes: ["losses", "distances", "nearest"],
  constants: ["ROWS", "GROUP", "COLS", "EPSILON"],
});
const backward = kernel("koleo-backward", {
  reads: ["x", "distances", "nearest", "dLosses"],
  writes: ["dx"],
  constants: ["ROWS", "GROUP", "COLS", "EPSILON"],
});

/** Keeps the logarithm finite for equal rows; value of DINOv2. */
const EPSILON = 1e-8;

/**
 * Kozachenko-Leonenko estimate of the density of rows, without its constants: the mean of -log(distance to the nearest other
 * row of the same group): x [groups * rows, cols] -> []. Its gradient pushes neighbours apart; the choice of the nearest row
 * is treated as constant, and equal rows get no gradient. Throws for groups of fewer than two rows.
 * Sablayrolles et al. 2018, section 3.2 (https://arxiv.org/abs/1806.03198).
 */
export function koleo(x: Tensor, groups = 1): Tensor {
  const { rows, cols } = axes("koleo x", x, "rows", "cols");
  const group = rows / groups;
  if (!Number.isInteger(group) || group < 2) {
    throw new Error(`koleo x: expected ${groups} groups of two rows or more, got ${formatShape(x.shape)}`);
  }
  const [losses, distances, nearest] = [transient([rows]), transient([rows]), transient([rows], "u32")];
  const constants = { ROWS: rows, GROUP: group, COLS: cols, EPSILON };
  forward({ x, losses, distances, nearest }, constants, grid(rows));
  const perRow = differentiable(losses, [x], (dLosses) => {
    const dx = transient(x.shape);
    backward({ x, distances, nearest, dLosses, dx }, constants, grid(rows));
    return [dx];
  });
  return mean(perRow);
}
