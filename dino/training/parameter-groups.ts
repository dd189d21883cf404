/** Learning rate, weight decay and clipping of each parameter in DINOv2, by its official name. */
import type { ParamSpec } from "../../engine/index.js";

/** Factors of the learning rate. */
export interface RateOptions {
  /** Blocks of the backbone. */
  readonly depth: number;
  /** Factor from one layer to the one below it; 1 for none. */
  readonly layerDecay: number;
  /** Further factor of the patch embedding. */
  readonly patchEmbedFactor: number;
}

/**
 * Returns the factor of a parameter's learning rate: layerDecay to the power of the layers above, and the patch embedding's. Tokens
 * and embeddings are layer 0, block i is layer i + 1; all others are above the blocks.
 */
export function rateFactor({ depth, layerDecay, patchEmbedFactor }: RateOptions, name: string): number {
  const factor = layerDecay ** (depth + 1 - layerOf(name, depth));
  return name.includes("patch_embed") ? factor * patchEmbedFactor : factor;
}

function layerOf(name: string, depth: number): number {
  if (/^backbone\.(pos_embed|patch_embed|mask_token|cls_token|register_tokens)/.test(name)) return 0;
  const [, block] = /^backbone\.blocks\.(\d+)\./.exec(name) ?? [];
  return block === undefined ? depth + 1 : Number(block) + 1;
}

/** Whether weight decay applies: to all but biases, norms and factors of branches. */
export function decays({ name }: Pick<ParamSpec, "name">): boolean {
  return !(name.endsWith(".bias") || name.includes("norm") || name.includes("gamma"));
}

/** Returns the part of the network with which the gradient of a parameter is clipped: `backbone` or a head. */
export function subnetworkOf({ name }: Pick<ParamSpec, "name">): string {
  return name.slice(0, name.indexOf("."));
}
