import type { Device } from "../device.js";
import { type Grid, kernel } from "../kernel.js";
import { constant, differentiable, recording, reshape, transient } from "../recording.js";
import { axes, formatShape, type Precision, precisionOf, type Shape, type Tensor } from "../tensor.js";
import { cast, half } from "./cast.js";
import { sumLeading } from "./sum.js";

const reads = ["a", "b", "bias", "sizes"] as const;
const inVectors = kernel("matmul", { reads, writes: ["c"], constants: ["BIAS"] });
const inSubgroupsOf8 = kernel("matmul-subgroups-8", { reads, writes: ["c"], constants: ["BIAS"] });
const inSubgroupsOf4 = kernel("matmul-subgroups-4", { reads, writes: ["c"], constants: ["BIAS"] });
const tiles = { reads, writes: ["c"], constants: ["BIAS", "SIDE"] } as const;
const inTiles = kernel("matmul-tiled", tiles);
/** Of operands in f16, by the precision of c. */
const inTilesOfHalves = {
  f32: kernel("matmul-tiled-f16-f32", tiles),
  f16: kernel("matmul-tiled-f16", tiles),
};

const matrices = { reads, writes: ["c"], constants: ["BIAS", "DEPTH"] } as const;
/** The same on tensor cores. */
const onTensorCores = {
  f32: kernel("matmul-subgroup-matrix-f32", matrices),
  f16: kernel("matmul-subgroup-matrix", matrices),
};

/** The kernel for a CPU by the width of its subgroups, with the rows and columns that a workgroup makes. */
function forCpu({ subgroupWidth }: Device) {
  if (subgroupWidth === 8) return { kernel: inSubgroupsOf8, rows: 16, cols: 32 };
  if (subgroupWidth === 4) return { kernel: inSubgroupsOf4, rows: 16, cols: 32 };
  return { kernel: inVectors, rows: 8, cols: 64 };
}

export interface Transposed {
  /** a is stored [..., K, M]. */
  readonly a?: boolean;
  /** b is stored [..., N, K]. */
  readonly b?: boolean;
}

/**
 * Matrix product: [M, K] x [K, N] -> [M, N], or with one leading batch axis on both, [batch, M, K] x [batch, K, N].
 * Operands may be stored transposed. Where one is f16 so is the other, rounded if it must be, and the result: sums are f32.
 * Throws where the inner axes or the batches differ.
 */
export function matmul(a: Tensor, b: Tensor, transposed: Transposed = {}): Tensor {
  return multiply("matmul", a, b, { transposed });
}

/**
 * Linear layer y = x Wᵀ + bias in the precision of x: x [..., in], weight [out, in], bias [out] -> [..., out]. Weight and bias
 * may stay f32, and then their gradients are.
 */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  const { rows, cols } = axes("linear x", x, "...rows", "cols");
  const { out, in: inner } = axes("linear weight", weight, "out", "in");
  if (inner !== cols) {
    throw new Error(
      `linear: expected x [..., ${inner}] for a weight ${formatShape(weight.shape)}, got ${formatShape(x.shape)}`,
    );
  }
  if (bias) axes("linear bias", bias, "out");
  const y = multiply("linear", reshape(x, [rows, cols]), weight, { transposed: { b: true }, bias });
  return reshape(y, [...x.shape.slice(0, -1), out]);
}

interface Manner {
  readonly transposed: Transposed;
  readonly bias?: Tensor | undefined;
  /** Of the result; that of the operands where it is left out. */
  readonly precision?: Precision;
}

function multiply(what: string, a: Tensor, b: Tensor, { transposed, bias, precision }: Manner): Tensor {
  const batched = a.shape.length === 3 ? 1 : 0;
  const [aRows, aCols] = axes2(`${what} a`, a, batched);
  const [bRows, bCols] = axes2(`${what} b`, b, batched);
  const [m, k] = transposed.a ? [aCols, aRows] : [aRows, aCols];
  const [n, inner] = transposed.b ? [bRows, bCols] : [bCols, bRows];
  if (inner !== k) {
    throw new Error(
      `${what}: a ${formatShape(a.shape)} and b ${formatShape(b.shape)} differ in their inner axis (${k}, ${inner})`,
    );
  }
  const batch = batched ? a.shape[0]! : 1;
  if (batched && b.shape[0] !== batch) {
    throw new Error(
      `${what}: a ${formatShape(a.shape)} and b ${formatShape(b.shape)} differ in their batch (${batch}, ${b.shape[0]})`,
    );
  }
  if (bias && bias.shape[0] !== n) throw new Error(`${what} bias: expected [${n}], got ${formatShape(bias.shape)}`);

  const shape = batched ? [batch, m, n] : [m, n];
  const aStrides = transposed.a ? [1, m, m * k] : [k, 1, m * k];
  const bStrides = transposed.b ? [1, k, k * n] : [n, 1, k * n];
  const [aPrecision, bPrecision] = [precisionOf(`${what} a`, a), precisionOf(`${what} b`, b)];
  const inHalves = aPrecision === "f16" || bPrecision === "f16";
  const [left, right] = inHalves ? [half(a), half(b)] : [a, b];
  const strided: Product = { a: left, b: right, bias, batch, m, n, k, strides: [...aStrides, ...bStrides] };
  const c = inHalves
    ? halves(strided, shape, precision ?? "f16")
    : recording(what).device.kernels === "gpu"
      ? tiled(strided, shape)
      : vectors(strided, shape);

  const product = (x: Tensor, y: Tensor, transposed: Transposed, precision: Precision) =>
    multiply(what, x, y, { transposed, precision });
  return differentiable(c, bias ? [a, b, bias] : [a, b], (dc) => [
    transposed.a
      ? product(right, dc, { a: transposed.b ?? false, b: true }, aPrecision)
      : product(dc, right, { b: !transposed.b }, aPrecision),
    transposed.b
      ? product(dc, left, { a: true, b: transposed.a ?? false }, bPrecision)
      : product(left, dc, { a: !transposed.a }, bPrecision),
    bias && sumLeading(dc, bias.shape),
  ]);
}

interface Product {
  readonly a: Tensor;
  readonly b: Tensor;
  readonly bias: Tensor | undefined;
  readonly batch: number;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** Of a along rows, k and batch, of b along k, columns and batch. */
  readonly strides: readonly number[];
}

function vectors({ a, b, bias, batch, m, n, k, strides }: Product, shape: Shape): Tensor {
  const c = transient(shape);
  const sizes = constant([9], [m, n, k, ...strides], { dtype: "u32", label: "matmul sizes" });
  const { kernel, rows, cols } = forCpu(recording("matmul").device);
  const groups: Grid = [Math.ceil(n / cols), Math.ceil(m / rows), batch];
  kernel({ a, b, bias: bias ?? b, sizes, c }, { BIAS: bias ? 1 : 0 }, groups); // without a bias any tensor, unread
  return c;
}

function tiled(product: Product, shape: Shape): Tensor {
  const { a, b, bias } = product;
  const { side, splits, sizes, groups } = divide(product, tiling(product));
  const c = transient(splits === 1 ? shape : [splits, ...shape]);
  inTiles({ a, b, bias: bias ?? b, sizes, c }, { BIAS: bias ? 1 : 0, SIDE: side }, groups);
  return splits === 1 ? c : sumLeading(c, shape);
}

/** The product of operands in f16; parts of k are summed in f32. */
function halves(product: Product, shape: Shape, precision: Precision): Tensor {
  const { a, b } = product;
  const onMatrices = recording("matmul").device.tensorCores && liesInQuads(product);
  const { side, splits, sizes, groups } = divide(product, onMatrices ? matrixTiling(product) : tiling(product));
  const parts = splits === 1 ? precision : "f32";
  const c = transient(splits === 1 ? shape : [splits, ...shape], parts);
  const BIAS = product.bias ? 1 : 0;
  const tensors = { a, b, bias: product.bias ?? constant([], [0], { label: "no bias" }), sizes, c };
  if (onMatrices) onTensorCores[parts](tensors, { BIAS, DEPTH: MATRIX_DEPTH }, groups);
  else inTilesOfHalves[parts](tensors, { BIAS, SIDE: side }, groups);
  return splits === 1 ? c : cast(sumLeading(c, shape), precision);
}

/** Whether memory runs through whole quads of four in both operands, which is how the kernels for tensor cores read it. */
function liesInQuads({ m, n, k, strides }: Product): boolean {
  const [, aAlongK, , bAlongK] = strides;
  return (aAlongK === 1 ? k : m) % 4 === 0 && (bAlongK === 1 ? k : n) % 4 === 0;
}

/** The tiles of a product and its sizes as the tiled kernels read them. */
function divide({ batch, m, n, k, strides }: Product, { side, splits, perSplit }: Tiling) {
  const sizes = constant([11], [m, n, k, ...strides, splits, perSplit], { dtype: "u32", label: "matmul sizes" });
  const groups: Grid = [Math.ceil(n / (8 * side)), Math.ceil(m / (8 * side)), batch * splits];
  return { side, splits, sizes, groups };
}

/** Workgroups that keep a large GPU busy. */
const ENOUGH_GROUPS = 128;
/** The least that a workgroup sums of k, so that adding the parts up costs little beside it. */
const LEAST_SPLIT = 256;

/**
 * How `matmul-tiled.wgsl` divides its work: tiles of 128 x 128, of 64 x 64 where the large ones would be too few; where those are
 * too few as well, and there is no batch, as in the gradients of weights, k is cut into parts.
 */
export function tiling({ batch, m, n, k }: Extent): Tiling {
  if (tilesOf(16, { batch, m, n, k }) >= ENOUGH_GROUPS) return { side: 16, splits: 1, perSplit: k };
  return { side: 8, ...split(tilesOf(8, { batch, m, n, k }), { batch, k, step: 1 }) };
}

/** k that the kernels for tensor cores bring at a time; more than 32 would not fit the workgroup memory of many adapters. */
const MATRIX_DEPTH = 32;

/** How the kernels for tensor cores divide their work: tiles of 128 x 128, and k into parts where these are too few. */
function matrixTiling({ batch, m, n, k }: Extent): Tiling {
  return { side: 16, ...split(tilesOf(16, { batch, m, n, k }), { batch, k, step: MATRIX_DEPTH }) };
}

type Extent = Pick<Product, "batch" | "m" | "n" | "k">;

interface Tiling {
  /** An eighth of a tile's side. */
  readonly side: 8 | 16;
  readonly splits: number;
  readonly perSplit: number;
}

function tilesOf(side: number, { batch, m, n }: Extent): number {
  return batch * Math.ceil(m / (8 * side)) * Math.ceil(n / (8 * side));
}

/** Cuts k into parts of whole steps where there are few tiles and no batch. */
function split(
  tiles: number,
  { batch, k, step }: { readonly batch: number; readonly k: number; readonly step: number },
) {
  const wanted = batch > 1 ? 1 : Math.min(Math.ceil(ENOUGH_GROUPS / tiles), Math.floor(k / LEAST_SPLIT));
  const perSplit = step * Math.ceil(k / Math.max(1, wanted) / step);
  return { splits: Math.ceil(k / perSplit), perSplit };
}

function axes2(what: string, x: Tensor, batched: 0 | 1): [number, number] {
  const { rows, cols } = batched ? axes(what, x, "batch", "rows", "cols") : axes(what, x, "rows", "cols");
  return [rows, cols];
}
