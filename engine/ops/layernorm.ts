import { grid, kernel } from "../core/kernel.js";
import { differentiable, transient } from "../core/recording.js";
import { axes, expectShape, type Precision, type Tensor } from "../core/tensor.js";
import { rowParts, sumOfParts } from "./sum.js";

const forwards = {
  reads: ["x", "gain", "bias"],
  writes: ["y", "statistics"],
  constants: ["ROWS", "COLS", "EPSILON"],
} as const;
const backwards = {
  reads: ["x", "gain", "statistics", "dy"],
  writes: ["dx"],
  constants: ["ROWS", "COLS"],
} as const;
const parametersBackwards = {
  reads: ["x", "statistics", "dy"],
  writes: ["dGain", "dBias"],
  constants: ["ROWS", "COLS", "PARTS"],
} as const;
const forwardByFour = kernel("layernorm-vec4", forwards);
const backwardByFour = kernel("layernorm-backward-vec4", backwards);
/** Kernels for one column at a time, by the precision of y. */
const forwardByOne = { f32: kernel("layernorm", forwards), f16: kernel("layernorm-f16", forwards) };
const backwardByOne = {
  f32: kernel("layernorm-backward", backwards),
  f16: kernel("layernorm-backward-f16", backwards),
};
const parametersBackward = {
  f32: kernel("layernorm-parameters-backward", parametersBackwards),
  f16: kernel("layernorm-parameters-backward-f16", parametersBackwards),
};

/** Options of `layernorm`. */
export interface LayernormOptions {
  readonly epsilon?: number;
  /** Precision of the result; everything else is f32. */
  readonly precision?: Precision;
}

/**
 * Normalises every row to mean 0 and variance 1, then scales and shifts: x [..., cols], gain [cols], bias [cols] -> [..., cols].
 * Ba et al. 2016 (https://arxiv.org/abs/1607.06450); the official DINO models use epsilon 1e-6.
 */
export function layernorm(
  x: Tensor,
  gain: Tensor,
  bias: Tensor,
  { epsilon = 1e-6, precision = "f32" }: LayernormOptions = {},
): Tensor {
  const { rows, cols } = axes("layernorm x", x, "...rows", "cols");
  expectShape("layernorm gain", gain, [cols]);
  expectShape("layernorm bias", bias, [cols]);
  const y = transient(x.shape, precision);
  const statistics = transient([rows, 2]);
  const inFours = cols % 4 === 0 && precision === "f32";
  const forward = inFours ? forwardByFour : forwardByOne[precision];
  const backward = inFours ? backwardByFour : backwardByOne[precision];
  forward({ x, gain, bias, y, statistics }, { ROWS: rows, COLS: cols, EPSILON: epsilon }, grid(rows));
  return differentiable(y, [x, gain, bias], (dy) => {
    const dx = transient(x.shape);
    backward({ x, gain, statistics, dy, dx }, { ROWS: rows, COLS: cols }, grid(rows));
    const parts = rowParts(rows, cols);
    const dGain = transient([parts, cols]);
    const dBias = transient([parts, cols]);
    const blocks = grid(parts * Math.ceil(cols / 64));
    parametersBackward[precision](
      { x, statistics, dy, dGain, dBias },
      { ROWS: rows, COLS: cols, PARTS: parts },
      blocks,
    );
    return [dx, sumOfParts(dGain, [cols]), sumOfParts(dBias, [cols])];
  });
}
