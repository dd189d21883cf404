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

/** Logits [rows, cols] as the product x weightᵀ of x [rows, dim] and weight [cols, dim], made some columns at a time. */
export interface Projection {
  readonly x: Tensor;
  readonly weight: Tensor;
  /** Of what is multiplied, here and for the gradients; all sums are f32. f32 if left out. */
  readonly precision?: Precision;
}

/** Logits [rows, cols], ready or still to be multiplied. */
export type Logits = Tensor | Projection;

/** Some columns of logits. */
export interface Chunk {
  readonly first: number;
  readonly cols: number;
}

/** What the logits were made of, to which gradients flow. */
export function sourcesOf(logits: Logits): readonly Tensor[] {
  return "weight" in logits ? [logits.x, logits.weight] : [logits];
}

/** The same logits off the tape, their factors rounded as `precision` says, so that they are rounded once for all products. */
export function withoutTape(logits: Logits): Logits {
  if (!("weight" in logits)) return stopGradient(logits);
  const { x, weight } = logits;
  const factor = operandPrecision(logits) === "f16" ? half : stopGradient;
  return { ...logits, x: factor(x), weight: factor(weight) };
}

/** Of the factors of products, which the gradient of the logits is one of. */
export function operandPrecision(logits: Logits): Precision {
  return ("weight" in logits && logits.precision) || "f32";
}

/** Rows and columns. Throws where there are no such axes, or where x and weight do not fit. */
export function logitsAxes(what: string, logits: Logits): { readonly rows: number; readonly cols: number } {
  if (!("weight" in logits)) return axes(what, logits, "rows", "cols");
  const { rows, dim } = axes(`${what} x`, logits.x, "rows", "dim");
  const { cols, weightDim } = axes(`${what} weight`, logits.weight, "cols", "weightDim");
  if (weightDim !== dim) {
    throw new Error(`${what} weight: expected [cols, ${dim}], got ${formatShape(logits.weight.shape)}`);
  }
  return { rows, cols };
}

/** Most bytes of a chunk: it and its gradient stay in the cache of a large GPU, and beside a network it is little. */
const CHUNK_BYTES = 2 ** 24;

/**
 * Chunks of one width, but for the last, of logits [rows, cols] and others with the same columns: as few as `CHUNK_BYTES` of
 * the first allow, or of `width` columns each. Of ready logits all columns are one. Throws on a width at whose multiples no
 * binding may start.
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

/** Some columns of logits without a tape: [rows, chunk's cols]. Of ready logits there is one chunk only. */
export function logitsOf(logits: Logits, { first, cols }: Chunk): Tensor {
  if (!("weight" in logits)) return logits;
  return matmul(logits.x, rowsOf(logits.weight, first, cols), { b: true }, "f32");
}

/** The mean of all rows: [cols]. Of a product it is the mean of x times the weight, which needs no logits. */
export function meanOf(logits: Logits): Tensor {
  const { cols } = logitsAxes("logits", logits);
  if (!("weight" in logits)) return meanLeading(stopGradient(logits), [cols]);
  const dim = logits.x.shape[1]!;
  const mean: Tensor = { ...meanLeading(stopGradient(logits.x), [dim]), shape: [1, dim] };
  return { ...matmul(mean, stopGradient(logits.weight), { b: true }), shape: [cols] };
}

/**
 * The gradients of `sourcesOf(logits)` out of those of logits without a tape, which `dLogits` makes a chunk at a time, in the
 * precision of the products' factors.
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

/** Makes what belongs to a chunk anew on every call, to need no memory in between; where one chunk is all, only once. */
export function cacheSingleChunk(chunks: readonly Chunk[], make: (chunk: Chunk) => Tensor): (chunk: Chunk) => Tensor {
  if (chunks.length > 1) return make;
  let made: Tensor | undefined;
  return (chunk) => (made ??= make(chunk));
}

/** Room for a small tensor of every chunk, each where a binding may start: all of them [chunks, stride], and that of one. */
export function perChunk(
  chunks: readonly Chunk[],
  shape: Shape,
): { readonly parts: Tensor; readonly part: (chunk: number) => Tensor } {
  const stride = Math.ceil(sizeOf(shape) / ALIGNMENT) * ALIGNMENT;
  const parts = transient([chunks.length, stride]);
  return { parts, part: (chunk) => ({ ...parts, shape, offset: chunk * stride * BYTES_PER_ELEMENT }) };
}
