import { elementGrid, grid, kernel } from "../core/kernel.js";
import {
  differentiable,
  type Gradient,
  type Grid,
  type PartialSums,
  recording,
  stopGradient,
  transient,
} from "../core/recording.js";
import { bytesOf, expectSuffix, precisionOf, type Shape, sizeOf, type Tensor } from "../core/tensor.js";
import { cast } from "./cast.js";
import { wholeOf } from "./partial-sums.js";
import { scale } from "./scale.js";

const summing = { reads: ["x"], writes: ["out"], constants: ["ROWS", "COLS", "PARTS"] } as const;
/** Kernels for one column of a thread, by the precision of x. */
const columns = { f32: kernel("sum-rows", summing), f16: kernel("sum-rows-f16", summing) };
/** Kernels for four columns of a thread. */
const fours = { f32: kernel("sum-rows-vec4", summing), f16: kernel("sum-rows-vec4-f16", summing) };
const elements = kernel("sum", { reads: ["x"], writes: ["out"], constants: [] });
const repeating = kernel("repeat", { reads: ["x"], writes: ["out"], constants: [] });

/** Rows that a thread adds up alone, because it takes less time than another dispatch. */
const MAX_ROWS = { gpu: 128, cpu: 32 };
/** Columns that a workgroup sums, four of a thread. */
export const GROUP_COLS = 256;
/** Workgroups that fill a large GPU, and the parts that the next dispatch adds up. */
const ENOUGH_GROUPS = 2048;
const MAX_PARTS = 256;
/** Least rows of a part. */
const PART_ROWS = 32;

/**
 * Returns the number of parts into which a sum over the rows of [rows, cols] is split, to be added up by one more dispatch: many
 * on a GPU, to occupy its threads; few on a CPU.
 */
export function rowParts(rows: number, cols: number): number {
  const { kernels } = recording("rowParts").device;
  if (rows <= MAX_ROWS[kernels]) return 1;
  if (kernels === "cpu") return Math.min(rows, Math.ceil((rows * cols) / 2 ** 17));
  const wanted = Math.ceil(ENOUGH_GROUPS / Math.ceil(cols / GROUP_COLS));
  return Math.min(MAX_PARTS, Math.ceil(rows / PART_ROWS), wanted);
}

/** Returns the grid of a kernel whose threads take four columns of a part of the rows, or one if they are no whole fours. */
export function columnGrid(cols: number, parts: number): Grid {
  return grid(parts * Math.ceil(cols / (cols % 4 === 0 ? GROUP_COLS : GROUP_COLS / 4)));
}

/** Column sums in parts of the rows: [rows, cols] -> [parts, cols] in f32. */
function sumRows(x: Tensor, sizes: { readonly rows: number; readonly cols: number; readonly parts: number }): Tensor {
  const { rows, cols, parts } = sizes;
  const out = transient([parts, cols]);
  const kernels = cols % 4 === 0 ? fours : columns;
  const constants = { ROWS: rows, COLS: cols, PARTS: parts };
  kernels[precisionOf("sumLeading x", x)]({ x, out }, constants, columnGrid(cols, parts));
  return out;
}

/** Returns the sum of parts [count, ...shape] in f32, as partial sums if their size is a multiple of four. */
export function sumOfParts(parts: Tensor, shape: Shape): Gradient {
  const [count, cols] = [parts.shape[0]!, sizeOf(shape)];
  const flat: Tensor = { ...parts, shape: [count, cols] };
  if (count === 1) return { ...flat, shape };
  if (cols % 4 === 0) return { parts: flat, first: 0, shape };
  return { ...sumRows(flat, { rows: count, cols, parts: 1 }), shape };
}

/** Returns the sums over the rows of x, if the kernel that wrote x has made them. */
function knownSums(x: Tensor, cols: number): PartialSums | undefined {
  const known = recording("knownSums").columnSums.get(x.storage);
  const isWhole = x.storage.kind === "transient" && x.storage.bytes === bytesOf(x);
  return isWhole && known && sizeOf(known.shape) === cols ? known : undefined;
}

/** Sums over all leading axes, in f32, in fixed order, as partial sums if there are many rows: [..., ...shape] -> shape. */
export function leadingSums(x: Tensor, shape: Shape): Gradient {
  expectSuffix("sumLeading shape:", shape, x.shape);
  const cols = sizeOf(shape);
  const rows = sizeOf(x.shape) / cols;
  const precision = precisionOf("sumLeading x", x);
  const onTape = (y: Tensor) => differentiable(y, [x], (dy) => [cast(repeat(dy, x.shape), precision)]);
  if (rows === 1) return onTape({ ...cast(stopGradient(x), "f32"), shape });
  if (cols === 1 && precision === "f32") return onTape({ ...sum(stopGradient(x)), shape });
  const known = knownSums(x, cols);
  if (known) return { ...known, shape, onTape };
  const sums = sumOfParts(sumRows(x, { rows, cols, parts: rowParts(rows, cols) }), shape);
  return "parts" in sums ? { ...sums, onTape } : onTape(sums);
}

/** Sums over all leading axes, in f32: [..., ...shape] -> shape; the adjoint of `repeat`. */
export function sumLeading(x: Tensor, shape: Shape): Tensor {
  return wholeOf(leadingSums(x, shape));
}

/** Broadcasts x along new leading axes: [...] -> shape, which ends in the shape of x. */
export function repeat(x: Tensor, shape: Shape): Tensor {
  expectSuffix("repeat x:", x.shape, shape);
  const out = transient(shape);
  repeating({ x, out }, {}, elementGrid(sizeOf(shape)));
  return differentiable(out, [x], (dy) => [leadingSums(dy, x.shape)]);
}

/** Elements per workgroup of `sum.wgsl`. */
const ELEMENTS_PER_GROUP = 4096;

/** The sum of all elements, in fixed order: [...] -> []. */
export function sum(x: Tensor): Tensor {
  let total = x;
  do {
    const groups = Math.ceil(sizeOf(total.shape) / ELEMENTS_PER_GROUP);
    const out = transient([groups]);
    elements({ x: total, out }, {}, grid(groups));
    total = out;
  } while (sizeOf(total.shape) > 1);
  const y: Tensor = { ...total, shape: [] };
  return differentiable(y, [x], (dy) => [repeat(dy, x.shape)]);
}

/** The mean over all leading axes: [..., ...shape] -> shape. */
export function meanLeading(x: Tensor, shape: Shape): Tensor {
  return scale(sumLeading(x, shape), sizeOf(shape) / sizeOf(x.shape));
}

/** The mean of all elements: [...] -> []. */
export function mean(x: Tensor): Tensor {
  return scale(sum(x), 1 / sizeOf(x.shape));
}
