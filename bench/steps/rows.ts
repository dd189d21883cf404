import {
  addLayernorm,
  attention,
  cast,
  gelu,
  layernorm,
  linear,
  matmul,
  softmax,
  sumLeading,
  topK,
} from "../../engine/index.js";
import * as reference from "../../reference/operations.js";
import { blockRows } from "./block-rows.js";
import { columns, deviation, gradientRowwise, rowwise, sample, take, toFloat64 } from "./check.js";
import { distillationRows, koleoRows, labelRow, maskedRows, prototypeRows } from "./loss-rows.js";
import { adamwRow, emaRow } from "./optimizer-rows.js";
import { type BenchRow, gradientsOf, type OwningRow } from "./row.js";
import { BOTTLENECK, CROPS, PROTOTYPES, TOKENS, VIT, type VitSize } from "./shapes.js";

/**
 * Returns the rows of a step on `batch` images: 2 crops of 224 pixels and 8 of 96 of each, through a ViT with patches of 16; for
 * a GPU also a large product and attention over many tokens.
 */
export function rows(batch: number, kind: keyof typeof VIT): readonly (BenchRow | OwningRow)[] {
  const vit = VIT[kind];
  const tokens = batch * (CROPS.global * TOKENS.global + CROPS.local * TOKENS.local);
  return [
    ...projections(tokens, vit),
    product("matmul prototypes", 10 * batch, PROTOTYPES, BOTTLENECK),
    ...mlpGradients(tokens, vit),
    ...projections(tokens, vit).map(inHalves(/^matmul/)),
    ...activations(tokens, vit),
    labelRow(),
    ...layernorms(tokens, vit),
    ...blockRows(batch, vit),
    ...(kind === "gpu" ? largeProduct() : []),
    ...attentionSizes(batch, kind).flatMap((size) => attentionRows(size, vit)),
    ...distillationRows(Math.min(batch, 8)), // the reference takes seconds for more
    ...maskedRows(Math.min(batch, 8)),
    ...prototypeRows(batch, "f32"),
    ...prototypeRows(batch, "f16"),
    ...koleoRows(CROPS.global * Math.max(batch, 2), vit.dim), // one image has no neighbour
    nearestRow(),
    { name: "adamw", make: adamwRow },
    { name: "ema", make: emaRow },
  ];
}

/** The nearest of a tile of similarities, as a search finds them. */
function nearestRow(): BenchRow {
  const [queries, cols, k] = [256, 16_384, 16];
  return {
    name: "top-k",
    inputs: [[queries, cols]],
    build: (x) => [topK(x, k).values],
    bytes: 4 * queries * cols,
    check: rowwise(reference.topK(k)),
  };
}

/** The products of a block. */
function projections(tokens: number, { dim, hidden }: VitSize): BenchRow[] {
  return [
    product("matmul qkv", tokens, 3 * dim, dim),
    product("matmul mlp, up", tokens, hidden, dim),
    product("matmul mlp, down", tokens, dim, hidden),
  ];
}

/** The products of the gradients of an MLP's upper layer. */
function mlpGradients(tokens: number, { dim, hidden }: VitSize): BenchRow[] {
  return [
    {
      name: "matmul mlp, input gradient",
      inputs: [
        [tokens, hidden],
        [hidden, dim],
      ],
      build: (dy, weight) => [matmul(dy, weight)],
      ...costOfProduct(tokens, dim, hidden),
      check: rowwise(reference.matmul()),
    },
    {
      name: "matmul mlp, weight gradient",
      inputs: [
        [tokens, hidden],
        [tokens, dim],
      ],
      build: (dy, x) => [matmul(dy, x, { a: true })],
      ...costOfProduct(hidden, dim, tokens),
      check: ([dy, x], result) => {
        const at = sample(hidden);
        return deviation(take(result, at), reference.matmul({ a: true })(columns(dy!, at), toFloat64(x!)));
      },
    },
  ];
}

/** GELU, softmax and the sum of rows that is the gradient of a bias. */
function activations(tokens: number, { dim, hidden }: VitSize): BenchRow[] {
  return [
    {
      name: "gelu",
      inputs: [[tokens, hidden]],
      build: (x) => [gelu(x)],
      bytes: 4 * 2 * tokens * hidden,
      check: rowwise(reference.gelu),
    },
    {
      name: "gelu backward",
      inputs: [
        [tokens, hidden],
        [tokens, hidden],
      ],
      build: (x, dy) => gradientsOf(gelu(x), dy, [x]),
      kernels: /^gelu.*-backward/,
      bytes: 4 * 3 * tokens * hidden,
      check: gradientRowwise(reference.gelu),
      tolerance: 1e-4,
    },
    {
      name: "softmax",
      inputs: [[tokens, TOKENS.global]],
      build: (x) => [softmax(x)],
      bytes: 4 * 2 * tokens * TOKENS.global,
      check: rowwise(reference.softmax),
    },
    {
      name: "sum of rows",
      inputs: [[tokens, 3 * dim]],
      build: (x) => [sumLeading(x, [3 * dim])],
      bytes: 4 * tokens * 3 * dim,
      check: ([x], result) => deviation(toFloat64(result), reference.sumLeading([3 * dim])(toFloat64(x!))),
    },
  ];
}

function layernorms(tokens: number, { dim }: VitSize): BenchRow[] {
  return [
    {
      name: "layernorm",
      inputs: [[tokens, dim], [dim], [dim]],
      build: (x, gain, bias) => [layernorm(x, gain, bias)],
      bytes: 4 * 2 * tokens * dim,
      check: rowwise(reference.layernorm(1e-6)),
    },
    {
      name: "add and layernorm",
      inputs: [[tokens, dim], [tokens, dim], [dim], [dim]],
      build: (x, branch, gain, bias) => {
        const { sum, normed } = addLayernorm(x, branch, gain, bias);
        return [normed, sum];
      },
      bytes: 4 * 4 * tokens * dim,
      check: ([x, branch, gain, bias], result) => {
        const at = sample(tokens);
        const sums = reference.add(take(x!, at), take(branch!, at));
        return deviation(take(result, at), reference.layernorm(1e-6)(sums, toFloat64(gain!), toFloat64(bias!)));
      },
    },
    {
      name: "layernorm backward",
      inputs: [[tokens, dim], [dim], [dim], [tokens, dim]],
      build: (x, gain, bias, dy) => gradientsOf(layernorm(x, gain, bias), dy, [x, gain, bias]),
      kernels: /^layernorm.*-backward|^(sum-rows|add-parts)/,
      bytes: 4 * 5 * tokens * dim, // x and dy to compute dx, dx, and x and dy for gain and bias
      check: gradientRowwise(reference.layernorm(1e-6)),
      tolerance: 1e-4,
    },
  ];
}

/** A product that keeps a GPU busy, in f32 and f16. */
function largeProduct(): BenchRow[] {
  const row = product("matmul 4096", 4096, 4096, 4096);
  return [row, inHalves(/^matmul/)(row)];
}

/** Sequences and their length. */
interface AttentionSize {
  readonly sequences: number;
  /** Tokens of a sequence. */
  readonly n: number;
}

/** The sizes of global and local crops, and on a GPU of patches of 8. */
function attentionSizes(batch: number, kind: keyof typeof VIT): AttentionSize[] {
  return [
    { sequences: batch * CROPS.global, n: TOKENS.global },
    { sequences: batch * CROPS.local, n: TOKENS.local },
    ...(kind === "gpu" ? [{ sequences: batch, n: 1 + 28 ** 2 }] : []),
  ];
}

/** Attention forward and backward, in f32 and f16. */
function attentionRows({ sequences, n }: AttentionSize, { dim, heads }: VitSize): BenchRow[] {
  const flops = 4 * sequences * n * n * dim; // q kᵀ and p v
  const qkv = [sequences, n, 3 * dim];
  const check = rowwise(reference.attention(heads), 1);
  const checkGradient = gradientRowwise(reference.attention(heads), 1);
  const forward = {
    name: `attention, ${n} tokens`,
    inputs: [qkv],
    build: (x) => [attention(x, heads)],
    flops,
    check,
  } satisfies BenchRow;
  const backward = {
    name: `attention backward, ${n} tokens`,
    inputs: [qkv, [sequences, n, dim]],
    build: (x, dy) => gradientsOf(attention(x, heads), dy, [x]),
    kernels: /^attention.*-(backward|delta)/,
    flops: 2.5 * flops, // five products, one of which repeats the forward's
    check: checkGradient,
    tolerance: 1e-4,
  } satisfies BenchRow;
  return [forward, inHalves(/^attention/)(forward), backward, inHalves(backward.kernels)(backward)];
}

/** The product of a linear layer, x Wᵀ: [m, k] x [n, k] -> [m, n]. */
function product(name: string, m: number, n: number, k: number): BenchRow {
  return {
    name,
    inputs: [
      [m, k],
      [n, k],
    ],
    build: (x, weight) => [linear(x, weight)],
    ...costOfProduct(m, n, k),
    check: rowwise(reference.linear),
  };
}

/** Converts a row to f16; its inputs are rounded outside of the kernels that count. */
function inHalves(kernels: RegExp): (row: BenchRow) => BenchRow {
  return ({ bytes, ...row }) => ({
    ...row,
    name: `${row.name}, f16`,
    build: (...inputs) => [cast(row.build(...inputs.map((x) => cast(x, "f16")))[0], "f32")],
    kernels,
    ...(bytes !== undefined && { bytes: bytes / 2 }),
    tolerance: 2e-3, // both operands and the result are rounded to 2^-11 of themselves
    half: true,
  });
}

function costOfProduct(m: number, n: number, k: number): { readonly flops: number; readonly bytes: number } {
  return { flops: 2 * m * n * k, bytes: 4 * (m * k + n * k + m * n) };
}
