import {
  add,
  addLayernorm,
  attention,
  dropPath,
  gelu,
  layernorm,
  linear,
  type Precision,
  type Tensor,
} from "../../engine/index.js";
import { type Lookup, scope, type VitConfig } from "./vit-config.js";

/** Uniform numbers [batch] for one use of drop path, drawn anew in every run; without it, nothing is dropped. */
export type DropSource = (batch: number) => Tensor;

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
export function branchDrops(config: VitConfig, i: number, batch: number, drop: DropSource | undefined): Branches {
  const rate = dropRate(config, i);
  if (!drop || rate === 0) return wholeBranches;
  const [attentionDrop, mlp] = [drop(batch), drop(batch)];
  return { attention: (x) => dropPath(x, attentionDrop, rate), mlp: (x) => dropPath(x, mlp, rate) };
}

/** linspace(0, rate, depth)[i], as the official constructor spreads it. */
function dropRate({ dropPathRate, depth }: VitConfig, i: number): number {
  return depth === 1 ? 0 : (dropPathRate * i) / (depth - 1);
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
export function block(config: VitConfig, params: Lookup, stream: Stream, branches = wholeBranches): Stream {
  const first = normed(scope(params, "norm1."), stream, config.precision);
  const qkv = linear(first.normed, params("attn.qkv.weight"), params("attn.qkv.bias")); // [batch, tokens, 3 * dim]
  const attended = linear(attention(qkv, config.heads), params("attn.proj.weight"), params("attn.proj.bias"));
  const attending = { x: first.x, branch: branches.attention(attended) };
  const second = normed(scope(params, "norm2."), attending, config.precision);
  const hidden = gelu(linear(second.normed, params("mlp.fc1.weight"), params("mlp.fc1.bias")));
  return { x: second.x, branch: branches.mlp(linear(hidden, params("mlp.fc2.weight"), params("mlp.fc2.bias"))) };
}

/** Adds the branch of a stream, if any, and normalises the sum. */
export function normed(params: Lookup, { x, branch }: Stream, precision: Precision = "f32") {
  if (!branch) return { x, normed: norm(params, x, precision) };
  const found = addLayernorm(x, branch, params("weight"), params("bias"), { precision });
  return { x: found.sum, normed: found.normed };
}

export function norm(params: Lookup, x: Tensor, precision: Precision = "f32"): Tensor {
  return layernorm(x, params("weight"), params("bias"), { precision });
}
