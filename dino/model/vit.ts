import {
  add,
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
  /** Size in pixels that the position embedding is made for. */
  readonly imageRows: number;
  readonly imageCols: number;
  /** Side of a square patch in pixels. */
  readonly patch: number;
  /** Channels of a token. */
  readonly dim: number;
  /** Number of blocks. */
  readonly depth: number;
  readonly heads: number;
  /** Width of the hidden MLP layer over `dim`. */
  readonly mlpRatio: number;
  /** Channels of an image. */
  readonly channels: number;
  /** Probability that the last block's residual branches are dropped; the first block's is 0, in between it rises evenly. */
  readonly dropPathRate: number;
  /** Learnt tokens that stand for no patch, where attention may keep what concerns the whole image; 0 if left out. */
  readonly registers?: number;
  /** First blocks that are not trained, nor what comes before them; if 0 or left out, all is. */
  readonly frozenBlocks?: number;
  /** Of what lies between reading and writing the stream of tokens, which is f32 as the parameters are; f32 if left out. */
  readonly precision?: Precision;
}

/** Finds a parameter by its official name without prefix; throws where there is none. */
export type Lookup = (name: string) => Tensor;

/** Uniform numbers [batch] for one use of drop path, fresh on every run; left out, nothing is dropped. */
export type DropSource = (batch: number) => Tensor;

/** How the blocks run in training. */
export interface BlockOptions {
  readonly drop?: DropSource;
  /** Keeps only what goes into each block, and computes the rest again for the gradients. */
  readonly recompute?: boolean;
}

/** Parameters under their official names, in the official order. */
export function vitSpecs(config: VitConfig): ParamSpec[] {
  const { dim, patch, channels, registers = 0 } = config;
  const { rows, cols } = grid(config, config.imageRows, config.imageCols);
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
 * Start values of one backbone parameter: truncated normal of `std` for the weights of linear layers and of 0.02 for the CLS
 * token and positions (0.02 for all in the official code), normal of 1e-6 for registers (DINOv2's), 0 for biases, 1 for
 * LayerNorm gains; the patch projection keeps PyTorch's uniform default of convolutions, +-1 / sqrt(fan-in).
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

/** Normal of mean 0, redrawn outside [-2, 2], as the official trunc_normal_ bounds it (absolute bounds, not multiples of std). */
export function truncatedNormal(size: number, std: number, rng: Rng): Float32Array {
  const draw = (): number => {
    const value = std * rng.normal();
    return Math.abs(value) <= 2 ? value : draw();
  };
  return Float32Array.from({ length: size }, draw);
}

/** Whole patches of an image. Throws where none fits. */
export function grid(
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
  let x = prepareTokens(config, params, images);
  for (let i = 0; i < config.depth; i++) {
    const [before, branches] = [x, branchDrops(config, i, x.shape[0]!, options.drop)];
    const run = () => block(config, scope(params, `blocks.${i}.`), before, branches);
    x = options.recompute ? recompute(run) : run();
  }
  return norm(scope(params, "norm."), x);
}

/** The CLS token of each sequence: [batch, tokens, dim] -> [batch, dim]. */
export function clsOf(tokens: Tensor): Tensor {
  const [batch, , dim] = tokens.shape as readonly [number, number, number];
  return reshape(slice(tokens, 1, 0, 1), [batch, dim]);
}

/** What is left without the registers: [batch, 1 + registers + patches, dim] -> [batch, 1 + patches, dim]. */
function withoutRegisters({ registers = 0 }: VitConfig, tokens: Tensor): Tensor {
  if (registers === 0) return tokens;
  const first = 1 + registers;
  return concat([slice(tokens, 1, 0, 1), slice(tokens, 1, first, tokens.shape[1]! - first)], 1);
}

/** What there is to see of images; what nobody returns from a recording is not computed. */
export interface Observation {
  /** As `encode` gives them: [batch, 1 + patches, dim]. */
  readonly tokens: Tensor;
  /**
   * Attention of the last block: [batch, heads, queries, 1 + registers + patches] of the first `queries` tokens, the CLS token
   * being the very first; of all if left out. Rows sum to one, what goes to registers included.
   */
  readonly attention: (queries?: number) => Tensor;
}

/** Looks at images, and into the last block on the way. */
export function observe(config: VitConfig, params: Lookup, images: Tensor): Observation {
  let x = prepareTokens(config, params, images);
  for (let i = 0; i < config.depth - 1; i++) x = block(config, scope(params, `blocks.${i}.`), x);
  const last = scope(params, `blocks.${config.depth - 1}.`);
  const y = norm(scope(last, "norm1."), x);
  return {
    tokens: withoutRegisters(config, norm(scope(params, "norm."), block(config, last, x))),
    attention: (queries) =>
      attentionProbabilities(linear(y, last("attn.qkv.weight"), last("attn.qkv.bias")), config.heads, queries),
  };
}

/** Attention of the last block: see Sight. */
export function lastAttention(config: VitConfig, params: Lookup, images: Tensor, queries?: number): Tensor {
  return observe(config, params, images).attention(queries);
}

/** Outputs of the last `n` blocks, each after the final norm, the earliest first: images -> n times [batch, 1 + patches, dim]. */
export function intermediateLayers(config: VitConfig, params: Lookup, images: Tensor, n: number): Tensor[] {
  let x = prepareTokens(config, params, images);
  const outputs: Tensor[] = [];
  for (let i = 0; i < config.depth; i++) {
    x = block(config, scope(params, `blocks.${i}.`), x);
    if (i >= config.depth - n) outputs.push(withoutRegisters(config, norm(scope(params, "norm."), x)));
  }
  return outputs;
}

/**
 * Patch embeddings with the CLS token in front, positions added, and registers, which have no position, in between
 * (Darcet et al. 2023, https://arxiv.org/abs/2309.16588): images -> [batch, 1 + registers + patches, dim].
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
  const nowhere = fill([registers, dim], 0);
  const [clsPosition, patchPositions] = [slice(positions, 0, 0, 1), slice(positions, 0, 1, positions.shape[0]! - 1)];
  return add(concat([cls, learnt, embedded], 1), concat([clsPosition, nowhere, patchPositions], 0));
}

/**
 * The position embedding for an image of rows x cols pixels: [1, 1 + base patches, dim] -> [1 + patches, dim].
 * Other grids than the one it was made for go through bicubic resampling with the official scale (grid + 0.1) / base.
 * The official code skips it only for square images of the same patch count; so does this, and for the training size.
 */
export function positionEmbedding(config: VitConfig, embedding: Tensor, imageRows: number, imageCols: number): Tensor {
  const [, tokens, dim] = embedding.shape as readonly [number, number, number];
  const flat = reshape(embedding, [tokens, dim]);
  const base = grid(config, config.imageRows, config.imageCols);
  const wanted = grid(config, imageRows, imageCols);
  const sameGrid = wanted.rows === base.rows && wanted.cols === base.cols;
  const trainingSize = imageRows === config.imageRows && imageCols === config.imageCols;
  if (sameGrid && (imageRows === imageCols || trainingSize)) return flat;
  const scale = { rows: (wanted.rows + 0.1) / base.rows, cols: (wanted.cols + 0.1) / base.cols };
  const resized = resizeGrid(slice(flat, 0, 1, tokens - 1), base, wanted, scale);
  return concat([slice(flat, 0, 0, 1), resized], 0);
}

/** What becomes of a residual branch, of the same shape. */
type Branch = (x: Tensor) => Tensor;

interface Branches {
  readonly attention: Branch;
  readonly mlp: Branch;
}

const wholeBranches: Branches = { attention: (x) => x, mlp: (x) => x };

/** Drop path of block `i`; its uniform numbers are asked for here, once, so that a block that runs twice drops the same. */
function branchDrops(config: VitConfig, i: number, batch: number, drop: DropSource | undefined): Branches {
  const rate = dropRate(config, i);
  if (!drop || rate === 0) return wholeBranches;
  const [attentionDrop, mlp] = [drop(batch), drop(batch)];
  return { attention: (x) => dropPath(x, attentionDrop, rate), mlp: (x) => dropPath(x, mlp, rate) };
}

/** x + attention(norm(x)), then x + mlp(norm(x)): [batch, tokens, dim] -> the same. */
function block(config: VitConfig, params: Lookup, x: Tensor, branches = wholeBranches): Tensor {
  const normed = (name: string, stream: Tensor) => norm(scope(params, name), stream, config.precision);
  const qkv = linear(normed("norm1.", x), params("attn.qkv.weight"), params("attn.qkv.bias")); // [batch, tokens, 3 * dim]
  const attended = linear(attention(qkv, config.heads), params("attn.proj.weight"), params("attn.proj.bias"));
  const y = add(x, branches.attention(attended));
  const hidden = gelu(linear(normed("norm2.", y), params("mlp.fc1.weight"), params("mlp.fc1.bias")));
  return add(y, branches.mlp(linear(hidden, params("mlp.fc2.weight"), params("mlp.fc2.bias"))));
}

function norm(params: Lookup, x: Tensor, precision: Precision = "f32"): Tensor {
  return layernorm(x, params("weight"), params("bias"), { precision });
}

/** linspace(0, rate, depth)[i], as the official constructor spreads it. */
function dropRate({ dropPathRate, depth }: VitConfig, i: number): number {
  return depth === 1 ? 0 : (dropPathRate * i) / (depth - 1);
}

/** Parameters under a prefix. */
export function scope(params: Lookup, prefix: string): Lookup {
  return (name) => params(prefix + name);
}
