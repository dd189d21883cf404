import { elementGrid, grid, kernel } from "../core/kernel.js";
import { differentiable, stopGradient, transient } from "../core/recording.js";
import { axes, expectShape, sizeOf, type Tensor } from "../core/tensor.js";
import { updateAverage } from "./moving-average.js";
import { scale } from "./scale.js";
import { rowParts, sumLeading } from "./sum.js";

const forward = kernel("batchnorm", {
  reads: ["x", "gain", "bias", "mean", "variance"],
  writes: ["y"],
  constants: ["COLS", "EPSILON"],
});
const deviations = kernel("batchnorm-deviations", {
  reads: ["x", "mean"],
  writes: ["out"],
  constants: ["ROWS", "COLS", "PARTS"],
});
const backward = kernel("batchnorm-backward", {
  reads: ["x", "gain", "mean", "variance", "dy", "dGain", "dBias"],
  writes: ["dx"],
  constants: ["COLS", "EPSILON", "SHARE"],
});
const parametersBackward = kernel("batchnorm-parameters-backward", {
  reads: ["x", "mean", "variance", "dy"],
  writes: ["dGain", "dBias"],
  constants: ["ROWS", "COLS", "PARTS", "EPSILON"],
});

/** Running averages of mean and variance of every column [cols]. */
export interface RunningStatistics {
  readonly runningMean: Tensor;
  readonly runningVariance: Tensor;
}

/** Options of `batchNorm`. */
export interface BatchNormOptions {
  readonly epsilon?: number;
  /** Weight of the newest batch in the running statistics. */
  readonly momentum?: number;
  /** Computes statistics over the batches of several devices, as torch.nn.SyncBatchNorm; by default over one. */
  readonly across?: Across;
  /** Receives the function that updates the running statistics, to call it later in the recording; by default it is called at once. */
  readonly updateLater?: (update: () => void) => void;
}

/** Devices with the same number of rows each. */
export interface Across {
  readonly devices: number;
  /** Sums each column over all devices: [cols] -> [cols]. */
  readonly sum: (x: Tensor) => Tensor;
}

/**
 * Normalises every column to mean 0 and variance 1 over the batch, then scales and shifts: x [rows, cols], gain [cols],
 * bias [cols] -> [rows, cols]. Updates the running statistics in place, with the unbiased variance, as torch does.
 * Throws for a single row. Ioffe & Szegedy 2015, algorithm 1 (https://arxiv.org/abs/1502.03167).
 */
export function batchNorm(
  x: Tensor,
  gain: Tensor,
  bias: Tensor,
  { runningMean, runningVariance }: RunningStatistics,
  { epsilon = 1e-5, momentum = 0.1, across = ALONE, updateLater = (update) => update() }: BatchNormOptions = {},
): Tensor {
  const { rows: own, cols } = axes("batchNorm x", x, "rows", "cols");
  const rows = own * across.devices;
  if (rows < 2) throw new Error("batchNorm: one row has no variance; use a larger batch or the running statistics");
  const mean = scale(across.sum(sumLeading(stopGradient(x), [cols])), 1 / rows);
  const parts = rowParts(own, cols);
  const squares = transient([parts, cols]);
  deviations({ x, mean, out: squares }, { ROWS: own, COLS: cols, PARTS: parts }, columnGrid(parts, cols));
  const variance = scale(across.sum(sumLeading(squares, [cols])), 1 / rows);
  updateLater(() => {
    updateAverage(runningMean, mean, { keep: 1 - momentum, add: momentum });
    updateAverage(runningVariance, variance, { keep: 1 - momentum, add: (momentum * rows) / (rows - 1) });
  });
  return normalize(x, gain, bias, { mean, variance, epsilon, share: 1 / rows, across });
}

/** As `batchNorm`, with the running statistics instead of those of the batch. */
export function batchNormRunning(
  x: Tensor,
  gain: Tensor,
  bias: Tensor,
  { runningMean, runningVariance }: RunningStatistics,
  { epsilon = 1e-5 }: Pick<BatchNormOptions, "epsilon"> = {},
): Tensor {
  return normalize(x, gain, bias, { mean: runningMean, variance: runningVariance, epsilon, share: 0, across: ALONE });
}

interface Statistics {
  readonly mean: Tensor;
  readonly variance: Tensor;
  readonly epsilon: number;
  /** Weight of one row in the statistics. */
  readonly share: number;
  readonly across: Across;
}

const ALONE: Across = { devices: 1, sum: (x) => x };

function normalize(
  x: Tensor,
  gain: Tensor,
  bias: Tensor,
  { mean, variance, epsilon, share, across }: Statistics,
): Tensor {
  const { rows, cols } = axes("batchNorm x", x, "rows", "cols");
  for (const [name, column] of Object.entries({ gain, bias, mean, variance }))
    expectShape(`batchNorm ${name}`, column, [cols]);
  const y = transient(x.shape);
  const elements = elementGrid(sizeOf(x.shape));
  forward({ x, gain, bias, mean, variance, y }, { COLS: cols, EPSILON: epsilon }, elements);
  return differentiable(y, [x, gain, bias], (dy) => {
    const parts = rowParts(rows, cols);
    const [gains, biases] = [transient([parts, cols]), transient([parts, cols])];
    parametersBackward(
      { x, mean, variance, dy, dGain: gains, dBias: biases },
      { ROWS: rows, COLS: cols, PARTS: parts, EPSILON: epsilon },
      columnGrid(parts, cols),
    );
    const [dGain, dBias] = [sumLeading(gains, [cols]), sumLeading(biases, [cols])];
    const dx = transient(x.shape);
    const sums = { dGain: across.sum(dGain), dBias: across.sum(dBias) };
    const tensors = { x, gain, mean, variance, dy, ...sums, dx };
    backward(tensors, { COLS: cols, EPSILON: epsilon, SHARE: share }, elements);
    return [dx, dGain, dBias];
  });
}

/** Returns the grid with one workgroup per 64 columns of each part of the rows. */
function columnGrid(parts: number, cols: number) {
  return grid(parts * Math.ceil(cols / 64));
}
