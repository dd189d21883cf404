import { stopGradient, transient } from "../../core/recording.js";
import {
  ALIGNMENT,
  axes,
  BYTES_PER_ELEMENT,
  formatShape,
  type Precision,
  rowsOf,
  type Shape,
  sizeOf,
  type Tensor,
} from "../../core/tensor.js";
import { add } from "../add.js";
import { half } from "../cast.js";
import { matmul } from "../matmul.js";
import { writeInto } from "../placement.js";
import { meanLeading } from "../sum.js";

/** Logits [rows, cols] as the product x weightᵀ of x [rows, dim] and weight [cols, dim], computed in chunks of columns. */
export interface Projection {
  readonly x: Tensor;
  readonly weight: Tensor;
  /** Precision of the factors, here and in the gradients; sums are f32. Default f32. */
  readonly precision?: Precision;
}

/** Logits [rows, cols], as a tensor or as a product to compute. */
export type Logits = Tensor | Projection;

/** A range of columns of the logits. */
export interface Chunk {
  readonly first: number;
  readonly cols: number;
}

/** Returns the tensors that gradients of the logits flow to. */
export function sourcesOf(logits: Logits): readonly Tensor[] {
  return "weight" in logits ? [logits.x, logits.weight] : [logits];
}

/** Returns the logits off the tape, with factors rounded to `precision`, once for all products. */
export function withoutTape(logits: Logits): Logits {
  if (!("weight" in logits)) return stopGradient(logits);
  const { x, weight } = logits;
  const factor = operandPrecision(logits) === "f16" ? half : stopGradient;
  return { ...logits, x: factor(x), weight: factor(weight) };
}

/** Returns the precision of the factors of products; the gradient of the logits is one of them. */
export function operandPrecision(logits: Logits): Precision {
  return ("weight" in logits && logits.precision) || "f32";
}

/** Returns rows and columns of logits. Throws for other axes, and if x and weight do not match. */
export function logitsAxes(what: string, logits: Logits): { readonly rows: number; readonly cols: number } {
  if (!("weight" in logits)) return axes(what, logits, "rows", "cols");
  const { rows, dim } = axes(`${what} x`, logits.x, "rows", "dim");
  const { cols, weightDim } = axes(`${what} weight`, logits.weight, "cols", "weightDim");
  if (weightDim !== dim) {
    throw new Error(`${what} weight: expected [cols, ${dim}], got ${formatShape(logits.weight.shape)}`);
  }
  return { rows, cols };
}

/** Maximum bytes of a chunk: it and its gradient fit the cache of a large GPU, and are small beside a network. */
const CHUNK_BYTES = 2 ** 24;

/**
 * Divides the columns of several logits into chunks of equal width, except for the last: of `width` columns, by default as many
 * as fit `CHUNK_BYTES` of the first logits. Logits that are tensors form one chunk. Throws for a width whose multiples are no
 * valid binding offsets.
 */
export function chunksOf(logits: readonly [Logits, ...Logits[]], width?: number): readonly Chunk[] {
  const { rows, cols } = logitsAxes("logits", logits[0]);
  if (!logits.every((each) => "weight" in each)) return [{ first: 0, cols }];
  const step = logits.some((each) => operandPrecision(each) === "f16") ? 2 * ALIGNMENT : ALIGNMENT;
  const each = width ?? evenWidth(rows, cols, step);
  if (each % step !== 0) throw new Error(`distillation: expected chunks of a multiple of ${step} columns, got ${each}`);
  return Array.from({ length: Math.ceil(cols / each) }, (_, i) => {
    return { first: i * each, cols: Math.min(each, cols - i * each) };
  });
}

function evenWidth(rows: number, cols: number, step: number): number {
  const blocks = Math.ceil(cols / step);
  const most = Math.max(1, Math.floor(CHUNK_BYTES / (rows * step * BYTES_PER_ELEMENT))); // blocks of a chunk
  return Math.ceil(blocks / Math.ceil(blocks / most)) * step;
}

/** Computes a chunk of logits off the tape: [rows, chunk's cols]. Logits that are tensors have only one chunk. */
export function logitsOf(logits: Logits, { first, cols }: Chunk): Tensor {
  if (!("weight" in logits)) return logits;
  return matmul(logits.x, rowsOf(logits.weight, first, cols), { b: true }, "f32");
}

/**
 * Mean of all rows, or the sum of rows times weights [rows]: [cols]. For a product, it is computed from the mean of x, without
 * logits.
 */
export function meanOf(logits: Logits, weights?: Tensor): Tensor {
  const { rows, cols } = logitsAxes("logits", logits);
  const mean = (x: Tensor): Tensor => {
    const width = x.shape[1]!;
    const off = stopGradient(x);
    return weights
      ? matmul({ ...weights, shape: [1, rows] }, off)
      : { ...meanLeading(off, [width]), shape: [1, width] };
  };
  const row = "weight" in logits ? matmul(mean(logits.x), stopGradient(logits.weight), { b: true }) : mean(logits);
  return { ...row, shape: [cols] };
}

/**
 * Returns the gradients of `sourcesOf(logits)`. `dLogits` computes the gradient of one chunk of logits, in the precision of
 * the factors.
 */
export function backwardOf(logits: Logits, chunks: readonly Chunk[], dLogits: (chunk: Chunk) => Tensor): Tensor[] {
  if (!("weight" in logits)) return chunks.map(dLogits);
  const { x, weight } = logits;
  const dWeight = transient(weight.shape);
  let dX: Tensor | undefined;
  for (const chunk of chunks) {
    const dChunk = dLogits(chunk); // [rows, chunk's cols]
    const part = matmul(dChunk, rowsOf(weight, chunk.first, chunk.cols), {}, "f32"); // [rows, dim]
    dX = dX ? add(dX, part) : part;
    writeInto(matmul(dChunk, x, { a: true }, "f32"), rowsOf(dWeight, chunk.first, chunk.cols));
  }
  return [dX!, dWeight];
}

/** Recomputes the tensor of a chunk on every call, which saves memory; computes it only once if there is one chunk. */
export function cacheSingleChunk(chunks: readonly Chunk[], make: (chunk: Chunk) => Tensor): (chunk: Chunk) => Tensor {
  if (chunks.length > 1) return make;
  let made: Tensor | undefined;
  return (chunk) => (made ??= make(chunk));
}

/** Allocates a small tensor per chunk, at valid binding offsets; returns all of them [chunks, stride], and a view of each. */
export function perChunk(
  chunks: readonly Chunk[],
  shape: Shape,
): { readonly parts: Tensor; readonly part: (chunk: number) => Tensor } {
  const stride = Math.ceil(sizeOf(shape) / ALIGNMENT) * ALIGNMENT;
  const parts = transient([chunks.length, stride]);
  return { parts, part: (chunk) => ({ ...parts, shape, offset: chunk * stride * BYTES_PER_ELEMENT }) };
}
