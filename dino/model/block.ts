import {
  add,
  addLayernorm,
  addToSamples,
  attention,
  constant,
  dropPath,
  gelu,
  layernorm,
  linear,
  mul,
  packedSwiglu,
  type Precision,
  rotate,
  type Rotation,
  scaleColumns,
  swiglu,
  takeSamples,
  type Tensor,
} from "../../engine/index.js";
import { rotationOf } from "./positions.js";
import { type Lookup, scope, type VitConfig } from "./vit-config.js";

/** Numbers for one use of a residual branch, drawn anew in every run, for a batch of this size. */
export type DropSource = (batch: number) => Tensor;

/** What training draws to drop residual branches; without a source, nothing is dropped by its rule. */
export interface DropSources {
  /** Uniform numbers [batch], for drop path. */
  readonly drop?: DropSource;
  /** Permutations [batch] u32, for branches that are computed for a part of the batch. */
  readonly order?: DropSource;
}

/** How a residual branch is dropped: not at all, for single samples after it is computed, or by leaving samples out. */
type Drop =
  | { readonly kind: "none" }
  | { readonly kind: "samples"; readonly uniform: Tensor; readonly rate: number }
  | { readonly kind: "part"; readonly order: Tensor; readonly rate: number };

/** How the branches of a block are dropped. */
export interface Drops {
  readonly attention: Drop;
  readonly mlp: Drop;
}

const noDrops: Drops = { attention: { kind: "none" }, mlp: { kind: "none" } };

/** Returns how block `i` drops. Draws here, once, so that a recomputed block drops the same. */
export function branchDrops(config: VitConfig, i: number, batch: number, { drop, order }: DropSources): Drops {
  const rate = dropRate(config, i);
  const { batchPartAbove = Infinity } = config;
  if (rate > batchPartAbove && order) {
    const part = (): Drop => ({ kind: "part", order: order(batch), rate });
    return { attention: part(), mlp: part() };
  }
  if (!drop || rate === 0) return noDrops;
  const samples = (): Drop => ({ kind: "samples", uniform: drop(batch), rate });
  return { attention: samples(), mlp: samples() };
}

/** linspace(0, rate, depth)[i], as the official constructor spreads it, or the rate in all blocks. */
function dropRate({ dropPathRate, depth, uniformDropPath = false }: VitConfig, i: number): number {
  if (uniformDropPath) return dropPathRate;
  return depth === 1 ? 0 : (dropPathRate * i) / (depth - 1);
}

/** Tensors that the blocks share for images of one size. */
export interface BlockTables {
  /** Present with rotary positions. */
  readonly rotation: Rotation | undefined;
  /** [3 * dim]: 0 for keys, 1 for queries and values; present if the bias of keys is masked. */
  readonly biasMask: Tensor | undefined;
}

/** Makes the tables for images of rows x cols pixels. */
export function blockTables(config: VitConfig, imageRows: number, imageCols: number): BlockTables {
  const { dim, maskKeyBias = false } = config;
  const isKept = (_: unknown, i: number) => (i >= dim && i < 2 * dim ? 0 : 1);
  return {
    rotation: rotationOf(config, imageRows, imageCols),
    biasMask: maskKeyBias ? constant([3 * dim], Array.from({ length: 3 * dim }, isKept)) : undefined,
  };
}

/** The residual stream [batch, tokens, dim], and a branch that is not added to it yet. */
export interface Stream {
  readonly x: Tensor;
  readonly branch?: Tensor;
}

/** Adds the branch: [batch, tokens, dim]. */
export function joined({ x, branch }: Stream): Tensor {
  return branch ? add(x, branch) : x;
}

/** x + attention(norm(x)), then x + mlp(norm(x)), whose branch the next block adds: [batch, tokens, dim] -> the same. */
export function block(
  config: VitConfig,
  params: Lookup,
  stream: Stream,
  tables: BlockTables,
  drops: Drops = noDrops,
): Stream {
  const attending = residual(config, scope(params, "norm1."), stream, drops.attention, (y) => {
    const attended = attention(queriesKeysValues(config, params, y, tables), config.heads);
    return scaled(config, linear(attended, params("attn.proj.weight"), params("attn.proj.bias")), params, "ls1.gamma");
  });
  return residual(config, scope(params, "norm2."), attending, drops.mlp, (y) =>
    scaled(config, feedForward(config, scope(params, "mlp."), y), params, "ls2.gamma"),
  );
}

/** Normalises the stream, and applies a branch to it, or to a part of its batch. */
function residual(
  config: VitConfig,
  params: Lookup,
  stream: Stream,
  drop: Drop,
  branch: (y: Tensor) => Tensor,
): Stream {
  if (drop.kind === "part") {
    const x = joined(stream);
    const batch = x.shape[0]!;
    const count = Math.max(Math.floor(batch * (1 - drop.rate)), 1);
    const kept = norm(config, params, takeSamples(x, drop.order, count), config.precision); // [count, tokens, dim]
    return { x: addToSamples(x, branch(kept), drop.order, batch / count) };
  }
  const { x, normed } = normalised(config, params, stream);
  const y = branch(normed);
  return { x, branch: drop.kind === "samples" ? dropPath(y, drop.uniform, drop.rate) : y };
}

/** Queries, keys and values of attention, turned by rotary positions: [batch, tokens, dim] -> [batch, tokens, 3 * dim]. */
export function queriesKeysValues(
  { heads, qkvBias = true }: VitConfig,
  params: Lookup,
  y: Tensor,
  { rotation, biasMask }: BlockTables,
): Tensor {
  const bias = qkvBias ? params("attn.qkv.bias") : undefined;
  const qkv = linear(y, params("attn.qkv.weight"), bias && biasMask ? mul(bias, biasMask) : bias);
  return rotation ? rotate(qkv, heads, rotation) : qkv;
}

/** The layers after attention: [batch, tokens, dim] -> the same. */
function feedForward({ ffn = "mlp" }: VitConfig, params: Lookup, y: Tensor): Tensor {
  const layer = (name: string, x: Tensor) => linear(x, params(`${name}.weight`), params(`${name}.bias`));
  switch (ffn) {
    case "mlp":
      return layer("fc2", gelu(layer("fc1", y)));
    case "swiglu":
      return layer("w3", swiglu(layer("w1", y), layer("w2", y)));
    case "packed swiglu":
      return layer("w3", packedSwiglu(layer("w12", y)));
    default:
      return ffn satisfies never;
  }
}

/** Scales the channels of a branch by the factors of that name, if the config has them. */
function scaled({ layerScale }: VitConfig, branch: Tensor, params: Lookup, name: string): Tensor {
  return layerScale === undefined ? branch : scaleColumns(branch, params(name));
}

/** Adds the branch of a stream, if any, and normalises the sum. */
function normalised(config: VitConfig, params: Lookup, { x, branch }: Stream) {
  const { precision } = config;
  if (!branch) return { x, normed: norm(config, params, x, precision) };
  const options = layernormOptions(config, precision);
  const found = addLayernorm(x, branch, params("weight"), params("bias"), options);
  return { x: found.sum, normed: found.normed };
}

/** LayerNorm of the tokens: [..., dim] -> the same. */
export function norm(config: VitConfig, params: Lookup, x: Tensor, precision?: Precision): Tensor {
  return layernorm(x, params("weight"), params("bias"), layernormOptions(config, precision));
}

const layernormOptions = ({ normEpsilon = 1e-6 }: VitConfig, precision: Precision = "f32") => ({
  epsilon: normEpsilon,
  precision,
});
