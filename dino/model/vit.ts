import {
  add,
  addLayernorm,
  attention,
  attentionProbabilities,
  cast,
  concat,
  dropPath,
  fill,
  firstTokens,
  fitOneTensor,
  gelu,
  layernorm,
  linear,
  type ParamSpec,
  patches,
  type Precision,
  recompute,
  repeat,
  reshape,
  resizeGrid,
  type Sequences,
  type Shape,
  slice,
  type Tensor,
} from "../../engine/index.js";
import type { Rng } from "../math/random.js";

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

/** Uniform numbers [batch] for one use of drop path, drawn anew in every run; without it, nothing is dropped. */
export type DropSource = (batch: number) => Tensor;

/** Options of the blocks in training. */
export interface BlockOptions {
  readonly drop?: DropSource;
  /** Keeps only the input of each block, and recomputes the rest for the gradients. */
  readonly recompute?: boolean;
}

/** Lists the parameters under their official names, in the official order. */
export function vitSpecs(config: VitConfig): ParamSpec[] {
  const { dim, patch, channels, registers = 0 } = config;
  const { rows, cols } = patchGrid(config, config.imageRows, config.imageCols);
  const hidden = Math.round(dim * config.mlpRatio);
  const param = (name: string, ...shape: number[]): ParamSpec => ({ name, shape, trainable: !isFrozen(config, name) });
  const normSpecs = (name: string) => [param(`${name}.weight`, dim), param(`${name}.bias`, dim)];
  const layer = (name: string, out: number, into: number) => [
    param(`${name}.weight`, out, into),
    param(`${name}.bias`, out),
  ];
  return [
    param("cls_token", 1, 1, dim),
    param("pos_embed", 1, 1 + rows * cols, dim),
    ...(registers > 0 ? [param("register_tokens", 1, registers, dim)] : []), // its name and place in DINOv2
    param("patch_embed.proj.weight", dim, channels, patch, patch),
    param("patch_embed.proj.bias", dim),
    ...Array.from({ length: config.depth }, (_, i) => [
      ...normSpecs(`blocks.${i}.norm1`),
      ...layer(`blocks.${i}.attn.qkv`, 3 * dim, dim),
      ...layer(`blocks.${i}.attn.proj`, dim, dim),
      ...normSpecs(`blocks.${i}.norm2`),
      ...layer(`blocks.${i}.mlp.fc1`, hidden, dim),
      ...layer(`blocks.${i}.mlp.fc2`, dim, hidden),
    ]).flat(),
    ...normSpecs("norm"),
  ];
}

function isFrozen({ frozenBlocks = 0 }: VitConfig, name: string): boolean {
  if (frozenBlocks === 0 || name.startsWith("norm.")) return false;
  const [, number] = /^blocks\.(\d+)\./.exec(name) ?? [];
  return number === undefined || Number(number) < frozenBlocks;
}

/**
 * Returns the initial value of one backbone parameter: truncated normal of `std` for the weights of linear layers and
 * of 0.02 for the CLS token and positions (0.02 for all in the official code), normal of 1e-6 for registers (as in
 * DINOv2), 0 for biases, 1 for LayerNorm gains; the patch projection keeps PyTorch's uniform default of convolutions,
 * +-1 / sqrt(fan-in).
 */
export function initVitParam(config: VitConfig, name: string, shape: Shape, std: number, rng: Rng): Float32Array {
  const size = shape.reduce((product, axis) => product * axis, 1);
  if (name.startsWith("patch_embed.")) {
    const bound = 1 / Math.sqrt(config.channels * config.patch ** 2);
    return Float32Array.from({ length: size }, () => rng.uniformIn(-bound, bound));
  }
  if (/(^|\.)norm\d?\.weight$/.test(name)) return new Float32Array(size).fill(1);
  if (name.endsWith(".bias")) return new Float32Array(size);
  if (name === "register_tokens") return truncatedNormal(size, 1e-6, rng);
  const isToken = name === "cls_token" || name === "pos_embed";
  return truncatedNormal(size, isToken ? 0.02 : std, rng);
}

/**
 * Draws from a normal distribution of mean 0, redrawn outside [-2, 2] as in the official trunc_normal_ (absolute
 * bounds, not multiples of std).
 */
export function truncatedNormal(size: number, std: number, rng: Rng): Float32Array {
  const draw = (): number => {
    const value = std * rng.normal();
    return Math.abs(value) <= 2 ? value : draw();
  };
  return Float32Array.from({ length: size }, draw);
}

/** Returns the number of whole patches of an image. Throws if it holds none. */
export function patchGrid(
  config: VitConfig,
  imageRows: number,
  imageCols: number,
): { readonly rows: number; readonly cols: number } {
  const rows = Math.floor(imageRows / config.patch);
  const cols = Math.floor(imageCols / config.patch);
  if (rows < 1 || cols < 1)
    throw new Error(`vit: an image of ${imageRows} x ${imageCols} holds no whole patch of ${config.patch}`);
  return { rows, cols };
}

/** CLS features: images [batch, channels, rows, cols], rows and cols of any size -> [batch, dim]. */
export function vit(config: VitConfig, params: Lookup, images: Tensor, options?: BlockOptions): Tensor {
  return vitOfGroups(config, params, [images], options);
}

/**
 * CLS features of groups of images, each [batch, channels, rows, cols] of one size -> [batch of all groups, dim], in order. Layers
 * that work on each token by itself run once on the tokens of all groups.
 */
export function vitOfGroups(
  config: VitConfig,
  params: Lookup,
  groups: readonly Tensor[],
  options?: BlockOptions,
): Tensor {
  const embedded = groups.map((images) => embed(config, params, images, options));
  if (fitOneTensor(embedded, config.dim, config.precision ?? "f32"))
    return clsFeatures(config, params, embedded, options);
  return concat(
    embedded.map((group) => clsFeatures(config, params, [group], options)),
    0,
  );
}

/** Runs all blocks on groups of sequences together, and normalises their CLS tokens: -> [sequences, dim]. */
function clsFeatures(
  config: VitConfig,
  params: Lookup,
  groups: readonly Group[],
  options: BlockOptions | undefined,
): Tensor {
  const { x, branch } = runBlocks(config, params, streamOf(groups), options);
  const cls = { x: firstTokens(x, groups), branch: branch && firstTokens(branch, groups) };
  return norm(scope(params, "norm."), joined(cls));
}

/** CLS and patch tokens after the final norm: images [batch, channels, rows, cols] -> [batch, 1 + patches, dim]. */
export function encode(config: VitConfig, params: Lookup, images: Tensor, options?: BlockOptions): Tensor {
  const stream = runBlocks(config, params, streamOf([embed(config, params, images, options)]), options);
  return withoutRegisters(config, unpacked(stream, norm(scope(params, "norm."), joined(stream))));
}

function runBlocks(config: VitConfig, params: Lookup, first: Stream, options: BlockOptions = {}): Stream {
  let stream = first;
  for (let i = 0; i < config.depth; i++) {
    const before = stream;
    const run = () => block(config, params, before, i);
    stream = options.recompute ? { ...before, x: recompute(() => joined(run())), branch: undefined } : run();
  }
  return stream;
}

/** The CLS token of each sequence: [batch, tokens, dim] -> [batch, dim]. */
export function clsOf(tokens: Tensor): Tensor {
  const [batch, , dim] = tokens.shape as readonly [number, number, number];
  return reshape(slice(tokens, 1, 0, 1), [batch, dim]);
}

/** Removes the registers: [batch, 1 + registers + patches, dim] -> [batch, 1 + patches, dim]. */
function withoutRegisters({ registers = 0 }: VitConfig, tokens: Tensor): Tensor {
  if (registers === 0) return tokens;
  const first = 1 + registers;
  return concat([slice(tokens, 1, 0, 1), slice(tokens, 1, first, tokens.shape[1]! - first)], 1);
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
  let stream = streamOf([embed(config, params, images)]);
  for (let i = 0; i < config.depth - 1; i++) stream = block(config, params, stream, i);
  const last = scope(params, `blocks.${config.depth - 1}.`);
  const before: Stream = { x: joined(stream), groups: stream.groups };
  const y = norm(scope(last, "norm1."), before.x);
  const qkv = () => unpacked(before, linear(y, last("attn.qkv.weight"), last("attn.qkv.bias")));
  const after = norm(scope(params, "norm."), joined(block(config, params, before, config.depth - 1)));
  return {
    tokens: withoutRegisters(config, unpacked(before, after)),
    attention: (queries) => attentionProbabilities(qkv(), config.heads, queries),
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
  let stream = streamOf([embed(config, params, images)]);
  const outputs: Tensor[] = [];
  for (let i = 0; i < config.depth; i++) {
    stream = block(config, params, stream, i);
    if (i < config.depth - n) continue;
    stream = { x: joined(stream), groups: stream.groups };
    outputs.push(withoutRegisters(config, unpacked(stream, norm(scope(params, "norm."), stream.x))));
  }
  return outputs;
}

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

/**
 * Returns the position embedding of an image of rows x cols pixels: [1, 1 + base patches, dim] -> [1 + patches, dim].
 * Other grids than the one of the embedding are resampled bicubically with the official scale (grid + 0.1) / base. The
 * official code skips this only for square images of the same patch count; this code also skips it for the training
 * size.
 */
export function positionEmbedding(config: VitConfig, embedding: Tensor, imageRows: number, imageCols: number): Tensor {
  const [, tokens, dim] = embedding.shape as readonly [number, number, number];
  const flat = reshape(embedding, [tokens, dim]);
  const base = patchGrid(config, config.imageRows, config.imageCols);
  const wanted = patchGrid(config, imageRows, imageCols);
  const sameGrid = wanted.rows === base.rows && wanted.cols === base.cols;
  const trainingSize = imageRows === config.imageRows && imageCols === config.imageCols;
  if (sameGrid && (imageRows === imageCols || trainingSize)) return flat;
  const scale = { rows: (wanted.rows + 0.1) / base.rows, cols: (wanted.cols + 0.1) / base.cols };
  const resized = resizeGrid(slice(flat, 0, 1, tokens - 1), base, wanted, scale);
  return concat([slice(flat, 0, 0, 1), resized], 0);
}

/** Sequences of one length, their tokens, and what drop path draws for them. */
interface Group extends Sequences {
  /** [batch, tokens, dim]. */
  readonly embedded: Tensor;
  /** Uniform numbers [batch] for the two branches of each block; undefined where nothing is dropped. */
  readonly drops: readonly (Readonly<Record<Branch, Tensor>> | undefined)[];
}

type Branch = "attention" | "mlp";

/** Embeds images, and draws the numbers of drop path once, so that recomputed blocks drop the same. */
function embed(config: VitConfig, params: Lookup, images: Tensor, { drop }: BlockOptions = {}): Group {
  const embedded = prepareTokens(config, params, images);
  const [batch, tokens] = embedded.shape as readonly [number, number, number];
  const drops = Array.from({ length: config.depth }, (_, i) =>
    drop && dropRate(config, i) > 0 ? { attention: drop(batch), mlp: drop(batch) } : undefined,
  );
  return { batch, tokens, embedded, drops };
}

/** The residual stream, the tokens of all groups [rows, dim], and a branch that is not added to it yet. */
interface Stream {
  readonly x: Tensor;
  readonly branch?: Tensor | undefined;
  readonly groups: readonly Group[];
}

function streamOf(groups: readonly Group[]): Stream {
  const rows = groups.map(({ embedded, batch, tokens }) => reshape(embedded, [batch * tokens, embedded.shape[2]!]));
  return { x: rows.length === 1 ? rows[0]! : concat(rows, 0), groups };
}

/** Returns rows of the only group of a stream as sequences: [rows, width] -> [batch, tokens, width]. */
function unpacked({ groups: [group] }: Stream, rows: Tensor): Tensor {
  return reshape(rows, [group!.batch, group!.tokens, rows.shape[1]!]);
}

/** Adds the branch: [rows, dim]. */
function joined({ x, branch }: Pick<Stream, "x" | "branch">): Tensor {
  return branch ? add(x, branch) : x;
}

/** x + attention(norm(x)), then x + mlp(norm(x)), whose branch the next block adds: [rows, dim] -> the same. */
function block(config: VitConfig, all: Lookup, stream: Stream, i: number): Stream {
  const { groups } = stream;
  const params = scope(all, `blocks.${i}.`);
  const dropped = (x: Tensor, branch: Branch) => {
    const samples = groups.flatMap(({ batch, tokens, drops }) =>
      drops[i] ? { uniform: drops[i][branch], rows: batch * tokens } : [],
    );
    return samples.length > 0 ? dropPath(x, samples, dropRate(config, i)) : x;
  };
  const first = normed(scope(params, "norm1."), stream, config.precision);
  const qkv = linear(first.normed, params("attn.qkv.weight"), params("attn.qkv.bias")); // [rows, 3 * dim]
  const attended = linear(attention(qkv, config.heads, groups), params("attn.proj.weight"), params("attn.proj.bias"));
  const attending = { x: first.x, branch: dropped(attended, "attention") };
  const second = normed(scope(params, "norm2."), attending, config.precision);
  const hidden = gelu(linear(second.normed, params("mlp.fc1.weight"), params("mlp.fc1.bias")));
  const branch = dropped(linear(hidden, params("mlp.fc2.weight"), params("mlp.fc2.bias")), "mlp");
  return { x: second.x, branch, groups };
}

/** Adds the branch of a stream, if any, and normalises the sum. */
function normed(params: Lookup, { x, branch }: Pick<Stream, "x" | "branch">, precision: Precision = "f32") {
  if (!branch) return { x, normed: norm(params, x, precision) };
  const found = addLayernorm(x, branch, params("weight"), params("bias"), { precision });
  return { x: found.sum, normed: found.normed };
}

function norm(params: Lookup, x: Tensor, precision: Precision = "f32"): Tensor {
  return layernorm(x, params("weight"), params("bias"), { precision });
}

/** linspace(0, rate, depth)[i], as the official constructor spreads it. */
function dropRate({ dropPathRate, depth }: VitConfig, i: number): number {
  return depth === 1 ? 0 : (dropPathRate * i) / (depth - 1);
}

/** Returns the lookup of the parameters under a prefix. */
export function scope(params: Lookup, prefix: string): Lookup {
  return (name) => params(prefix + name);
}
