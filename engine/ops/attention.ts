import type { Device } from "../core/device.js";
import { choose, sizeClass } from "../core/kernel-choice.js";
import { elementGrid, grid, kernel } from "../core/kernel.js";
import { constant, differentiable, type Grid, recording, transient } from "../core/recording.js";
import { axes, type Precision, precisionOf, rowsOf, sizeOf, type Tensor } from "../core/tensor.js";
import { cast } from "./cast.js";
import { rowRanges, rowsIn, type Sequences } from "./concat.js";

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
const forwards = { reads: ["qkv", "sizes"], writes: ["out", "lse"], constants: [] } as const;
const backwards = { reads: ["qkv", "sizes", "dOut", "lse", "delta"], writes: [], updates: ["dQkv"] } as const;
const binds = { reads: ["out", "dOut"], writes: ["delta"], constants: ["TOKENS", "HEADS", "HEAD_DIM"] } as const;
const inSubgroups = kernel("attention-subgroups", forwards);
const backwardsInSubgroups = [
  kernel("attention-subgroups-backward-queries", { ...backwards, constants: [] }),
  kernel("attention-subgroups-backward-keys", { ...backwards, constants: [] }),
];
const inTiles = { f32: kernel("attention-tiled", forwards), f16: kernel("attention-tiled-f16", forwards) };
const deltas = { f32: kernel("attention-delta", binds), f16: kernel("attention-delta-f16", binds) };
const backwardInTiles = {
  f32: kernel("attention-tiled-backward", { ...backwards, constants: ["PART"] }),
  f16: kernel("attention-tiled-backward-f16", { ...backwards, constants: ["PART"] }),
};
/** f16 kernels for tensor cores. */
const onTensorCores = kernel("attention-subgroup-matrix", { ...forwards, constants: ["ROWS"] });
const backwardOnTensorCores = kernel("attention-subgroup-matrix-backward", {
  ...backwards,
  constants: ["PART", "ROWS"],
});
const probabilities = kernel("attention-probabilities", {
  reads: ["qkv", "lse"],
  writes: ["probabilities"],
  constants: [...constants, "QUERIES"],
});

/** Maximum head dimension; larger ones are not tested against the reference. */
const MAX_HEAD_DIM = 128;

/** Queries or keys per workgroup. */
const TOKENS_PER_GROUP = { vectors: 24, subgroups: 16, tiles: 64, "tensor cores": 64 };
const ROWS = TOKENS_PER_GROUP["tensor cores"];
/** Maximum head dimension whose sums fit into registers, in the kernels for tiles and tensor cores and the forward in subgroups. */
const MAX_TILED_HEAD_DIM = 64;

/**
 * Multi-head self-attention, softmax(q kᵀ / sqrt(headDim)) v, without the [tokens, tokens] matrix in memory:
 * qkv [batch, tokens, 3 * dim] (queries, keys, values; each heads * headDim) -> [batch, tokens, dim] in the precision of qkv.
 * With `groups` of sequences of several lengths, qkv holds their tokens one after another: [rows, 3 * dim] -> [rows, dim]. Vaswani
 * et al. 2017, eq. 1 (https://arxiv.org/abs/1706.03762). Throws where heads do not divide dim, headDim exceeds 128, or kernels cannot
 * bind each group; see `fitOneTensor`.
 */
export function attention(
  qkv: Tensor,
  heads: number,
  groups: readonly Sequences[] = [sequencesOf("attention", qkv)],
): Tensor {
  const precision = precisionOf("attention qkv", qkv);
  const { rows, dim, headDim } = measure(qkv, heads);
  if (rows !== rowsIn(groups))
    throw new Error(`attention: qkv has ${rows} tokens, its sequences have ${rowsIn(groups)}`);
  if (precision === "f16" && headDim > MAX_TILED_HEAD_DIM)
    return cast(attention(cast(qkv, "f32"), heads, groups), "f16");
  const out = transient([...qkv.shape.slice(0, -1), dim], precision);
  const parts = rowRanges(groups).map(({ first, count }, i) => {
    const partOf = (x: Tensor) => rowsOf({ ...x, shape: [rows, x.shape.at(-1)!] }, first, count);
    return { partOf, attended: attend(partOf(qkv), heads, { ...groups[i]!, out: partOf(out) }) };
  });
  return differentiable(out, [qkv], (dOut) => {
    const dQkv = transient(qkv.shape, precision);
    for (const { partOf, attended } of parts)
      attendBackward({ ...attended, qkv: partOf(qkv), out: partOf(out), dOut: partOf(dOut), dQkv: partOf(dQkv) });
    return [dQkv];
  });
}

/**
 * Returns the attention matrix, for visualization: qkv [batch, tokens, 3 * dim] -> [batch, heads, queries, tokens] of the
 * first `queries` tokens, by default all. Not differentiable.
 */
export function attentionProbabilities(qkv: Tensor, heads: number, queries?: number): Tensor {
  const { batch, tokens } = sequencesOf("attention", qkv);
  const { dim } = measure(qkv, heads);
  const out = transient([batch, tokens, dim], precisionOf("attention qkv", qkv));
  const { lse, sizes } = attend(qkv, heads, { batch, tokens, out });
  const QUERIES = queries ?? tokens;
  if (!(Number.isInteger(QUERIES) && QUERIES >= 1 && QUERIES <= tokens))
    throw new Error(`attentionProbabilities queries: expected 1 to ${tokens}, got ${QUERIES}`);
  const found = transient([batch, heads, QUERIES, tokens]);
  probabilities({ qkv, lse, probabilities: found }, { ...sizes, QUERIES }, elementGrid(sizeOf(found.shape)));
  return found;
}

type Sizes = Readonly<Record<(typeof constants)[number], number>>;

/** Records the forward of one group; returns lse [batch, heads, tokens], and the sizes as constants and as a tensor. */
function attend(qkv: Tensor, heads: number, { batch, tokens, out }: Sequences & { readonly out: Tensor }) {
  const { headDim } = measure(qkv, heads);
  const precision = precisionOf("attention qkv", qkv);
  const lse = transient([batch, heads, tokens]);
  const sizes: Sizes = { TOKENS: tokens, HEADS: heads, HEAD_DIM: headDim, SCALE: 1 / Math.sqrt(headDim) };
  const table = constant([3], [tokens, heads, headDim], { dtype: "u32", label: "attention sizes" });
  chooseKernels("attention", { lse, precision, sizes }, (variant, groups) => {
    if (variant === "tensor cores") onTensorCores({ qkv, sizes: table, out, lse }, { ROWS }, groups);
    else if (variant === "tiles") inTiles[precision]({ qkv, sizes: table, out, lse }, {}, groups);
    else if (variant === "subgroups") inSubgroups({ qkv, sizes: table, out, lse }, {}, groups);
    else forward({ qkv, out, lse }, sizes, groups);
  });
  return { precision, lse, sizes, table };
}

type Attended = ReturnType<typeof attend>;

/** Records the backward of one group. */
function attendBackward(of: Attended & Readonly<Record<"qkv" | "out" | "dOut" | "dQkv", Tensor>>): void {
  const { precision, lse, sizes, table, qkv, out, dOut, dQkv } = of;
  const delta = transient(lse.shape);
  chooseKernels("attention backward", { lse, precision, sizes }, (variant, groups) => {
    if (variant === "vectors") {
      queriesBackward({ qkv, out, lse, dOut, delta, dQkv }, sizes, groups);
      keysBackward({ qkv, lse, dOut, delta, dQkv }, sizes, groups);
      return;
    }
    deltas[precision]({ out, dOut, delta }, sizes, elementGrid(sizeOf(delta.shape)));
    const tensors = { qkv, sizes: table, dOut, lse, delta, dQkv };
    if (variant === "tensor cores") for (const PART of [0, 1]) backwardOnTensorCores(tensors, { PART, ROWS }, groups);
    else if (variant === "tiles") for (const PART of [0, 1, 2]) backwardInTiles[precision](tensors, { PART }, groups);
    else for (const backward of backwardsInSubgroups) backward(tensors, {}, groups);
  });
}

type Variant = keyof typeof TOKENS_PER_GROUP;

interface Problem {
  readonly lse: Tensor;
  readonly precision: Precision;
  readonly sizes: Sizes;
}

/** Chooses the kernels for the device and the sizes; calls `record` with them and the grid over all tokens of all heads. */
function chooseKernels(
  step: "attention" | "attention backward",
  { lse, precision, sizes: { HEAD_DIM } }: Problem,
  record: (variant: Variant, groups: Grid) => void,
): void {
  const { device } = recording(step);
  const [batch, heads, tokens] = lse.shape as readonly [number, number, number];
  const f32 = precision === "f32";
  const fits = HEAD_DIM <= MAX_TILED_HEAD_DIM;
  const ifAvailable = (variant: Variant, available: boolean) =>
    available ? () => record(variant, grid(batch * heads * Math.ceil(tokens / TOKENS_PER_GROUP[variant]))) : undefined;
  choose(
    `${step} ${precision} ${sizeClass(batch * heads, tokens, HEAD_DIM)}`,
    {
      vectors: ifAvailable("vectors", f32),
      subgroups: ifAvailable("subgroups", f32 && device.subgroupWidth === 8 && (fits || step === "attention backward")),
      tiles: ifAvailable("tiles", fits),
      "tensor cores": ifAvailable("tensor cores", !f32 && fitsTensorCores(device, HEAD_DIM)),
    },
    f32 ? f32Rule(device, tokens, fits) : fitsTensorCores(device, HEAD_DIM) ? "tensor cores" : "tiles",
  );
}

/** Whether tensor cores are available and fit the head dimension; their kernels read memory in groups of four elements. */
function fitsTensorCores({ tensorCores }: Device, headDim: number): boolean {
  return tensorCores && headDim % 4 === 0 && headDim <= MAX_TILED_HEAD_DIM;
}

function f32Rule(device: Device, tokens: number, fits: boolean): Variant {
  if (!fits) return "vectors";
  return device.kernels === "gpu" ? "tiles" : cpuRule(device, tokens);
}

/** A sequence that fits one workgroup is faster without subgroups: 1.7 times at 17 tokens on lavapipe (`dino tune`). */
function cpuRule({ kernels, subgroupWidth }: Device, tokens: number): Variant {
  const usesSubgroups = kernels === "cpu" && subgroupWidth === 8 && tokens > TOKENS_PER_GROUP.vectors;
  return usesSubgroups ? "subgroups" : "vectors";
}

/** Returns the sequences of qkv [batch, tokens, 3 * dim]. Throws for other axes, naming the operation. */
export function sequencesOf(what: string, qkv: Tensor): Sequences {
  const { batch, tokens } = axes(`${what} qkv`, qkv, "batch", "tokens", "width");
  return { batch, tokens };
}

function measure(qkv: Tensor, heads: number) {
  const { rows, width } = axes("attention qkv", qkv, "...rows", "width");
  const dim = width / 3;
  const headDim = dim / heads;
  if (!Number.isInteger(headDim))
    throw new Error(`attention: ${heads} heads do not divide a third of ${width} channels`);
  if (headDim > MAX_HEAD_DIM)
    throw new Error(`attention: expected heads of at most ${MAX_HEAD_DIM} channels, got ${headDim}`);
  return { rows, dim, headDim };
}
