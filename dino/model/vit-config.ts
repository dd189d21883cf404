import type { Precision, Tensor } from "../../engine/index.js";

/** Positions learned for the patches of one image size, and resampled bicubically for others. */
export interface LearnedPositions {
  readonly kind: "learned";
  /**
   * Resampling scales a grid by (wanted + offset) / base: 0.1 in DINO and DINOv2. With 0 it follows the sizes alone, as in
   * DINOv2 with registers, and for all of DINOv2 in Hugging Face's code.
   */
  readonly offset: number;
  /** Whether resampling is antialiased, as in DINOv2 with registers. */
  readonly antialias: boolean;
}

/**
 * Rotary positions of patches (DINOv3, section 3.2, https://arxiv.org/abs/2508.10104): queries and keys are turned by angles
 * 2 pi * coordinate / period, a quarter of a head's channels by rows and another by columns.
 */
export interface RotaryPositions {
  readonly kind: "rotary";
  /** Periods grow geometrically, from 1 towards `base`, or from `min` to `max`. */
  readonly periods: { readonly base: number } | { readonly min: number; readonly max: number };
  /** Coordinates go from -1 to 1 along each axis ("separate"), the longer ("max") or the shorter one ("min"). */
  readonly normalize: "separate" | "max" | "min";
}

/** A Vision Transformer (Dosovitskiy et al. 2021), as DINO, DINOv2 and DINOv3 use it. */
export interface VitConfig {
  /** Image size in pixels of the position embedding. */
  readonly imageRows: number;
  readonly imageCols: number;
  /** Side of a square patch in pixels. */
  readonly patch: number;
  /** Channels of a token. */
  readonly dim: number;
  /** Number of blocks. */
  readonly depth: number;
  readonly heads: number;
  /** Width of the hidden MLP layer as a multiple of `dim`. */
  readonly mlpRatio: number;
  /** Channels of an image. */
  readonly channels: number;
  /** Drop probability of the last block's residual branches; rises linearly from 0 in the first block. */
  readonly dropPathRate: number;
  /** Whether all blocks have the drop probability of the last; default false. */
  readonly uniformDropPath?: boolean;
  /**
   * Drop probability above which a branch is computed only for the part of the batch that keeps it: 0.1 in DINOv2 for crops of
   * one size, 0 for several sizes and in DINOv3; default: never. DINOv2, section 5 (https://arxiv.org/abs/2304.07193).
   */
  readonly batchPartAbove?: number;
  /** Positions of tokens; default: learned, as in DINO, with an offset of 0.1 and no antialias. */
  readonly positions?: LearnedPositions | RotaryPositions;
  /** Epsilon of LayerNorm; default 1e-6. */
  readonly normEpsilon?: number;
  /** Initial value of the factors that scale the channels of residual branches (LayerScale); default: no factors. */
  readonly layerScale?: number;
  /** Layers after attention: an MLP with GELU; SwiGLU with gate and value in two layers, or packed in one. Default MLP. */
  readonly ffn?: "mlp" | "swiglu" | "packed swiglu";
  /** Width of the hidden layer of `ffn`; default `dim` * `mlpRatio`. */
  readonly hidden?: number;
  /** Whether queries, keys and values have a bias; default true. */
  readonly qkvBias?: boolean;
  /** Whether the bias of keys is taken as 0, as in DINOv3; default false. */
  readonly maskKeyBias?: boolean;
  /**
   * A learnt token in place of masked patches; default: none. Without masks it has no gradient if `optional` (DINOv2), and a
   * gradient of 0 if `always` (DINOv3), with which the optimizer still decays it.
   */
  readonly maskToken?: "optional" | "always";
  /** Final LayerNorms of their own for CLS token and registers: of all images, and of local crops in training. */
  readonly untiedNorms?: { readonly cls?: boolean; readonly localCls?: boolean };
  /** Number of learnt tokens without a patch, which hold global information; default 0. */
  readonly registers?: number;
  /** Number of first blocks that are frozen, together with the embedding; default 0. */
  readonly frozenBlocks?: number;
  /**
   * Precision of the blocks between reads and writes of the residual stream, which is f32 like the parameters; default
   * f32.
   */
  readonly precision?: Precision;
}

/** Finds a parameter by its official name without prefix. Throws for an unknown name. */
export type Lookup = (name: string) => Tensor;

/** Returns the lookup of the parameters under a prefix. */
export function scope(params: Lookup, prefix: string): Lookup {
  return (name) => params(prefix + name);
}
