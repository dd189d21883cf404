import { kernel, runGrid } from "../kernel.js";
import { differentiable, transient } from "../recording.js";
import { formatShape, sameShape, sizeOf, type Tensor } from "../tensor.js";
import { sumLeading } from "./sum.js";

const byOne = kernel("add", { reads: ["a", "b"], writes: ["out"], constants: [] });
const byFour = kernel("add-vec4", { reads: ["a", "b"], writes: ["out"], constants: [] });

/** Sum, where b repeats along the leading axes of a: [..., ...b] + [...b] -> [..., ...b]. */
export function add(a: Tensor, b: Tensor): Tensor {
  expectSuffix("add", a, b);
  const out = transient(a.shape);
  const forward = sizeOf(b.shape) % 4 === 0 ? byFour : byOne;
  forward({ a, b, out }, {}, runGrid(sizeOf(a.shape)));
  return differentiable(out, [a, b], (dy) => [dy, sumLeading(dy, b.shape)]);
}

/** Throws unless the shape of b ends the shape of a. */
export function expectSuffix(what: string, a: Tensor, b: Tensor): void {
  if (!sameShape(a.shape.slice(a.shape.length - b.shape.length), b.shape)) {
    throw new Error(`${what}: b ${formatShape(b.shape)} is not the end of a ${formatShape(a.shape)}`);
  }
}
