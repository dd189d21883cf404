/** Sizes of the official recipe. */

/** ViT-S for a GPU, ViT-Ti for a software adapter. */
export const VIT = {
  gpu: { dim: 384, heads: 6, hidden: 1536 },
  software: { dim: 192, heads: 3, hidden: 768 },
} as const;

export type VitSize = (typeof VIT)[keyof typeof VIT];

/** The number of prototypes, K in the paper. */
export const PROTOTYPES = 65536;
/** Width of the bottleneck of the head. */
export const BOTTLENECK = 256;
/** Crops of an image. */
export const CROPS = { global: 2, local: 8 };
/** Tokens of a crop of 224 and of 96 pixels, with patches of 16. */
export const TOKENS = { global: 1 + 14 ** 2, local: 1 + 6 ** 2 };
