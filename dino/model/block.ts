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
  reshape,
  rotate,
  type Rotation,
  scaleColumns,
  type Sequences,
  swiglu,
  takeSamples,
  type Tensor,
} from "../../engine/index.js";
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

type Branch = "attention" | "mlp";

/** How the branches of a block are dropped. */
export type Drops = Readonly<Record<Branch, Drop>>;

const noDrops: Drops = { attention: { kind: "none" }, mlp: { kind: "none" } };

/** Returns how block `i` drops for a batch. Draws here, once, so that a recomputed block drops the same. */
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

/** Sequences of one length, and what blocks need to know of them. */
export interface Group extends Sequences {
  /** Present with rotary positions. */
  readonly rotation: Rotation | undefined;
  /** How each block drops; empty if none does. */
  readonly drops: readonly Drops[];
}

/** The residual stream, the tokens of all groups [rows, dim], and a branch that is not added to it yet. */
export interface Stream {
  readonly x: Tensor;
  readonly branch?: Tensor | undefined;
  readonly groups: readonly Group[];
}

/** Adds the branch: [rows, dim]. */
export function joined({ x, branch }: Pick<Stream, "x" | "branch">): Tensor {
  return branch ? add(x, branch) : x;
}

/** Block `i`: x + attention(norm(x)), then x + mlp(norm(x)), whose branch the next block adds: [rows, dim] -> the same. */
export function block(config: VitConfig, params: Lookup, stream: Stream, i: number): Stream {
  const own = scope(params, `blocks.${i}.`);
  const dropsOf = (branch: Branch) => stream.groups.map(({ drops }) => (drops[i] ?? noDrops)[branch]);
  const attending = residual(config, scope(own, "norm1."), stream, dropsOf("attention"), (y, groups) => {
    const attended = attention(queriesKeysValues(config, own, y, groups), config.heads, groups);
    return scaled(config, linear(attended, own("attn.proj.weight"), own("attn.proj.bias")), own, "ls1.gamma");
  });
  return residual(config, scope(own, "norm2."), attending, dropsOf("mlp"), (y) =>
    scaled(config, feedForward(config, scope(own, "mlp."), y), own, "ls2.gamma"),
  );
}

/** Normalises the stream, and applies a branch to it, or to a part of its batch. */
function residual(
  config: VitConfig,
  params: Lookup,
  stream: Stream,
  drops: readonly Drop[],
  branch: (y: Tensor, groups: readonly Group[]) => Tensor,
): Stream {
  const { groups } = stream;
  const [drop] = drops as readonly [Drop];
  if (drop.kind === "part") return residualOfPart(config, params, stream, drop, branch);
  const { x, normed } = normalised(config, params, stream);
  const y = branch(normed, groups);
  const samples = drops.flatMap((of, i) =>
    of.kind === "samples" ? [{ uniform: of.uniform, rows: groups[i]!.batch * groups[i]!.tokens }] : [],
  );
  return { x, branch: drop.kind === "samples" ? dropPath(y, samples, drop.rate) : y, groups };
}

/** Applies a branch to a part of the batch of the only group of a stream. */
function residualOfPart(
  config: VitConfig,
  params: Lookup,
  stream: Stream,
  { order, rate }: Drop & { readonly kind: "part" },
  branch: (y: Tensor, groups: readonly Group[]) => Tensor,
): Stream {
  const [group] = stream.groups as readonly [Group];
  const { batch, tokens } = group;
  const { dim, precision } = config;
  const count = Math.max(Math.floor(batch * (1 - rate)), 1);
  const x = reshape(joined(stream), [batch, tokens, dim]);
  const kept = reshape(takeSamples(x, order, count), [count * tokens, dim]);
  const y = branch(norm(config, params, kept, precision), [{ ...group, batch: count }]);
  const sum = addToSamples(x, reshape(y, [count, tokens, dim]), order, batch / count);
  return { x: reshape(sum, [batch * tokens, dim]), groups: stream.groups };
}

/** Queries, keys and values of attention, turned by rotary positions: [rows, dim] -> [rows, 3 * dim]. */
export function queriesKeysValues(config: VitConfig, params: Lookup, y: Tensor, groups: readonly Group[]): Tensor {
  const qkv = linear(y, params("attn.qkv.weight"), qkvBias(config, params));
  const rotated = groups.flatMap(({ rotation, batch, tokens }) => (rotation ? [{ rotation, batch, tokens }] : []));
  return rotated.length > 0 ? rotate(qkv, config.heads, rotated) : qkv;
}

/** The bias of queries, keys and values [3 * dim], that of keys taken as 0 where the config says so; undefined without one. */
function qkvBias(
  { dim, qkvBias: isPresent = true, maskKeyBias = false }: VitConfig,
  params: Lookup,
): Tensor | undefined {
  if (!isPresent) return undefined;
  const bias = params("attn.qkv.bias");
  if (!maskKeyBias) return bias;
  const isKept = (_: unknown, i: number) => (i >= dim && i < 2 * dim ? 0 : 1);
  return mul(bias, constant([3 * dim], Array.from({ length: 3 * dim }, isKept)));
}

/** The layers after attention: [rows, dim] -> the same. */
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
function normalised(config: VitConfig, params: Lookup, { x, branch }: Pick<Stream, "x" | "branch">) {
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
