import { add, cast, concat, fill, linear, patches, repeat, reshape, slice, type Tensor } from "../../engine/index.js";
import { positionEmbedding } from "./positions.js";
import type { Lookup, VitConfig } from "./vit-config.js";

/**
 * Embeds patches, prepends the CLS token, adds positions, and inserts registers, which have no position, between the
 * two (Darcet et al. 2023, https://arxiv.org/abs/2309.16588): images -> [batch, 1 + registers + patches, dim].
 */
export function prepareTokens(config: VitConfig, params: Lookup, images: Tensor): Tensor {
  const [batch, , rows, cols] = images.shape as readonly [number, number, number, number];
  const { dim, channels, patch, registers = 0, precision = "f32" } = config;
  const weight = reshape(params("patch_embed.proj.weight"), [dim, channels * patch * patch]);
  const cut = cast(patches(images, patch), precision); // [batch, patches, channels * patch * patch]
  const embedded = cast(linear(cut, weight, params("patch_embed.proj.bias")), "f32"); // [batch, patches, dim]
  const cls = repeat(reshape(params("cls_token"), [1, dim]), [batch, 1, dim]);
  const positions = positionEmbedding(config, params("pos_embed"), rows, cols); // [1 + patches, dim]
  if (registers === 0) return add(concat([cls, embedded], 1), positions);
  const learnt = repeat(reshape(params("register_tokens"), [registers, dim]), [batch, registers, dim]);
  const noPosition = fill([registers, dim], 0);
  const [clsPosition, patchPositions] = [slice(positions, 0, 0, 1), slice(positions, 0, 1, positions.shape[0]! - 1)];
  return add(concat([cls, learnt, embedded], 1), concat([clsPosition, noPosition, patchPositions], 0));
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
