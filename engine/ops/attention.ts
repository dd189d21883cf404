import { elementGrid, grid, kernel } from "../kernel.js";
import { differentiable, transient } from "../recording.js";
import { axes, sizeOf, type Tensor } from "../tensor.js";

const constants = ["TOKENS", "HEADS", "HEAD_DIM", "SCALE"] as const;
const forward = kernel("attention", { reads: ["qkv"], writes: ["out", "lse"], constants });
const queriesBackward = kernel("attention-backward-queries", {
  reads: ["qkv", "out", "lse", "dOut"],
  writes: ["delta"],
  updates: ["dQkv"],
  constants,
});
const keysBackward = kernel("attention-backward-keys", {
  reads: ["qkv", "lse", "dOut", "delta"],
  writes: [],
  updates: ["dQkv"],
  constants,
});
const probabilities = kernel("attention-probabilities", {
  reads: ["qkv", "lse"],
  writes: ["probabilities"],
  constants,
});

/** The largest head that is checked against the reference. */
const MAX_HEAD_DIM = 128;

/** Queries or keys that a workgroup takes. */
const TOKENS_PER_GROUP = 24;

/**
 * Multi-head self-attention, softmax(q kᵀ / sqrt(headDim)) v, without the [tokens, tokens] matrix in memory:
 * qkv [batch, tokens, 3 * dim] (queries, keys, values; each heads * headDim) -> [batch, tokens, dim].
 * Vaswani et al. 2017, eq. 1 (https://arxiv.org/abs/1706.03762). Throws where heads do not divide dim or headDim exceeds 128.
 */
export function attention(qkv: Tensor, heads: number): Tensor {
  const { batch, tokens, dim, sizes } = measure(qkv, heads);
  const groups = grid(batch * heads * Math.ceil(tokens / TOKENS_PER_GROUP));
  const out = transient([batch, tokens, dim]);
  const lse = transient([batch, heads, tokens]);
  forward({ qkv, out, lse }, sizes, groups);
  return differentiable(out, [qkv], (dOut) => {
    const delta = transient(lse.shape);
    const dQkv = transient(qkv.shape);
    queriesBackward({ qkv, out, lse, dOut, delta, dQkv }, sizes, groups);
    keysBackward({ qkv, lse, dOut, delta, dQkv }, sizes, groups);
    return [dQkv];
  });
}

/** The attention matrix itself, to look at: qkv [batch, tokens, 3 * dim] -> [batch, heads, tokens, tokens]; not differentiable. */
export function attentionProbabilities(qkv: Tensor, heads: number): Tensor {
  const { batch, tokens, dim, sizes } = measure(qkv, heads);
  const out = transient([batch, tokens, dim]);
  const lse = transient([batch, heads, tokens]);
  forward({ qkv, out, lse }, sizes, grid(batch * heads * Math.ceil(tokens / TOKENS_PER_GROUP)));
  const found = transient([batch, heads, tokens, tokens]);
  probabilities({ qkv, lse, probabilities: found }, sizes, elementGrid(sizeOf(found.shape)));
  return found;
}

function measure(qkv: Tensor, heads: number) {
  const { batch, tokens, width } = axes("attention qkv", qkv, "batch", "tokens", "width");
  const dim = width / 3;
  const headDim = dim / heads;
  if (!Number.isInteger(headDim))
    throw new Error(`attention: ${heads} heads do not divide a third of ${width} channels`);
  if (headDim > MAX_HEAD_DIM)
    throw new Error(`attention: expected heads of at most ${MAX_HEAD_DIM} channels, got ${headDim}`);
  const sizes = { TOKENS: tokens, HEADS: heads, HEAD_DIM: headDim, SCALE: 1 / Math.sqrt(headDim) };
  return { batch, tokens, dim, sizes };
}
