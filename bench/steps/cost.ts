/** Predicted cost of a training step: dispatches, bytes and operations by kernel, and the time on named cards. */
import { type RecordedDispatch, sizeOf } from "../../engine/index.js";
import { figure } from "../figures/format.js";
import { type Card, cards } from "./cards.js";

/** Cost of one dispatch, or of several. */
export interface Cost {
  readonly dispatches: number;
  readonly workgroups: number;
  /** Bytes of the bound tensors, each counted once. */
  readonly bytes: number;
  /** Further bytes by which the tiles of a product read its operands again; a cache may serve them. */
  readonly rereadBytes: number;
  /** Floating-point operations of products and attention; other kernels wait for memory. */
  readonly flops: number;
  /** Milliseconds on each of `cards`. */
  readonly ms: readonly number[];
}

export interface KernelCost extends Cost {
  readonly kernel: string;
}

/** Matrix products in a workgroup's share of [tokens, tokens] by kernel of attention, and by its PART. */
const ATTENTION_PRODUCTS: Readonly<Record<string, readonly number[]>> = {
  "attention-tiled": [2],
  "attention-tiled-f16": [2],
  "attention-subgroup-matrix": [2],
  "attention-tiled-backward": [3, 3, 2],
  "attention-tiled-backward-f16": [3, 3, 2],
  "attention-subgroup-matrix-backward": [3, 4],
};

/** Sums the cost of the dispatches of each kernel, the largest first. */
export function costByKernel(recorded: readonly RecordedDispatch[]): readonly KernelCost[] {
  const kernels = new Map<string, Cost>();
  for (const dispatch of recorded) {
    const before = kernels.get(dispatch.kernel) ?? NOTHING;
    kernels.set(dispatch.kernel, sum(before, costOf(dispatch)));
  }
  return [...kernels].map(([kernel, cost]) => ({ kernel, ...cost })).sort((a, b) => b.bytes - a.bytes);
}

/** Computes the cost of a dispatch, alone on the card: the longer of memory and arithmetic, and the wait for its start. */
export function costOf(dispatch: RecordedDispatch): Cost {
  const { grid, tensors } = dispatch;
  const bytes = Object.values(tensors).reduce((total, x) => total + x.bytes, 0);
  const flops = flopsOf(dispatch);
  const inHalves = Object.values(tensors).some(({ dtype }) => dtype === "f16");
  const ms = cards.map(({ gbPerS, f16Tflops, f32Tflops, shares, usPerDispatch }) => {
    const memoryMs = bytes / (gbPerS * shares.memory) / 1e6;
    const productMs = flops / ((inHalves ? f16Tflops : f32Tflops) * shares.products) / 1e9;
    return Math.max(memoryMs, productMs) + usPerDispatch / 1000;
  });
  return {
    dispatches: 1,
    workgroups: grid.reduce((product, axis) => product * axis, 1),
    bytes,
    rereadBytes: rereadBytesOf(dispatch),
    flops,
    ms,
  };
}

const NOTHING: Cost = { dispatches: 0, workgroups: 0, bytes: 0, rereadBytes: 0, flops: 0, ms: cards.map(() => 0) };

function sum(a: Cost, b: Cost): Cost {
  return {
    dispatches: a.dispatches + b.dispatches,
    workgroups: a.workgroups + b.workgroups,
    bytes: a.bytes + b.bytes,
    rereadBytes: a.rereadBytes + b.rereadBytes,
    flops: a.flops + b.flops,
    ms: a.ms.map((ms, card) => ms + b.ms[card]!),
  };
}

function flopsOf({ kernel, constants, tensors }: RecordedDispatch): number {
  const { a, c, qkv, lse } = tensors;
  if (isProduct(kernel)) return 2 * sizeOf(a!.shape) * c!.shape.at(-1)!;
  const products = ATTENTION_PRODUCTS[kernel]?.[constants["PART"] ?? 0];
  if (products === undefined) return 0;
  const [batch, , tokens] = lse!.shape as readonly [number, number, number];
  const dim = qkv!.shape.at(-1)! / 3;
  return products * 2 * batch * tokens ** 2 * dim;
}

/** A column of tiles reads all of a, a row of tiles all of b. */
function rereadBytesOf({ kernel, grid: [across, down], tensors: { a, b } }: RecordedDispatch): number {
  return isProduct(kernel) ? (across - 1) * a!.bytes + (down - 1) * b!.bytes : 0;
}

function isProduct(kernel: string): boolean {
  return kernel.startsWith("matmul");
}

/** Formats costs as a table: a kernel a line, and the totals in the last one. */
export function costTable(costs: readonly KernelCost[]): readonly string[] {
  const total = costs.reduce(sum, NOTHING);
  const line = (name: string, columns: readonly string[]) =>
    `  ${name.padEnd(36)}${columns.map((text) => text.padStart(11)).join("")}`;
  const row = (name: string, { dispatches, workgroups, bytes, rereadBytes, flops, ms }: Cost) =>
    line(name, [
      String(dispatches),
      String(workgroups),
      (bytes / 1e9).toFixed(2),
      (rereadBytes / 1e9).toFixed(2),
      (flops / 1e9).toFixed(0),
      ...ms.map(figure),
    ]);
  return [
    "predicted milliseconds, from assumed shares of each card's peak:",
    ...cards.map(describeCard),
    line("kernel", ["dispatches", "workgroups", "GB", "GB reread", "GFLOP", ...cards.map(({ name }) => name)]),
    ...costs.map((cost) => row(cost.kernel, cost)),
    row("total", total),
  ];
}

function describeCard({ name, gbPerS, f32Tflops, f16Tflops, usPerDispatch, shares }: Card): string {
  const memory = `${100 * shares.memory} % of ${gbPerS} GB/s`;
  const products = `${100 * shares.products} % of ${f16Tflops} TFLOP/s in f16, ${f32Tflops} in f32`;
  return `  ${name.padEnd(12)}${memory}, ${products}, ${usPerDispatch} us a dispatch`;
}
