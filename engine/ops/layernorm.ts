import { grid, kernel } from "../core/kernel.js";
import { type Backward, differentiable, type PartialSums, recording, transient } from "../core/recording.js";
import { axes, expectShape, type Precision, type Tensor } from "../core/tensor.js";
import { add } from "./add.js";
import { cast, noteHalf } from "./cast.js";
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

/** Kernels that keep a row in registers, by the precision of the branch and of y. */
const addForwards = {
  reads: ["x", "branch", "gain", "bias"],
  writes: ["sum", "y", "statistics"],
  constants: ["ROWS", "COLS", "EPSILON"],
} as const;
const addForward = { f32: kernel("add-layernorm", addForwards), f16: kernel("add-layernorm-f16", addForwards) };
const keptReads = ["x", "gain", "statistics", "dy", "earlier"] as const;
const keptConstants = ["ROWS", "COLS", "PARTS", "ADDS"] as const;
const keptBackward = kernel("layernorm-kept-backward", {
  reads: keptReads,
  writes: ["dx", "sums"],
  constants: keptConstants,
});
const keptBackwardF16 = kernel("layernorm-kept-backward-f16", {
  reads: keptReads,
  writes: ["dx", "rounded", "sums"],
  constants: keptConstants,
});

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
  const { rows, cols } = checkAxes("layernorm", x, gain, bias);
  const y = transient(x.shape, precision);
  const statistics = transient([rows, 2]);
  const forward = cols % 4 === 0 && precision === "f32" ? forwardByFour : forwardByOne[precision];
  forward({ x, gain, bias, y, statistics }, { ROWS: rows, COLS: cols, EPSILON: epsilon }, grid(rows));
  return differentiable(y, [x, gain, bias], backwardOf({ x, gain, statistics, rows, cols, precision }));
}

/**
 * Adds a branch to the residual stream, and normalises the sum: sum = x + branch in f32, normed = layernorm(sum, gain, bias), rounded
 * if `precision` is f16; x [..., cols], branch [..., cols] in f32 or f16, gain [cols], bias [cols] -> sum and normed [..., cols]. On a
 * GPU both take one dispatch. Xiong et al. 2020, figure 1b (https://arxiv.org/abs/2002.04745).
 */
export function addLayernorm(
  x: Tensor,
  branch: Tensor,
  gain: Tensor,
  bias: Tensor,
  { epsilon = 1e-6, precision = "f32" }: LayernormOptions = {},
): { readonly sum: Tensor; readonly normed: Tensor } {
  const { rows, cols } = checkAxes("addLayernorm", x, gain, bias);
  expectShape("addLayernorm branch", branch, x.shape);
  if (x.dtype !== "f32" || branch.dtype !== precision || !keepsRows(cols)) {
    const sum = add(x, branch);
    return { sum, normed: layernorm(sum, gain, bias, { epsilon, precision }) };
  }
  const [sum, y, statistics] = [transient(x.shape), transient(x.shape, precision), transient([rows, 2])];
  const constants = { ROWS: rows, COLS: cols, EPSILON: epsilon };
  addForward[precision]({ x, branch, gain, bias, sum, y, statistics }, constants, grid(rows));
  differentiable(sum, [x, branch], (dSum) => [dSum, cast(dSum, precision)]);
  const backward = backwardOf({ x: sum, gain, statistics, rows, cols, precision });
  return { sum, normed: differentiable(y, [sum, gain, bias], backward) };
}

function checkAxes(what: string, x: Tensor, gain: Tensor, bias: Tensor) {
  const { rows, cols } = axes(`${what} x`, x, "...rows", "cols");
  expectShape(`${what} gain`, gain, [cols]);
  expectShape(`${what} bias`, bias, [cols]);
  return { rows, cols };
}

/** Columns of a row that 64 threads keep in registers, in four fours each. */
const MAX_KEPT_COLS = 1024;

/** Whether threads keep rows in registers. A CPU is faster with few threads and loops. */
function keepsRows(cols: number): boolean {
  return recording("layernorm").device.kernels === "gpu" && cols % 4 === 0 && cols <= MAX_KEPT_COLS;
}

interface Normalization {
  readonly x: Tensor;
  readonly gain: Tensor;
  /** [rows, 2]: mean and reciprocal standard deviation of each row. */
  readonly statistics: Tensor;
  readonly rows: number;
  readonly cols: number;
  /** Precision of y and dy. */
  readonly precision: Precision;
}

function backwardOf(of: Normalization): Backward {
  return (dy, take) => (keepsRows(of.cols) ? backwardOfKeptRows(of, dy, take(0)) : backwardOfRows(of, dy));
}

function backwardOfRows({ x, gain, statistics, rows, cols, precision }: Normalization, dy: Tensor) {
  const dx = transient(x.shape);
  const backward = cols % 4 === 0 && precision === "f32" ? backwardByFour : backwardByOne[precision];
  backward({ x, gain, statistics, dy, dx }, { ROWS: rows, COLS: cols }, grid(rows));
  const parts = rowParts(rows, cols);
  const dGain = transient([parts, cols]);
  const dBias = transient([parts, cols]);
  const blocks = grid(parts * Math.ceil(cols / 64));
  parametersBackward[precision]({ x, statistics, dy, dGain, dBias }, { ROWS: rows, COLS: cols, PARTS: parts }, blocks);
  return [dx, sumOfParts(dGain, [cols]), sumOfParts(dBias, [cols])];
}

/** Workgroups that fill a large GPU, and the least rows of one, so that the sums of its rows are few beside them. */
const MAX_GROUPS = 1024;
const MIN_ROWS = 4;

/**
 * The gradients, in one dispatch: dx includes `earlier`. The kernel also makes what follows where x is the sum of a stream and a
 * branch: the sums of the columns of dx, which are the gradient of a bias in the branch, and dx in f16.
 */
function backwardOfKeptRows(
  { x, gain, statistics, rows, cols, precision }: Normalization,
  dy: Tensor,
  earlier?: Tensor,
) {
  const parts = Math.min(MAX_GROUPS, Math.ceil(rows / MIN_ROWS));
  const [dx, sums] = [transient(x.shape), transient([parts, 3 * cols])];
  const tensors = { x, gain, statistics, dy, earlier: earlier ?? x, dx, sums }; // without an earlier gradient x, unread
  const constants = { ROWS: rows, COLS: cols, PARTS: parts, ADDS: earlier ? 1 : 0 };
  const sumsOf = (which: number): PartialSums => ({ parts: sums, first: which * cols, shape: [cols] });
  const { columnSums } = recording("layernorm");
  columnSums.set(dx.storage, sumsOf(2));
  if (precision === "f16") {
    const rounded = transient(x.shape, "f16");
    keptBackwardF16({ ...tensors, rounded }, constants, grid(parts));
    noteHalf(dx, rounded);
    columnSums.set(rounded.storage, sumsOf(2));
  } else {
    keptBackward(tensors, constants, grid(parts));
  }
  return [dx, sumsOf(0), sumsOf(1)];
}
