import { elementGrid, kernel } from "../core/kernel.js";
import { differentiable, transient } from "../core/recording.js";
import { sizeOf, type Tensor } from "../core/tensor.js";

const forward = kernel("scale", { reads: ["x"], writes: ["out"], constants: ["FACTOR"] });

/** Multiplies x by a number that is fixed when recorded: [...] -> [...]. For a factor that changes, use `mul` with a scalar. */
export function scale(x: Tensor, factor: number): Tensor {
  const out = transient(x.shape);
  forward({ x, out }, { FACTOR: factor }, elementGrid(sizeOf(x.shape)));
  return differentiable(out, [x], (dy) => [scale(dy, factor)]);
}
