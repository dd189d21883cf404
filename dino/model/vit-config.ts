import type { Precision, Tensor } from "../../engine/index.js";

/** A Vision Transformer (Dosovitskiy et al. 2021), as DINO uses it. */
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
