import { grid, kernel } from "../core/kernel.js";
import { constant, transient } from "../core/recording.js";
import { axes, formatShape, sameShape, type Tensor } from "../core/tensor.js";

const forward = kernel("top-k", {
  reads: ["x", "foundValues", "foundColumns", "sizes"],
  writes: ["values", "columns"],
  constants: ["K", "KEPT", "CAPACITY"],
});

/** Most that `topK` finds: workgroup memory, 16 KiB on every adapter, holds as many again that may replace them. */
export const MOST_K = 512;

/** Candidates that workgroup memory holds: enough that few chunks of columns have more, few enough that workgroups run side by side. */
const [SMALLEST, LARGEST] = [256, 2 * MOST_K];

/** The largest numbers of each row, the largest first. */
export interface TopK {
  /** [rows, k] f32. */
  readonly values: Tensor;
  /** Their columns, [rows, k] u32. */
  readonly columns: Tensor;
  /** Number of columns that they were found among. */
  readonly seen: number;
}

/**
 * Finds the `k` largest numbers of each row, x [rows, cols]; of equal ones the earlier comes first. With `before`, the result for
 * earlier columns of the same rows, x has the columns behind those. NaN, and numbers of -3e38 or less, are not found: where fewer
 * than k others came, the value is -3e38 and the column 2^32 - 1. Not differentiable. Throws unless k is from 1 to 512, and for
 * the result of other rows or another k.
 */
export function topK(x: Tensor, k: number, before?: TopK): TopK {
  const { rows, cols } = axes("topK x", x, "rows", "cols");
  if (!Number.isInteger(k) || k < 1 || k > MOST_K) throw new Error(`topK k: expected 1 to ${MOST_K}, got ${k}`);
  if (before && !sameShape(before.values.shape, [rows, k])) {
    throw new Error(`topK before: expected the ${k} largest of ${rows} rows, got ${formatShape(before.values.shape)}`);
  }
  const [values, columns] = [transient([rows, k]), transient([rows, k], "u32")];
  const { seen = 0, values: foundValues = x, columns: foundColumns = sizesOf(0, 0) } = before ?? {};
  const sizes = sizesOf(cols, seen);
  const KEPT = 2 ** Math.ceil(Math.log2(k));
  const CAPACITY = Math.min(LARGEST, Math.max(SMALLEST, 4 * KEPT));
  forward({ x, foundValues, foundColumns, sizes, values, columns }, { K: k, KEPT, CAPACITY }, grid(rows));
  return { values, columns, seen: seen + cols };
}

/** Sizes that differ from tile to tile, of which one pipeline takes all. */
function sizesOf(cols: number, first: number): Tensor {
  return constant([2], [cols, first], { dtype: "u32", label: "topK sizes" });
}
