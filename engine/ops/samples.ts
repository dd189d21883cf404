import { elementGrid, kernel } from "../core/kernel.js";
import { differentiable, transient } from "../core/recording.js";
import {
  expectShape,
  formatShape,
  type Precision,
  precisionOf,
  type Shape,
  sizeOf,
  type Tensor,
} from "../core/tensor.js";
import { cast } from "./cast.js";

const gathering = { reads: ["x", "order"], writes: ["y"], constants: ["SIZE", "FACTOR"] } as const;
const scattering = {
  reads: ["base", "part", "order"],
  writes: ["out"],
  constants: ["SIZE", "COUNT", "FACTOR", "ADDS"],
} as const;
const gatherByOne = kernel("gather-samples", gathering);
const scatterByOne = kernel("scatter-samples", scattering);
/** Kernels for four elements of a thread, by the precision of the part. */
const gatherByFour = {
  f32: kernel("gather-samples-vec4", gathering),
  f16: kernel("gather-samples-vec4-f16", gathering),
};
const scatterByFour = {
  f32: kernel("scatter-samples-vec4", scattering),
  f16: kernel("scatter-samples-vec4-f16", scattering),
};

/**
 * Takes the first `count` samples in the order of a permutation: x [batch, ...] in f32, order [batch] u32 -> [count, ...]. With
 * `addToSamples` it computes a residual branch on a part of the batch only, which drops it for the others: DINOv2, section 5,
 * "Efficient stochastic depth" (https://arxiv.org/abs/2304.07193).
 */
export function takeSamples(x: Tensor, order: Tensor, count: number): Tensor {
  const [batch = 1, ...sample] = x.shape;
  expectOrder("takeSamples", order, batch);
  if (!(count >= 1 && count <= batch)) throw new Error(`takeSamples: expected 1 to ${batch} samples, got ${count}`);
  const y = gather(x, order, { shape: [count, ...sample], factor: 1, precision: "f32" });
  return differentiable(y, [x], (dy, take) => [scatter(dy, order, { base: take(0), factor: 1, batch })]);
}

/**
 * Adds a branch, times a factor, to the samples it was computed for, the first in the order of a permutation: x [batch, ...] in f32,
 * branch [count, ...] in f32 or f16, order [batch] u32 -> [batch, ...].
 */
export function addToSamples(x: Tensor, branch: Tensor, order: Tensor, factor: number): Tensor {
  const [batch = 1, ...sample] = x.shape;
  const [count = 1] = branch.shape;
  expectOrder("addToSamples", order, batch);
  expectShape("addToSamples branch", branch, [count, ...sample]);
  if (count > batch) throw new Error(`addToSamples: branch ${formatShape(branch.shape)} exceeds the batch of ${batch}`);
  const precision = precisionOf("addToSamples branch", branch);
  const out = scatter(branch, order, { base: x, factor, batch });
  return differentiable(out, [x, branch], (dy) => [dy, gather(dy, order, { shape: branch.shape, factor, precision })]);
}

function expectOrder(what: string, order: Tensor, batch: number): void {
  if (order.dtype !== "u32") throw new Error(`${what} order: expected u32, got ${order.dtype}`);
  expectShape(`${what} order`, order, [batch]);
}

interface Gathering {
  readonly shape: Shape;
  readonly factor: number;
  readonly precision: Precision;
}

/** factor * x[order[j]] for each j of `shape`. */
function gather(x: Tensor, order: Tensor, { shape, factor, precision }: Gathering): Tensor {
  const size = sizeOf(shape.slice(1));
  const inFours = size % 4 === 0;
  if (!inFours && precision === "f16") return cast(gather(x, order, { shape, factor, precision: "f32" }), "f16");
  const y = transient(shape, precision);
  const constants = { SIZE: size, FACTOR: factor };
  if (inFours) gatherByFour[precision]({ x, order, y }, constants, elementGrid(sizeOf(shape) / 4));
  else gatherByOne({ x, order, y }, constants, elementGrid(sizeOf(shape)));
  return y;
}

interface Scattering {
  /** Added, if given: [batch, ...]. */
  readonly base: Tensor | undefined;
  readonly factor: number;
  readonly batch: number;
}

/** factor * part[j] at order[j], 0 where there is no part, plus the base. */
function scatter(part: Tensor, order: Tensor, { base, factor, batch }: Scattering): Tensor {
  const [count, ...sample] = part.shape as [number, ...number[]];
  const size = sizeOf(sample);
  const inFours = size % 4 === 0;
  const precision = precisionOf("addToSamples branch", part);
  if (!inFours && precision === "f16") return scatter(cast(part, "f32"), order, { base, factor, batch });
  const out = transient([batch, ...sample]);
  const tensors = { base: base ?? part, part, order, out }; // without a base the part, unread
  const constants = { SIZE: size, COUNT: count, FACTOR: factor, ADDS: base ? 1 : 0 };
  if (inFours) scatterByFour[precision](tensors, constants, elementGrid(sizeOf(out.shape) / 4));
  else scatterByOne(tensors, constants, elementGrid(sizeOf(out.shape)));
  return out;
}
