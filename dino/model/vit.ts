import { attentionProbabilities, linear, recompute, type Tensor } from "../../engine/index.js";
import { block, branchDrops, type DropSource, joined, norm, type Stream } from "./block.js";
import { clsOf, prepareTokens, withoutRegisters } from "./tokens.js";
import { type Lookup, scope, type VitConfig } from "./vit-config.js";

/** Options of the blocks in training. */
export interface BlockOptions {
  readonly drop?: DropSource;
  /** Keeps only the input of each block, and recomputes the rest for the gradients. */
  readonly recompute?: boolean;
}

/** CLS features: images [batch, channels, rows, cols], rows and cols of any size -> [batch, dim]. */
export function vit(config: VitConfig, params: Lookup, images: Tensor, options?: BlockOptions): Tensor {
  return clsOf(encodeAll(config, params, images, options));
}

/** CLS and patch tokens after the final norm: images [batch, channels, rows, cols] -> [batch, 1 + patches, dim]. */
export function encode(config: VitConfig, params: Lookup, images: Tensor, options?: BlockOptions): Tensor {
  return withoutRegisters(config, encodeAll(config, params, images, options));
}

/** All tokens after the final norm: images -> [batch, 1 + registers + patches, dim]. */
function encodeAll(config: VitConfig, params: Lookup, images: Tensor, options: BlockOptions = {}): Tensor {
  let stream: Stream = { x: prepareTokens(config, params, images) };
  for (let i = 0; i < config.depth; i++) {
    const [before, branches] = [stream, branchDrops(config, i, images.shape[0]!, options.drop)];
    const run = () => block(config, scope(params, `blocks.${i}.`), before, branches);
    stream = options.recompute ? { x: recompute(() => joined(run())) } : run();
  }
  return norm(scope(params, "norm."), joined(stream));
}

/** Tokens and attention of images; tensors that a recording does not return are not computed. */
export interface Observation {
  /** Tokens as `encode` returns them: [batch, 1 + patches, dim]. */
  readonly tokens: Tensor;
  /**
   * Attention of the last block for the first `queries` tokens, of which the CLS token is the first; default: all
   * tokens. [batch, heads, queries, 1 + registers + patches]; rows sum to one, including the share of registers.
   */
  readonly attention: (queries?: number) => Tensor;
}

/** Encodes images and exposes the attention of the last block. */
export function observe(config: VitConfig, params: Lookup, images: Tensor): Observation {
  let stream: Stream = { x: prepareTokens(config, params, images) };
  for (let i = 0; i < config.depth - 1; i++) stream = block(config, scope(params, `blocks.${i}.`), stream);
  const last = scope(params, `blocks.${config.depth - 1}.`);
  const x = joined(stream);
  const y = norm(scope(last, "norm1."), x);
  return {
    tokens: withoutRegisters(config, norm(scope(params, "norm."), joined(block(config, last, { x })))),
    attention: (queries) =>
      attentionProbabilities(linear(y, last("attn.qkv.weight"), last("attn.qkv.bias")), config.heads, queries),
  };
}

/** Returns the attention of the last block; see `Observation`. */
export function lastAttention(config: VitConfig, params: Lookup, images: Tensor, queries?: number): Tensor {
  return observe(config, params, images).attention(queries);
}

/**
 * Returns the outputs of the last `n` blocks, each after the final norm, the earliest first: images -> n times [batch,
 * 1 + patches, dim].
 */
export function intermediateLayers(config: VitConfig, params: Lookup, images: Tensor, n: number): Tensor[] {
  let stream: Stream = { x: prepareTokens(config, params, images) };
  const outputs: Tensor[] = [];
  for (let i = 0; i < config.depth; i++) {
    stream = block(config, scope(params, `blocks.${i}.`), stream);
    if (i < config.depth - n) continue;
    stream = { x: joined(stream) };
    outputs.push(withoutRegisters(config, norm(scope(params, "norm."), stream.x)));
  }
  return outputs;
}
