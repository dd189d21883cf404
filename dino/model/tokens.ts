import {
  add,
  cast,
  concat,
  differentiable,
  fill,
  linear,
  patches,
  repeat,
  replaceRows,
  reshape,
  slice,
  stopGradient,
  type Tensor,
} from "../../engine/index.js";
import { learnedPositions, positionEmbedding } from "./positions.js";
import type { Lookup, VitConfig } from "./vit-config.js";

/** Returns the official name of the registers: DINOv3, with its rotary positions, calls them storage tokens. */
export function registersName({ positions = learnedPositions }: VitConfig): "register_tokens" | "storage_tokens" {
  return positions.kind === "learned" ? "register_tokens" : "storage_tokens";
}

/**
 * Embeds patches, replaces masked ones by the mask token, prepends the CLS token, adds learned positions, and inserts
 * registers, which have no position, between the two (Darcet et al. 2023, https://arxiv.org/abs/2309.16588): images,
 * mask [batch, patches], 1 where masked -> [batch, 1 + registers + patches, dim]. Throws for a mask without a mask token.
 */
export function prepareTokens(config: VitConfig, params: Lookup, images: Tensor, mask?: Tensor): Tensor {
  const [batch, , rows, cols] = images.shape as readonly [number, number, number, number];
  const { dim, registers = 0, positions = learnedPositions } = config;
  if (mask && !config.maskToken) throw new Error("vit: a mask needs a mask token");
  const embedded = maskPatches(config, params, embedPatches(config, params, images), mask); // [batch, patches, dim]
  const cls = repeat(reshape(params("cls_token"), [1, dim]), [batch, 1, dim]);
  const learnt = () => repeat(reshape(params(registersName(config)), [registers, dim]), [batch, registers, dim]);
  if (positions.kind === "rotary") return concat([cls, ...(registers > 0 ? [learnt()] : []), embedded], 1);
  const embedding = positionEmbedding(config, params("pos_embed"), rows, cols); // [1 + patches, dim]
  if (registers === 0) return add(concat([cls, embedded], 1), embedding);
  const tokens = [cls, learnt(), embedded];
  const noPosition = fill([registers, dim], 0);
  const [clsPosition, patchPositions] = [slice(embedding, 0, 0, 1), slice(embedding, 0, 1, embedding.shape[0]! - 1)];
  return add(concat(tokens, 1), concat([clsPosition, noPosition, patchPositions], 0));
}

/** Projects patches to tokens: images [batch, channels, rows, cols] -> [batch, patches, dim]. */
function embedPatches(config: VitConfig, params: Lookup, images: Tensor): Tensor {
  const { dim, channels, patch, precision = "f32" } = config;
  const weight = reshape(params("patch_embed.proj.weight"), [dim, channels * patch * patch]);
  const cut = cast(patches(images, patch), precision); // [batch, patches, channels * patch * patch]
  return cast(linear(cut, weight, params("patch_embed.proj.bias")), "f32");
}

function maskPatches({ dim, maskToken }: VitConfig, params: Lookup, embedded: Tensor, mask?: Tensor): Tensor {
  if (maskToken === undefined) return embedded;
  const token = reshape(params("mask_token"), [dim]);
  if (mask) return replaceRows(embedded, mask, token);
  if (maskToken === "optional") return embedded;
  return differentiable(stopGradient(embedded), [embedded, token], (dy) => [dy, fill([dim], 0)]);
}

/** The CLS token of each sequence: [batch, tokens, dim] -> [batch, dim]. */
export function clsOf(tokens: Tensor): Tensor {
  const [batch, , dim] = tokens.shape as readonly [number, number, number];
  return reshape(slice(tokens, 1, 0, 1), [batch, dim]);
}

/** Removes the registers: [batch, 1 + registers + patches, dim] -> [batch, 1 + patches, dim]. */
export function withoutRegisters({ registers = 0 }: VitConfig, tokens: Tensor): Tensor {
  if (registers === 0) return tokens;
  const first = 1 + registers;
  return concat([slice(tokens, 1, 0, 1), slice(tokens, 1, first, tokens.shape[1]! - first)], 1);
}
