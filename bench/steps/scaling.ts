/** Growth of step time with size, compared with the growth of work. */
import { figure } from "../figures/format.js";
import { STEP_SIZE, type StepSize } from "./step.js";

/** Sizes that are varied one at a time. */
export const axes = ["batch", "globalSize", "prototypes", "depth"] as const;
export type Axis = (typeof axes)[number];

export type Sized = StepSize & Required<Pick<StepSize, "depth">>;

/** Base size, and the values of every axis. */
export interface Scale {
  readonly base: Sized;
  readonly values: Readonly<Record<Axis, readonly number[]>>;
}

/** Scales by adapter: steps that fill a GPU, and steps that take seconds in software. */
export const SCALES: Readonly<Record<"gpu" | "software", Scale>> = {
  gpu: {
    base: { ...STEP_SIZE.gpu, batch: 16, depth: 12 },
    values: {
      batch: [8, 16, 32, 64],
      globalSize: [96, 160, 224, 320],
      prototypes: [8192, 16384, 32768, 65536],
      depth: [3, 6, 12, 24],
    },
  },
  software: {
    base: { batch: 1, globalSize: 96, localSize: 32, dim: 64, prototypes: 1024, depth: 4 },
    values: {
      batch: [1, 2, 4, 8],
      globalSize: [64, 96, 128, 192],
      prototypes: [1024, 4096, 16384, 65536],
      depth: [2, 4, 8, 16],
    },
  },
};

/** Result of one axis: step time at each value, and the exponents p of the best fit by value^p. */
export interface Scaled {
  readonly axis: Axis;
  readonly values: readonly number[];
  readonly ms: readonly number[];
  /** Floating point operations of each step, in 10^9. */
  readonly gflop: readonly number[];
  readonly exponent: number;
  /** Exponent of the operations: that of the time if all took equally long. */
  readonly expected: number;
}

/** Measures one axis; `time` returns the milliseconds of a step. */
export async function scaleAlong(
  axis: Axis,
  { base, values }: Scale,
  time: (size: StepSize) => Promise<number>,
): Promise<Scaled> {
  const sizes = values[axis].map((value): Sized => ({ ...base, [axis]: value }));
  const ms: number[] = [];
  for (const size of sizes) ms.push(await time(size));
  const gflop = sizes.map((size) => flopsOf(size) / 1e9);
  const [exponent, expected] = [ms, gflop].map((y) => exponentOf(values[axis], y));
  return { axis, values: values[axis], ms, gflop, exponent: exponent!, expected: expected! };
}

/** Fits y = c * x^p by least squares of log y, and returns p. */
function exponentOf(x: readonly number[], y: readonly number[]): number {
  const [u, v] = [x.map(Math.log), y.map(Math.log)];
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [meanU, meanV] = [mean(u), mean(v)];
  const covariance = u.reduce((sum, value, i) => sum + (value - meanU) * (v[i]! - meanV), 0);
  return covariance / u.reduce((sum, value) => sum + (value - meanU) ** 2, 0);
}

/**
 * Returns the floating point operations of the matrix products of a step: student forward and backward, three times a
 * forward, and teacher forward on the global crops.
 */
export function flopsOf(size: Sized): number {
  const { globals, locals } = forwardFlops(size);
  return 4 * (globals.backbone + globals.head) + 3 * (locals.backbone + locals.head);
}

/** Returns the floating point operations of a forward pass over the global and over the local crops of a batch. */
export function forwardFlops({ batch, globalSize, localSize, dim, prototypes, depth }: Sized): {
  readonly [crops in "globals" | "locals"]: { readonly backbone: number; readonly head: number };
} {
  const rowOfHead = 2 * (dim * 2048 + 2048 ** 2 + 2048 * 256 + 256 * prototypes);
  const crops = (count: number, side: number) => {
    const patches = Math.floor(side / 16) ** 2;
    const tokens = 1 + patches;
    const backbone = 2 * patches * 768 * dim + depth * (24 * tokens * dim ** 2 + 4 * tokens ** 2 * dim);
    return { backbone: count * backbone, head: count * rowOfHead };
  };
  return { globals: crops(2 * batch, globalSize), locals: crops(8 * batch, localSize) };
}

/** Formats all axes as Markdown. */
export function scalingTable(scaled: readonly Scaled[]): string {
  return [
    "| axis | values | step, ms | exponent | expected |",
    "| --- | --- | --- | ---: | ---: |",
    ...scaled.map(({ axis, values, ms, exponent, expected }) => {
      const cells = [axis, values.join(", "), ms.map(figure).join(", "), exponent.toFixed(2), expected.toFixed(2)];
      return `| ${cells.join(" | ")} |`;
    }),
  ].join("\n");
}
