import { type Grid, kernel } from "../kernel.js";
import { constant, differentiable, reshape, transient } from "../recording.js";
import { axes, formatShape, type Tensor } from "../tensor.js";
import { sumLeading } from "./sum.js";

const product = kernel("matmul", { reads: ["a", "b", "bias", "sizes"], writes: ["c"], constants: ["BIAS"] });

/** Rows and columns that a workgroup of `matmul.wgsl` makes. */
const TILE = { rows: 8, cols: 64 };

export interface Transposed {
  /** a is stored [..., K, M]. */
  readonly a?: boolean;
  /** b is stored [..., N, K]. */
  readonly b?: boolean;
}

/**
 * Matrix product: [M, K] x [K, N] -> [M, N], or with one leading batch axis on both, [batch, M, K] x [batch, K, N].
 * Operands may be stored transposed. Throws where the inner axes or the batches differ.
 */
export function matmul(a: Tensor, b: Tensor, transposed: Transposed = {}): Tensor {
  return multiply("matmul", a, b, transposed, undefined);
}

/** Linear layer y = x Wᵀ + bias: x [..., in], weight [out, in], bias [out] -> [..., out]. */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  const { rows, cols } = axes("linear x", x, "...rows", "cols");
  const { out } = axes("linear weight", weight, "out", "in");
  if (bias) axes("linear bias", bias, "out");
  const y = multiply("linear", reshape(x, [rows, cols]), weight, { b: true }, bias);
  return reshape(y, [...x.shape.slice(0, -1), out]);
}

function multiply(what: string, a: Tensor, b: Tensor, transposed: Transposed, bias: Tensor | undefined): Tensor {
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

  const c = transient(batched ? [batch, m, n] : [m, n]);
  const aStrides = transposed.a ? [1, m, m * k] : [k, 1, m * k];
  const bStrides = transposed.b ? [1, k, k * n] : [n, 1, k * n];
  const sizes = constant([9], [m, n, k, ...aStrides, ...bStrides], { dtype: "u32", label: "matmul sizes" });
  const groups: Grid = [Math.ceil(n / TILE.cols), Math.ceil(m / TILE.rows), batch];
  product({ a, b, bias: bias ?? b, sizes, c }, { BIAS: bias ? 1 : 0 }, groups); // without a bias any tensor, unread

  return differentiable(c, bias ? [a, b, bias] : [a, b], (dc) => [
    transposed.a ? matmul(b, dc, { a: transposed.b ?? false, b: true }) : matmul(dc, b, { b: !transposed.b }),
    transposed.b ? matmul(dc, a, { a: true, b: transposed.a ?? false }) : matmul(a, dc, { a: !transposed.a }),
    bias && sumLeading(dc, bias.shape),
  ]);
}

function axes2(what: string, x: Tensor, batched: 0 | 1): [number, number] {
  const { rows, cols } = batched ? axes(what, x, "batch", "rows", "cols") : axes(what, x, "rows", "cols");
  return [rows, cols];
}
