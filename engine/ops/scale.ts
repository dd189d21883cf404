import { elementGrid, kernel } from "../core/kernel.js";
import { sizeOf, type Tensor } from "../core/tensor.js";
import { differentiable, transient } from "../core/recording.js";

const forward = kernel("scale", { reads: ["x"], writes: ["out"], constants: ["FACTOR"] });

/** x times a number that is fixed when recorded: [...] -> [...]. A factor that changes is a scalar for `mul`. */
export function scale(x: Tensor, factor: number): Tensor {
  const out = transient(x.shape);
  forward({ x, out }, { FACTOR: factor }, elementGrid(sizeOf(x.shape)));
  return differentiable(out, [x], (dy) => [scale(dy, factor)]);
}
