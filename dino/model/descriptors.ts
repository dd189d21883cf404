/** Descriptors: the features of an image as a function of its tokens. */
import { concat, constant, matmul, reshape, type Tensor } from "../../engine/index.js";
import type { Size } from "../images/pixels.js";
import type { Backbone } from "./backbone.js";
import { patchGrid } from "./positions.js";
import { clsOf } from "./tokens.js";
import { encode, intermediateLayers, vit } from "./vit.js";

/** A function from images to features. */
export interface Descriptor {
  readonly dim: number;
  /** Recorded once: images [batch, channels, rows, cols], normalised, -> [batch, dim]. */
  readonly apply: (images: Tensor) => Tensor;
}

/** The cls token after the last block; the paper's choice for k-NN. */
export function clsDescriptor({ vit: shape, params }: Backbone): Descriptor {
  return { dim: shape.dim, apply: (images) => vit(shape, params, images) };
}

/**
 * The cls token and all patch tokens after the final norm, one after another, of images of a size: x_norm_clstoken and
 * x_norm_patchtokens of the official code of DINOv2.
 */
export function tokensDescriptor({ vit: shape, params }: Backbone, crop: Size): Descriptor {
  const { rows, cols } = patchGrid(shape, crop.rows, crop.cols);
  const dim = (1 + rows * cols) * shape.dim;
  return { dim, apply: (images) => reshape(encode(shape, params, images), [images.shape[0]!, dim]) };
}

/** Options of `blocksDescriptor`. */
export interface BlocksOptions {
  /** Number of last blocks whose cls tokens are used, each after the final norm. */
  readonly lastBlocks: number;
  /** Appends the mean patch token of the last block. */
  readonly meanPatch: boolean;
}

/**
 * Concatenates the cls tokens of the last blocks, the earliest first and the mean patch token last. With one block, the
 * elements of its cls and mean patch token alternate, as in eval_linear.py. Throws for more blocks than the network
 * has.
 */
export function blocksDescriptor(
  { vit: shape, params }: Backbone,
  { lastBlocks, meanPatch }: BlocksOptions,
): Descriptor {
  const { dim, depth } = shape;
  if (lastBlocks < 1 || lastBlocks > depth) {
    throw new Error(`features: expected 1 to ${depth} last blocks, the depth of the network, got ${lastBlocks}`);
  }
  return {
    dim: dim * (lastBlocks + (meanPatch ? 1 : 0)),
    apply: (images) => {
      const blocks = intermediateLayers(shape, params, images, lastBlocks); // each [batch, 1 + patches, dim]
      const tokens = blocks.map(clsOf);
      if (!meanPatch) return concat(tokens, 1);
      const mean = meanPatchOf(blocks.at(-1)!); // [batch, dim]
      if (lastBlocks > 1) return concat([...tokens, mean], 1);
      const batch = mean.shape[0]!;
      const pairs = [tokens[0]!, mean].map((token) => reshape(token, [batch, dim, 1]));
      return reshape(concat(pairs, 2), [batch, 2 * dim]);
    },
  };
}

/** Averages the patch tokens: [batch, 1 + patches, dim] -> [batch, dim]. */
function meanPatchOf(tokens: Tensor): Tensor {
  const [batch, count, dim] = tokens.shape as readonly [number, number, number];
  const shares = Float32Array.from({ length: batch * count }, (_, i) => (i % count === 0 ? 0 : 1 / (count - 1)));
  const weights = constant([batch, 1, count], shares, { label: "shares of the mean patch" });
  return reshape(matmul(weights, tokens), [batch, dim]);
}
