import { attentionProbabilities, concat, recompute, slice, type Tensor } from "../../engine/index.js";
import {
  block,
  blockTables,
  branchDrops,
  type DropSources,
  joined,
  norm,
  queriesKeysValues,
  type Stream,
} from "./block.js";
import { clsOf, prepareTokens, withoutRegisters } from "./tokens.js";
import { type Lookup, scope, type VitConfig } from "./vit-config.js";

/** Options of the blocks in training. */
export interface BlockOptions extends DropSources {
  /** Keeps only the input of each block, and recomputes the rest for the gradients. */
  readonly recompute?: boolean;
  /** [batch, patches] f32, 1 for patches that the mask token replaces; default: none. */
  readonly mask?: Tensor;
  /** Whether the images are local crops, whose CLS token and registers may have a final norm of their own. */
  readonly localCrops?: boolean;
}

/** CLS features: images [batch, channels, rows, cols], rows and cols of any size -> [batch, dim]. */
export function vit(config: VitConfig, params: Lookup, images: Tensor, options?: BlockOptions): Tensor {
  return clsOf(encodeAll(config, params, images, options).tokens);
}

/** CLS and patch tokens after the final norm: images [batch, channels, rows, cols] -> [batch, 1 + patches, dim]. */
export function encode(config: VitConfig, params: Lookup, images: Tensor, options?: BlockOptions): Tensor {
  return withoutRegisters(config, encodeAll(config, params, images, options).tokens);
}

/** Tokens by their kind; those that a recording does not use are not computed. */
export interface Features {
  /** [batch, dim]. */
  readonly cls: Tensor;
  /** [batch, registers, dim]; undefined without registers. */
  readonly registers: Tensor | undefined;
  /** [batch, patches, dim]. */
  readonly patches: Tensor;
  /** All tokens before the final norm: [batch, 1 + registers + patches, dim]. */
  readonly stream: Tensor;
}

/** Returns the tokens of images [batch, channels, rows, cols] after the final norm, by their kind. */
export function features(config: VitConfig, params: Lookup, images: Tensor, options?: BlockOptions): Features {
  const { registers = 0 } = config;
  const { stream, tokens } = encodeAll(config, params, images, options);
  const first = 1 + registers;
  return {
    cls: clsOf(tokens),
    registers: registers > 0 ? slice(tokens, 1, 1, registers) : undefined,
    patches: slice(tokens, 1, first, tokens.shape[1]! - first),
    stream,
  };
}

/** All tokens before and after the final norm: images -> [batch, 1 + registers + patches, dim]. */
function encodeAll(config: VitConfig, params: Lookup, images: Tensor, options: BlockOptions = {}) {
  const tables = tablesFor(config, images);
  let stream: Stream = { x: prepareTokens(config, params, images, options.mask) };
  for (let i = 0; i < config.depth; i++) {
    const [before, drops] = [stream, branchDrops(config, i, images.shape[0]!, options)];
    const run = () => block(config, scope(params, `blocks.${i}.`), before, tables, drops);
    stream = options.recompute ? { x: recompute(() => joined(run())) } : run();
  }
  const x = joined(stream);
  return { stream: x, tokens: finalNorm(config, params, x, options) };
}

/** The final norm of all tokens, that of the CLS token and the registers by itself where it has its own parameters. */
export function finalNorm(
  config: VitConfig,
  params: Lookup,
  x: Tensor,
  { localCrops = false }: BlockOptions = {},
): Tensor {
  const { untiedNorms = {}, registers = 0 } = config;
  const untied = localCrops && untiedNorms.localCls ? "local_cls_norm." : untiedNorms.cls ? "cls_norm." : undefined;
  const shared = (tokens: Tensor) => norm(config, scope(params, "norm."), tokens);
  if (untied === undefined) return shared(x);
  const first = 1 + registers;
  const learnt = norm(config, scope(params, untied), slice(x, 1, 0, first)); // [batch, 1 + registers, dim]
  return concat([learnt, shared(slice(x, 1, first, x.shape[1]! - first))], 1);
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
  const tables = tablesFor(config, images);
  let stream: Stream = { x: prepareTokens(config, params, images) };
  for (let i = 0; i < config.depth - 1; i++) stream = block(config, scope(params, `blocks.${i}.`), stream, tables);
  const last = scope(params, `blocks.${config.depth - 1}.`);
  const x = joined(stream);
  const y = norm(config, scope(last, "norm1."), x);
  return {
    tokens: withoutRegisters(config, finalNorm(config, params, joined(block(config, last, { x }, tables)))),
    attention: (queries) => attentionProbabilities(queriesKeysValues(config, last, y, tables), config.heads, queries),
  };
}

/** Returns the attention of the last block; see `Observation`. */
export function lastAttention(config: VitConfig, params: Lookup, images: Tensor, queries?: number): Tensor {
  return observe(config, params, images).attention(queries);
}

/** Blocks, as a number of last ones, or by their indices from 0 on. */
export type Layers = number | readonly number[];

/**
 * Returns the outputs of blocks, each after the final norm, the earliest first: images -> for each [batch, 1 + patches, dim].
 * Throws for an index without a block.
 */
export function intermediateLayers(config: VitConfig, params: Lookup, images: Tensor, layers: Layers): Tensor[] {
  return Array.from(blockOutputs(config, params, images, layers), (x) =>
    withoutRegisters(config, finalNorm(config, params, x)),
  );
}

/**
 * Yields the outputs of blocks before the final norm, the earliest first: images -> for each [batch, 1 + registers + patches,
 * dim]. Throws for an index without a block.
 */
export function* blockOutputs(config: VitConfig, params: Lookup, images: Tensor, layers: Layers): Generator<Tensor> {
  const { depth } = config;
  const wanted = typeof layers === "number" ? Array.from({ length: layers }, (_, i) => depth - 1 - i) : layers;
  const unknown = typeof layers === "number" ? undefined : layers.find((i) => !(i >= 0 && i < depth));
  if (unknown !== undefined) throw new Error(`vit: block ${unknown} is none of 0 to ${depth - 1}`);
  const tables = tablesFor(config, images);
  let stream: Stream = { x: prepareTokens(config, params, images) };
  for (let i = 0; i < depth; i++) {
    stream = block(config, scope(params, `blocks.${i}.`), stream, tables);
    if (!wanted.includes(i)) continue;
    stream = { x: joined(stream) };
    yield stream.x;
  }
}

function tablesFor(config: VitConfig, { shape }: Tensor) {
  const [, , rows, cols] = shape as readonly [number, number, number, number];
  return blockTables(config, rows, cols);
}
