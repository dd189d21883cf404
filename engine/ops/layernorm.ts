import { grid, kernel } from "../kernel.js";
import { differentiable, transient } from "../recording.js";
import { axes, expectShape, type Tensor } from "../tensor.js";
import { rowParts, sumLeading } from "./sum.js";

const forward = {
  reads: ["x", "gain", "bias"],
  writes: ["y", "statistics"],
  constants: ["ROWS", "COLS", "EPSILON"],
} as const;
const forwardByOne = kernel("layernorm", forward);
const forwardByFour = kernel("layernorm-vec4", forward);
const backward = { reads: ["x", "gain", "statistics", "dy"], writes: ["dx"], constants: ["ROWS", "COLS"] } as const;
const backwardByOne = kernel("layernorm-backward", backward);
const backwardByFour = kernel("layernorm-backward-vec4", backward);
const parametersBackward = kernel("layernorm-parameters-backward", {
  reads: ["x", "statistics", "dy"],
  writes: ["dGain", "dBias"],
  constants: ["ROWS", "COLS", "PARTS"],
});

/**
 * Normalises every row to mean 0 and variance 1, then scales and shifts: x [..., cols], gain [cols], bias [cols] -> [..., cols].
 * Ba et al. 2016 (https://arxiv.org/abs/1607.06450); the official DINO models use epsilon 1e-6.
 */
export function layernorm(x: Tensor, gain: Tensor, bias: Tensor, epsilon = 1e-6): Tensor {
  const { rows, cols } = axes("layernorm x", x, "...rows", "cols");
  expectShape("layernorm gain", gain, [cols]);
  expectShape("layernorm bias", bias, [cols]);
  const y = transient(x.shape);
  const statistics = transient([rows, 2]);
  const [forward, backward] = cols % 4 === 0 ? [forwardByFour, backwardByFour] : [forwardByOne, backwardByOne];
  forward({ x, gain, bias, y, statistics }, { ROWS: rows, COLS: cols, EPSILON: epsilon }, grid(rows));
  return differentiable(y, [x, gain, bias], (dy) => {
    const dx = transient(x.shape);
    backward({ x, gain, statistics, dy, dx }, { ROWS: rows, COLS: cols }, grid(rows));
    const parts = rowParts(rows, cols);
    const dGain = transient([parts, cols]);
    const dBias = transient([parts, cols]);
    const blocks = grid(parts * Math.ceil(cols / 64));
    parametersBackward({ x, statistics, dy, dGain, dBias }, { ROWS: rows, COLS: cols, PARTS: parts }, blocks);
    return [dx, sumLeading(dGain, [cols]), sumLeading(dBias, [cols])];
  });
}
