import type { Device } from "../core/device.js";
import { choose, sizeClass } from "../core/kernel-choice.js";
import { kernel } from "../core/kernel.js";
import {
  type Backward,
  constant,
  differentiable,
  type Gradient,
  type Grid,
  recording,
  reshape,
  stopGradient,
  transient,
} from "../core/recording.js";
import { axes, formatShape, type Precision, precisionOf, type Shape, type Tensor } from "../core/tensor.js";
import { cast, half } from "./cast.js";
import { wholeOf } from "./partial-sums.js";
import { leadingSums, sumOfParts } from "./sum.js";

const reads = ["a", "b", "bias", "sizes"] as const;
const inVectors = kernel("matmul", { reads, writes: ["c"], constants: ["BIAS"] });
const inSubgroupsOf8 = kernel("matmul-subgroups-8", { reads, writes: ["c"], constants: ["BIAS"] });
const inSubgroupsOf4 = kernel("matmul-subgroups-4", { reads, writes: ["c"], constants: ["BIAS"] });
const tiles = { reads, writes: ["c"], constants: ["BIAS", "SIDE"] } as const;
const inTiles = kernel("matmul-tiled", tiles);
/** Tiled kernels for f16 operands, by the precision of c. */
const inTilesOfHalves = {
  f32: kernel("matmul-tiled-f16-f32", tiles),
  f16: kernel("matmul-tiled-f16", tiles),
};

const matrices = { reads, writes: ["c"], constants: ["BIAS", "A_ALONG_K", "B_ALONG_K"] } as const;
/** Tensor core kernels for f16 operands, by the precision of c. */
const onTensorCores = {
  f32: kernel("matmul-subgroup-matrix-f32", matrices),
  f16: kernel("matmul-subgroup-matrix", matrices),
};

/** Kernels for 8 x 8 matrices of f32, by the precisions of operands and c. */
const onMatricesOf8 = {
  f32: { f32: kernel("matmul-subgroup-matrix-8", matrices) },
  f16: {
    f32: kernel("matmul-subgroup-matrix-8-f16-f32", matrices),
    f16: kernel("matmul-subgroup-matrix-8-f16", matrices),
  },
};

/** Operands that are stored transposed. */
export interface Transposed {
  /** a is stored [..., K, M]. */
  readonly a?: boolean;
  /** b is stored [..., N, K]. */
  readonly b?: boolean;
}

/**
 * Matrix product: [M, K] x [K, N] -> [M, N], or with one leading batch axis on both, [batch, M, K] x [batch, K, N].
 * Operands may be stored transposed. If one is f16, the other is rounded to f16; the result is f16 too unless `precision` is
 * f32. Sums are accumulated in f32. Throws if the inner axes or the batches differ.
 */
export function matmul(a: Tensor, b: Tensor, transposed: Transposed = {}, precision?: Precision): Tensor {
  return multiply("matmul", a, b, { transposed, precision });
}

/**
 * Linear layer y = x Wᵀ + bias in the precision of x: x [..., in], weight [out, in], bias [out] -> [..., out]. Weight and bias
 * may be f32; their gradients then are f32 too.
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

interface ProductOptions {
  readonly transposed: Transposed;
  readonly bias?: Tensor | undefined;
  /** Precision of the result; by default that of the operands. */
  readonly precision?: Precision | undefined;
}

function multiply(what: string, a: Tensor, b: Tensor, options: ProductOptions): Tensor {
  return wholeOf(productOf(what, a, b, options));
}

/** The product; in partial sums over k if it is f32 and k is split. */
function productOf(what: string, a: Tensor, b: Tensor, { transposed, bias, precision }: ProductOptions): Gradient {
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
  const orientation = `${transposed.a ? "t" : "n"}${transposed.b ? "t" : "n"}`;
  const { device } = recording(what);
  const extent = `${orientation} ${batched ? `${batch} of ` : ""}${sizeClass(m, n, k)}`;
  const c = inHalves
    ? choose(`matmul f16 ${extent}`, f16Variants(strided, shape, precision ?? "f16"), f16Rule(device, strided))
    : choose(`matmul f32 ${extent}`, f32Variants(strided, shape), f32Rule(device, strided));

  const product = (x: Tensor, y: Tensor, sides: Transposed, result: Precision) =>
    productOf(what, x, y, { transposed: sides, precision: result });
  const backward: Backward = (dc) => [
    transposed.a
      ? product(right, dc, { a: transposed.b ?? false, b: true }, aPrecision)
      : product(dc, right, { b: !transposed.b }, aPrecision),
    transposed.b
      ? product(dc, left, { a: true, b: transposed.a ?? false }, bPrecision)
      : product(left, dc, { a: !transposed.a }, bPrecision),
    bias && leadingSums(dc, bias.shape),
  ];
  const onTape = (y: Tensor) => differentiable(y, bias ? [a, b, bias] : [a, b], backward);
  if (c.shape.length === shape.length) return onTape(c);
  const sums = sumOfParts(c, shape);
  if (inHalves && precision !== "f32") return onTape(cast(stopGradient(wholeOf(sums)), "f16"));
  return "parts" in sums ? { ...sums, onTape } : onTape(sums);
}

interface Product {
  readonly a: Tensor;
  readonly b: Tensor;
  readonly bias: Tensor | undefined;
  readonly batch: number;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** Strides of a along rows, k and batch, and of b along k, columns and batch. */
  readonly strides: readonly number[];
}

type F32Variant = "vectors" | "subgroups" | "tiles of 64" | "tiles of 128" | "matrices of 8";

/** Returns the kernel variants for f32 operands; split over k, they return partial sums [splits, ...shape]. */
function f32Variants(product: Product, shape: Shape): Readonly<Record<F32Variant, (() => Tensor) | undefined>> {
  const { a, b, bias, batch, m, n, k, strides } = product;
  const BIAS = bias ? 1 : 0;
  const onCpu = (variant: typeof inVectors, rows: number, cols: number) => () => {
    const c = transient(shape);
    const sizes = constant([9], [m, n, k, ...strides], { dtype: "u32", label: "matmul sizes" });
    const groups: Grid = [Math.ceil(n / cols), Math.ceil(m / rows), batch];
    variant({ a, b, bias: bias ?? b, sizes, c }, { BIAS }, groups); // without a bias any tensor, unread
    return c;
  };
  type Tensors = Readonly<Record<"a" | "b" | "bias" | "sizes" | "c", Tensor>>;
  const divided = (chosen: Tiling, note: (tensors: Tensors, groups: Grid) => void) => () => {
    const { splits, sizes, groups } = splitWork(product, chosen);
    const c = transient(splits === 1 ? shape : [splits, ...shape]);
    note({ a, b, bias: bias ?? b, sizes, c }, groups);
    return c;
  };
  const tiled = (side: Side) =>
    divided(tiling(side, product), (tensors, groups) => inTiles(tensors, { BIAS, SIDE: side }, groups));
  const onMatrices = divided(tiling(8, product, DEPTH_OF_8), (tensors, groups) =>
    onMatricesOf8.f32.f32(tensors, { BIAS, ...orientations(product) }, groups),
  );
  const { subgroupWidth, matricesOf8 } = recording("matmul").device;
  const inSubgroups = subgroupWidth === 8 ? inSubgroupsOf8 : subgroupWidth === 4 ? inSubgroupsOf4 : undefined;
  return {
    vectors: onCpu(inVectors, 8, 64),
    subgroups: inSubgroups && onCpu(inSubgroups, 16, 32),
    "tiles of 64": tiled(8),
    "tiles of 128": tiled(16),
    "matrices of 8": matricesOf8 && fitsQuads(product) ? onMatrices : undefined,
  };
}

function f32Rule({ kernels, subgroupWidth, matricesOf8 }: Device, product: Product): F32Variant {
  if (kernels === "gpu") return matricesOf8 && fitsQuads(product) ? "matrices of 8" : tilesRule(product);
  return subgroupWidth === 4 || subgroupWidth === 8 ? "subgroups" : "vectors";
}

type F16Variant = "tiles of 64" | "tiles of 128" | "tensor cores" | "matrices of 8";

/** Returns the kernel variants for f16 operands; split over k, they return partial sums [splits, ...shape] in f32. */
function f16Variants(
  product: Product,
  shape: Shape,
  precision: Precision,
): Readonly<Record<F16Variant, (() => Tensor) | undefined>> {
  const { a, b } = product;
  const BIAS = product.bias ? 1 : 0;
  type Tensors = Readonly<Record<"a" | "b" | "bias" | "sizes" | "c", Tensor>>;
  const divided = (chosen: Tiling, note: (tensors: Tensors, precision: Precision, groups: Grid) => void) => () => {
    const { splits, sizes, groups } = splitWork(product, chosen);
    const parts = splits === 1 ? precision : "f32";
    const c = transient(splits === 1 ? shape : [splits, ...shape], parts);
    note({ a, b, bias: product.bias ?? constant([], [0], { label: "no bias" }), sizes, c }, parts, groups);
    return c;
  };
  const tiled = (side: Side) =>
    divided(tiling(side, product), (tensors, parts, groups) =>
      inTilesOfHalves[parts](tensors, { BIAS, SIDE: side }, groups),
    );
  const onMatrices = divided(tiling(16, product, MATRIX_DEPTH), (tensors, parts, groups) =>
    onTensorCores[parts](tensors, { BIAS, ...orientations(product) }, groups),
  );
  const onSmallMatrices = divided(tiling(8, product, DEPTH_OF_8), (tensors, parts, groups) =>
    onMatricesOf8.f16[parts](tensors, { BIAS, ...orientations(product) }, groups),
  );
  const { device } = recording("matmul");
  return {
    "tiles of 64": tiled(8),
    "tiles of 128": tiled(16),
    "tensor cores": device.tensorCores && fitsQuads(product) ? onMatrices : undefined,
    "matrices of 8": device.matricesOf8 && fitsQuads(product) ? onSmallMatrices : undefined,
  };
}

function f16Rule({ tensorCores, matricesOf8 }: Device, product: Product): F16Variant {
  if (!fitsQuads(product)) return tilesRule(product);
  return tensorCores ? "tensor cores" : matricesOf8 ? "matrices of 8" : tilesRule(product);
}

/** Returns which operands lie along k in memory. */
function orientations({ strides: [, aAlongK, , bAlongK] }: Product) {
  return { A_ALONG_K: aAlongK === 1 ? 1 : 0, B_ALONG_K: bAlongK === 1 ? 1 : 0 };
}

/** Whether operands and result are contiguous in groups of four elements, which the kernels for tensor cores read and write. */
function fitsQuads({ m, n, k, strides }: Product): boolean {
  const [, aAlongK, , bAlongK] = strides;
  return n % 4 === 0 && (aAlongK === 1 ? k : m) % 4 === 0 && (bAlongK !== 1 || k % 4 === 0);
}

/** Returns the grid of a tiled product, and its sizes as the tiled kernels read them. */
function splitWork({ batch, m, n, k, strides }: Product, { side, splits, perSplit }: Tiling) {
  const sizes = constant([11], [m, n, k, ...strides, splits, perSplit], { dtype: "u32", label: "matmul sizes" });
  const groups: Grid = [Math.ceil(n / (8 * side)), Math.ceil(m / (8 * side)), batch * splits];
  return { splits, sizes, groups };
}

/** Number of workgroups that fills a large GPU: two for each of 128 multiprocessors. */
const MIN_GROUPS = 256;
/** Minimum length of a split of k, so that adding up the partial sums is cheap in comparison. */
const MIN_SPLIT = 256;
/** Depth in k of a tile of the tensor core kernels. */
const MATRIX_DEPTH = 32;
/** The same for 8 x 8 matrices. */
const DEPTH_OF_8 = 16;

type Extent = Pick<Product, "batch" | "m" | "n" | "k">;

/** Side of a tile divided by 8. */
type Side = 8 | 16;

interface Tiling {
  readonly side: Side;
  readonly splits: number;
  readonly perSplit: number;
}

/** Chooses tiles of 128 x 128, or of 64 x 64 if there would be too few large ones. */
function tilesRule(extent: Extent): "tiles of 64" | "tiles of 128" {
  return tilesOf(16, extent) >= MIN_GROUPS ? "tiles of 128" : "tiles of 64";
}

/**
 * Divides the work of tiled kernels. With few tiles and no batch, as in the gradients of weights, k is split into parts that
 * are multiples of `step`.
 */
function tiling(side: Side, extent: Extent, step = 1): Tiling {
  const { batch, k } = extent;
  const enough = Math.ceil(MIN_GROUPS / tilesOf(side, extent));
  const wanted = batch > 1 ? 1 : Math.max(1, Math.min(enough, Math.floor(k / MIN_SPLIT)));
  const perSplit = step * Math.ceil(k / wanted / step);
  return { side, splits: Math.ceil(k / perSplit), perSplit };
}

function tilesOf(side: Side, { batch, m, n }: Extent): number {
  return batch * Math.ceil(m / (8 * side)) * Math.ceil(n / (8 * side));
}

function axes2(what: string, x: Tensor, batched: 0 | 1): [number, number] {
  const { rows, cols } = batched ? axes(what, x, "batch", "rows", "cols") : axes(what, x, "rows", "cols");
  return [rows, cols];
}
