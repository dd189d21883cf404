import { elementGrid, kernel } from "../core/kernel.js";
import { differentiable, transient } from "../core/recording.js";
import { expectSuffix, sizeOf, type Tensor } from "../core/tensor.js";
import { leadingSums } from "./sum.js";

const forward = kernel("mul", { reads: ["a", "b"], writes: ["out"], constants: [] });

/** Element-wise product; b is broadcast along the leading axes of a: [..., ...b] * [...b] -> [..., ...b]. */
export function mul(a: Tensor, b: Tensor): Tensor {
  expectSuffix("mul: b", b.shape, a.shape, "a ");
  const out = transient(a.shape);
  forward({ a, b, out }, {}, elementGrid(sizeOf(a.shape)));
  return differentiable(out, [a, b], (dy) => [mul(dy, b), leadingSums(mul(dy, a), b.shape)]);
}
