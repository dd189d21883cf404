import {
  add,
  addLayernorm,
  attention,
  attentionProbabilities,
  cast,
  concat,
  dropPath,
  fill,
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
  const resized = resizeGrid(slice(flat, 0, 1, tokens - 1), base, wanted, { scale });
  return concat([slice(flat, 0, 0, 1), resized], 0);
}

/** A function applied to a residual branch, of the same shape. */
type Branch = (x: Tensor) => Tensor;

interface Branches {
  readonly attention: Branch;
  readonly mlp: Branch;
}

const wholeBranches: Branches = { attention: (x) => x, mlp: (x) => x };

/**
 * Returns the drop path of block `i`. Draws its uniform numbers here, once, so that a recomputed block drops the same.
 */
function branchDrops(config: VitConfig, i: number, batch: number, drop: DropSource | undefined): Branches {
  const rate = dropRate(config, i);
  if (!drop || rate === 0) return wholeBranches;
  const [attentionDrop, mlp] = [drop(batch), drop(batch)];
  return { attention: (x) => dropPath(x, attentionDrop, rate), mlp: (x) => dropPath(x, mlp, rate) };
}

/** The residual stream [batch, tokens, dim], and a branch that is not added to it yet. */
interface Stream {
  readonly x: Tensor;
  readonly branch?: Tensor;
}

/** Adds the branch: [batch, tokens, dim]. */
function joined({ x, branch }: Stream): Tensor {
  return branch ? add(x, branch) : x;
}

/** x + attention(norm(x)), then x + mlp(norm(x)), whose branch the next block adds: [batch, tokens, dim] -> the same. */
function block(config: VitConfig, params: Lookup, stream: Stream, branches = wholeBranches): Stream {
  const first = normed(scope(params, "norm1."), stream, config.precision);
  const qkv = linear(first.normed, params("attn.qkv.weight"), params("attn.qkv.bias")); // [batch, tokens, 3 * dim]
  const attended = linear(attention(qkv, config.heads), params("attn.proj.weight"), params("attn.proj.bias"));
  const attending = { x: first.x, branch: branches.attention(attended) };
  const second = normed(scope(params, "norm2."), attending, config.precision);
  const hidden = gelu(linear(second.normed, params("mlp.fc1.weight"), params("mlp.fc1.bias")));
  return { x: second.x, branch: branches.mlp(linear(hidden, params("mlp.fc2.weight"), params("mlp.fc2.bias"))) };
}

/** Adds the branch of a stream, if any, and normalises the sum. */
function normed(params: Lookup, { x, branch }: Stream, precision: Precision = "f32") {
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
