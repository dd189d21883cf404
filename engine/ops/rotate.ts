import { elementGrid, kernel } from "../core/kernel.js";
import { differentiable, transient } from "../core/recording.js";
import { axes, expectShape, precisionOf, sizeOf, type Tensor } from "../core/tensor.js";
import { cast } from "./cast.js";

const turning = {
  reads: ["x", "cosines", "sines"],
  writes: ["y"],
  constants: ["TOKENS", "PATCHES", "HEADS", "HEAD_DIM", "SIGN"],
} as const;
const byPair = kernel("rotate", turning);
/** Kernels for four pairs of a thread, by the precision of qkv. */
const byFour = { f32: kernel("rotate-vec4", turning), f16: kernel("rotate-vec4-f16", turning) };

/** Cosines and sines of the angles by which a patch turns the pairs of a head, each [patches, headDim / 2]. */
export interface Rotation {
  readonly cosines: Tensor;
  readonly sines: Tensor;
}

/**
 * Turns queries and keys of the last tokens, which are those of patches, by the angles of their positions: qkv [batch, tokens, 3 * dim]
 * (queries, keys, values; each heads * headDim) -> the same, in the precision of qkv. A pair is element i and i + headDim / 2 of a head.
 * Rotary position embedding, Su et al. 2021, section 3.4.2 (https://arxiv.org/abs/2104.09864). Throws for heads of an odd size.
 */
export function rotate(qkv: Tensor, heads: number, rotation: Rotation): Tensor {
  return turn(qkv, heads, rotation, 1);
}

/** Turns by the angles times `sign`. */
function turn(qkv: Tensor, heads: number, rotation: Rotation, sign: 1 | -1): Tensor {
  const { tokens, width } = axes("rotate qkv", qkv, "batch", "tokens", "width");
  const headDim = width / 3 / heads;
  if (headDim % 2 !== 0) throw new Error(`rotate: a third of ${width} channels has no ${heads} heads of whole pairs`);
  const { cosines, sines } = rotation;
  const { patches } = axes("rotate cosines", cosines, "patches", "pairs");
  if (patches > tokens) throw new Error(`rotate: ${patches} patches are more than the ${tokens} tokens of qkv`);
  expectShape("rotate cosines", cosines, [patches, headDim / 2]);
  expectShape("rotate sines", sines, cosines.shape);
  const precision = precisionOf("rotate qkv", qkv);
  const inFours = headDim % 8 === 0;
  if (!inFours && precision === "f16") return cast(turn(cast(qkv, "f32"), heads, rotation, sign), "f16");
  const y = transient(qkv.shape, precision);
  const constants = { TOKENS: tokens, PATCHES: patches, HEADS: heads, HEAD_DIM: headDim, SIGN: sign };
  const pairs = sizeOf(qkv.shape) / 2;
  if (inFours) byFour[precision]({ x: qkv, cosines, sines, y }, constants, elementGrid(pairs / 4));
  else byPair({ x: qkv, cosines, sines, y }, constants, elementGrid(pairs));
  return differentiable(y, [qkv], (dy) => [turn(dy, heads, rotation, sign === 1 ? -1 : 1)]);
}
