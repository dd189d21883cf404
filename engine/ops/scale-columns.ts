import { grid, kernel, runGrid } from "../core/kernel.js";
import { differentiable, type PartialSums, recording, transient } from "../core/recording.js";
import { axes, expectShape, precisionOf, sizeOf, type Tensor } from "../core/tensor.js";
import { cast } from "./cast.js";
import { mul } from "./mul.js";
import { GROUP_COLS, rowParts } from "./sum.js";

const forwards = { reads: ["x", "factors"], writes: ["y"], constants: ["COLS"] } as const;
const backwards = {
  reads: ["x", "factors", "dy"],
  writes: ["dx", "sums"],
  constants: ["ROWS", "COLS", "PARTS"],
} as const;
const forward = { f32: kernel("scale-columns", forwards), f16: kernel("scale-columns-f16", forwards) };
const backward = {
  f32: kernel("scale-columns-backward", backwards),
  f16: kernel("scale-columns-backward-f16", backwards),
};

/**
 * Multiplies every column by its factor, in the precision of x: x [..., cols], factors [cols] in f32 -> [..., cols]. LayerScale,
 * Touvron et al. 2021, section 2 (https://arxiv.org/abs/2103.17239). The backward also makes the column sums of the gradient, which
 * are the gradient of a bias in x.
 */
export function scaleColumns(x: Tensor, factors: Tensor): Tensor {
  const { rows, cols } = axes("scaleColumns x", x, "...rows", "cols");
  expectShape("scaleColumns factors", factors, [cols]);
  const precision = precisionOf("scaleColumns x", x);
  if (cols % 4 !== 0) return cast(mul(cast(x, "f32"), factors), precision);
  const y = transient(x.shape, precision);
  forward[precision]({ x, factors, y }, { COLS: cols }, runGrid(sizeOf(x.shape)));
  return differentiable(y, [x, factors], (dy) => {
    const parts = rowParts(rows, cols);
    const [dx, sums] = [transient(x.shape, precision), transient([parts, 2 * cols])];
    const groups = grid(parts * Math.ceil(cols / GROUP_COLS));
    backward[precision]({ x, factors, dy, dx, sums }, { ROWS: rows, COLS: cols, PARTS: parts }, groups);
    const sumsFrom = (first: number): PartialSums => ({ parts: sums, first, shape: [cols] });
    recording("scaleColumns").columnSums.set(dx.storage, sumsFrom(cols));
    return [dx, sumsFrom(0)];
  });
}
