import { elementGrid, kernel } from "../kernel.js";
import { differentiable, transient } from "../recording.js";
import { sizeOf, type Tensor } from "../tensor.js";
import { expectSuffix } from "./add.js";
import { sumLeading } from "./sum.js";

const forward = kernel("mul", { reads: ["a", "b"], writes: ["out"], constants: [] });
const scaling = kernel("scale", { reads: ["x"], writes: ["out"], constants: ["FACTOR"] });

/** Element-wise product, where b repeats along the leading axes of a: [..., ...b] * [...b] -> [..., ...b]. */
export function mul(a: Tensor, b: Tensor): Tensor {
  expectSuffix("mul", a, b);
  const out = transient(a.shape);
  forward({ a, b, out }, {}, elementGrid(sizeOf(a.shape)));
  return differentiable(out, [a, b], (dy) => [mul(dy, b), sumLeading(mul(dy, a), b.shape)]);
}

/** x times a number that is fixed when recorded: [...] -> [...]. A factor that changes is a scalar for `mul`. */
export function scale(x: Tensor, factor: number): Tensor {
  const out = transient(x.shape);
  scaling({ x, out }, { FACTOR: factor }, elementGrid(sizeOf(x.shape)));
  return differentiable(out, [x], (dy) => [scale(dy, factor)]);
}
