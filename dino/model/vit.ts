import {
  attentionProbabilities,
  concat,
  firstTokens,
  fitOneTensor,
  recompute,
  reshape,
  slice,
  takeSamples,
  type Tensor,
} from "../../engine/index.js";
import {
  block,
  branchDrops,
  type DropSources,
  type Group,
  joined,
  norm,
  queriesKeysValues,
  type Stream,
} from "./block.js";
import { rotationOf } from "./positions.js";
import { clsOf, prepareTokens, withoutRegisters } from "./tokens.js";
import { type Lookup, scope, type VitConfig } from "./vit-config.js";

/** What is particular to a group of images. */
export interface GroupOptions {
  /** [batch, patches] f32, 1 for patches that the mask token replaces; default: none. */
  readonly mask?: Tensor;
  /** Whether the images are local crops, whose CLS token and registers may have a final norm of their own. */
  readonly localCrops?: boolean;
}

/** Images of one size, [batch, channels, rows, cols]. */
export interface ImageGroup extends GroupOptions {
  readonly images: Tensor;
}

/** Options of the blocks in training. */
export interface BlockOptions extends DropSources {
  /** Keeps only the input of each block, and recomputes the rest for the gradients. */
  readonly recompute?: boolean;
}

/** CLS features: images [batch, channels, rows, cols], rows and cols of any size -> [batch, dim]. */
export function vit(
  config: VitConfig,
  params: Lookup,
  images: Tensor,
  options: BlockOptions & GroupOptions = {},
): Tensor {
  return vitOfGroups(config, params, [{ images, ...options }], options);
}

/**
 * CLS features of groups of images -> [batch of all groups, dim], in order. Layers that work on each token by itself run once on
 * the tokens of all groups, where kernels can bind each group.
 */
export function vitOfGroups(
  config: VitConfig,
  params: Lookup,
  groups: readonly ImageGroup[],
  options?: BlockOptions,
): Tensor {
  return clsOfStreams(config, params, streamsOf(config, params, groups, options));
}

/** Tokens of the first group of images that are wanted besides the CLS tokens. */
export interface WantedTokens {
  /** A permutation of the tokens [batch * tokens] u32, the wanted ones first. */
  readonly order: Tensor;
  /** Number of wanted tokens, or more. */
  readonly count: number;
}

/** CLS features as of `vitOfGroups`, and the first `count` patch tokens in an order, after the final norm: [count, dim]. */
export function clsAndPatches(
  config: VitConfig,
  params: Lookup,
  groups: readonly ImageGroup[],
  { order, count }: WantedTokens,
  options?: BlockOptions,
): { readonly cls: Tensor; readonly patches: Tensor } {
  const streams = streamsOf(config, params, groups, options);
  const [first] = streams as readonly [Ran];
  const [{ batch, tokens }] = first.groups as readonly [EmbeddedGroup];
  const wanted = takeSamples(slice(joined(first), 0, 0, batch * tokens), order, count);
  return { cls: clsOfStreams(config, params, streams), patches: norm(config, scope(params, "norm."), wanted) };
}

/** Runs all blocks on all groups together, or on one group after another. */
function streamsOf(
  config: VitConfig,
  params: Lookup,
  groups: readonly ImageGroup[],
  options?: BlockOptions,
): readonly Ran[] {
  const embedded = groups.map((group) => embed(config, params, group, options));
  const fitOne = !options?.order && fitOneTensor(embedded, config.dim, config.precision ?? "f32");
  const together = fitOne ? [embedded] : embedded.map((group) => [group]);
  return together.map((each) => ({ ...runBlocks(config, params, streamOf(each), options), groups: each }));
}

/** CLS features of all groups of some streams, in order: -> [batch of all groups, dim]. */
function clsOfStreams(config: VitConfig, params: Lookup, streams: readonly Ran[]): Tensor {
  const cls = streams.map((stream) => clsFeatures(config, params, stream));
  return cls.length === 1 ? cls[0]! : concat(cls, 0);
}

/** A group of images as the blocks take it. */
interface EmbeddedGroup extends Group {
  /** Tokens [batch, tokens, dim]. */
  readonly embedded: Tensor;
  readonly localCrops: boolean;
}

/** Embeds a group of images, and draws how blocks drop. */
function embed(
  config: VitConfig,
  params: Lookup,
  { images, mask, localCrops = false }: ImageGroup,
  sources: DropSources = {},
): EmbeddedGroup {
  const embedded = prepareTokens(config, params, images, mask);
  const [batch, tokens] = embedded.shape as readonly [number, number, number];
  const [, , rows, cols] = images.shape as readonly [number, number, number, number];
  const drops = Array.from({ length: config.depth }, (_, i) => branchDrops(config, i, batch, sources));
  return { batch, tokens, embedded, drops, localCrops, rotation: rotationOf(config, rows, cols) };
}

/** A stream after all blocks. */
interface Ran extends Stream {
  readonly groups: readonly EmbeddedGroup[];
}

function streamOf(groups: readonly EmbeddedGroup[]): Stream {
  const rows = groups.map(({ embedded, batch, tokens }) => reshape(embedded, [batch * tokens, embedded.shape[2]!]));
  return { x: rows.length === 1 ? rows[0]! : concat(rows, 0), groups };
}

/** Returns rows of the only group of a stream as sequences: [rows, width] -> [batch, tokens, width]. */
function unpacked({ groups: [group] }: Stream, rows: Tensor): Tensor {
  return reshape(rows, [group!.batch, group!.tokens, rows.shape[1]!]);
}

function runBlocks(config: VitConfig, params: Lookup, first: Stream, { recompute: again = false }: BlockOptions = {}) {
  let stream = first;
  for (let i = 0; i < config.depth; i++) {
    const before = stream;
    const run = () => block(config, params, before, i);
    stream = again ? { x: recompute(() => joined(run())), groups: before.groups } : run();
  }
  return stream;
}

/** Normalises the CLS tokens of a stream: -> [sequences, dim]. */
function clsFeatures(config: VitConfig, params: Lookup, { x, branch, groups }: Ran): Tensor {
  const cls = joined({ x: firstTokens(x, groups), branch: branch && firstTokens(branch, groups) });
  const names = groups.map(({ localCrops }) => clsNorm(config, localCrops));
  if (new Set(names).size === 1) return norm(config, scope(params, names[0]!), cls);
  let first = 0;
  const parts = groups.map(({ batch }, i) => {
    const part = norm(config, scope(params, names[i]!), slice(cls, 0, first, batch));
    first += batch;
    return part;
  });
  return concat(parts, 0);
}

/** Returns the prefix of the final norm of CLS tokens and registers. */
function clsNorm({ untiedNorms = {} }: VitConfig, localCrops: boolean): "norm." | "cls_norm." | "local_cls_norm." {
  if (localCrops && untiedNorms.localCls) return "local_cls_norm.";
  return untiedNorms.cls ? "cls_norm." : "norm.";
}

/** CLS and patch tokens after the final norm: images [batch, channels, rows, cols] -> [batch, 1 + patches, dim]. */
export function encode(config: VitConfig, params: Lookup, images: Tensor, options?: BlockOptions): Tensor {
  return withoutRegisters(config, encodeAll(config, params, { images }, options).tokens);
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
export function features(
  config: VitConfig,
  params: Lookup,
  images: Tensor,
  options: BlockOptions & GroupOptions = {},
): Features {
  const { registers = 0 } = config;
  const { stream, tokens } = encodeAll(config, params, { images, ...options }, options);
  const first = 1 + registers;
  return {
    cls: clsOf(tokens),
    registers: registers > 0 ? slice(tokens, 1, 1, registers) : undefined,
    patches: slice(tokens, 1, first, tokens.shape[1]! - first),
    stream,
  };
}

/** All tokens before and after the final norm: images -> [batch, 1 + registers + patches, dim]. */
function encodeAll(config: VitConfig, params: Lookup, group: ImageGroup, options?: BlockOptions) {
  const last = runBlocks(config, params, streamOf([embed(config, params, group, options)]), options);
  const stream = unpacked(last, joined(last));
  return { stream, tokens: finalNorm(config, params, stream, group) };
}

/** The final norm of all tokens [batch, tokens, dim], that of the CLS token and the registers by itself where it has its own. */
export function finalNorm(
  config: VitConfig,
  params: Lookup,
  x: Tensor,
  { localCrops = false }: GroupOptions = {},
): Tensor {
  const { registers = 0 } = config;
  const untied = clsNorm(config, localCrops);
  const shared = (tokens: Tensor) => norm(config, scope(params, "norm."), tokens);
  if (untied === "norm.") return shared(x);
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
  /** Queries, then keys, of the last block's attention: [batch, 1 + registers + patches, 2 * dim]. */
  readonly queriesAndKeys: () => Tensor;
}

/** Encodes images and exposes the attention of the last block. */
export function observe(config: VitConfig, params: Lookup, images: Tensor): Observation {
  const last = config.depth - 1;
  let stream = streamOf([embed(config, params, { images })]);
  for (let i = 0; i < last; i++) stream = block(config, params, stream, i);
  const before: Stream = { x: joined(stream), groups: stream.groups };
  const own = scope(params, `blocks.${last}.`);
  const y = norm(config, scope(own, "norm1."), before.x);
  const qkv = () => unpacked(before, queriesKeysValues(config, own, y, before.groups));
  const after = unpacked(before, joined(block(config, params, before, last)));
  return {
    tokens: withoutRegisters(config, finalNorm(config, params, after)),
    attention: (queries) => attentionProbabilities(qkv(), config.heads, queries),
    queriesAndKeys: () => slice(qkv(), 2, 0, 2 * config.dim),
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
  let stream = streamOf([embed(config, params, { images })]);
  for (let i = 0; i < depth; i++) {
    stream = block(config, params, stream, i);
    if (!wanted.includes(i)) continue;
    stream = { x: joined(stream), groups: stream.groups };
    yield unpacked(stream, stream.x);
  }
}
