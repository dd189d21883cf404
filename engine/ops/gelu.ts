import { kernel, runGrid } from "../core/kernel.js";
import { differentiable, recording, transient } from "../core/recording.js";
import { precisionOf, sizeOf, type Tensor } from "../core/tensor.js";
import { columnGrid, rowParts } from "./sum.js";

const forwards = { reads: ["x"], writes: ["y"], constants: [] } as const;
const backwards = { reads: ["x", "dy"], writes: ["dx"], constants: [] } as const;
const columnsBackwards = {
  reads: ["x", "dy"],
  writes: ["dx", "sums"],
  constants: ["ROWS", "COLS", "PARTS"],
} as const;
/** Kernels for one element at a time, by the precision of x. */
const byOne = { f32: kernel("gelu", forwards), f16: kernel("gelu-f16", forwards) };
const byOneBackward = { f32: kernel("gelu-backward", backwards), f16: kernel("gelu-backward-f16", backwards) };
/** Kernels for four elements at a time. */
const byFour = { f32: kernel("gelu-vec4", forwards), f16: kernel("gelu-vec4-f16", forwards) };
const byFourBackward = {
  f32: kernel("gelu-columns-backward", columnsBackwards),
  f16: kernel("gelu-columns-backward-f16", columnsBackwards),
};

/** The exact (erf) GELU in the precision of x: [...] -> [...]. Hendrycks & Gimpel 2016, eq. 2 (https://arxiv.org/abs/1606.08415). */
export function gelu(x: Tensor): Tensor {
  const precision = precisionOf("gelu x", x);
  const size = sizeOf(x.shape);
  const y = transient(x.shape, precision);
  const forward = size % 4 === 0 ? byFour : byOne;
  forward[precision]({ x, y }, {}, runGrid(size));
  return differentiable(y, [x], (dy) => {
    const dx = transient(x.shape, precision);
    const COLS = x.shape.at(-1) ?? 1;
    const ROWS = size / COLS;
    if (COLS % 4 === 0) {
      const PARTS = rowParts(ROWS, COLS);
      const sums = transient([PARTS, COLS]);
      byFourBackward[precision]({ x, dy, dx, sums }, { ROWS, COLS, PARTS }, columnGrid(COLS, PARTS));
      recording("gelu").columnSums.set(dx.storage, { parts: sums, first: 0, shape: [COLS] });
    } else {
      byOneBackward[precision]({ x, dy, dx }, {}, runGrid(size));
    }
    return [dx];
  });
}
