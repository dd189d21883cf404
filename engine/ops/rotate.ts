import { elementGrid, kernel } from "../core/kernel.js";
import { differentiable, transient } from "../core/recording.js";
import { axes, expectShape, precisionOf, rowsOf, type Tensor } from "../core/tensor.js";
import { sequencesOf } from "./attention.js";
import { cast } from "./cast.js";
import { rowRanges, rowsIn, type Sequences } from "./concat.js";

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

/** Sequences of one length, and the rotation of their tokens. */
export interface RotatedSequences extends Sequences {
  readonly rotation: Rotation;
}

/**
 * Turns queries and keys of the last tokens, which are those of patches, by the angles of their positions: qkv [batch, tokens, 3 * dim]
 * (queries, keys, values; each heads * headDim) -> the same, in the precision of qkv. A pair is element i and i + headDim / 2 of a head.
 * With groups of sequences of several lengths, qkv holds their tokens one after another: [rows, 3 * dim]. Rotary position embedding,
 * Su et al. 2021, section 3.4.2 (https://arxiv.org/abs/2104.09864). Throws for heads of an odd size, and where kernels cannot bind
 * each group; see `fitOneTensor`.
 */
export function rotate(qkv: Tensor, heads: number, rotation: Rotation | readonly RotatedSequences[]): Tensor {
  return turn(qkv, heads, "cosines" in rotation ? [{ ...sequencesOf("rotate", qkv), rotation }] : rotation, 1);
}

/** Turns by the angles times `sign`. */
function turn(qkv: Tensor, heads: number, groups: readonly RotatedSequences[], sign: 1 | -1): Tensor {
  const { rows, width } = axes("rotate qkv", qkv, "...rows", "width");
  const headDim = width / 3 / heads;
  if (headDim % 2 !== 0) throw new Error(`rotate: a third of ${width} channels has no ${heads} heads of whole pairs`);
  if (rows !== rowsIn(groups)) throw new Error(`rotate: qkv has ${rows} tokens, its sequences have ${rowsIn(groups)}`);
  const precision = precisionOf("rotate qkv", qkv);
  const inFours = headDim % 8 === 0;
  if (!inFours && precision === "f16") return cast(turn(cast(qkv, "f32"), heads, groups, sign), "f16");
  const y = transient(qkv.shape, precision);
  rowRanges(groups).forEach(({ first, count }, i) => {
    const { tokens, rotation } = groups[i]!;
    const patches = patchesOf(rotation, tokens, headDim);
    const constants = { TOKENS: tokens, PATCHES: patches, HEADS: heads, HEAD_DIM: headDim, SIGN: sign };
    const partOf = (x: Tensor) => rowsOf({ ...x, shape: [rows, width] }, first, count);
    const tensors = { x: partOf(qkv), ...rotation, y: partOf(y) };
    const pairs = (count * width) / 2;
    if (inFours) byFour[precision](tensors, constants, elementGrid(pairs / 4));
    else byPair(tensors, constants, elementGrid(pairs));
  });
  return differentiable(y, [qkv], (dy) => [turn(dy, heads, groups, sign === 1 ? -1 : 1)]);
}

function patchesOf({ cosines, sines }: Rotation, tokens: number, headDim: number): number {
  const { patches } = axes("rotate cosines", cosines, "patches", "pairs");
  if (patches > tokens) throw new Error(`rotate: ${patches} patches are more than the ${tokens} tokens of qkv`);
  expectShape("rotate cosines", cosines, [patches, headDim / 2]);
  expectShape("rotate sines", sines, cosines.shape);
  return patches;
}
