import { kernel, runGrid } from "../kernel.js";
import { differentiable, transient } from "../recording.js";
import { sizeOf, type Tensor } from "../tensor.js";

const forward = kernel("gelu", { reads: ["x"], writes: ["y"], constants: [] });
const backward = kernel("gelu-backward", { reads: ["x", "dy"], writes: ["dx"], constants: [] });

/** The exact (erf) GELU: [...] -> [...]. Hendrycks & Gimpel 2016, eq. 2 (https://arxiv.org/abs/1606.08415). */
export function gelu(x: Tensor): Tensor {
  const y = transient(x.shape);
  forward({ x, y }, {}, runGrid(sizeOf(x.shape)));
  return differentiable(y, [x], (dy) => {
    const dx = transient(x.shape);
    backward({ x, dy, dx }, {}, runGrid(sizeOf(x.shape)));
    return [dx];
  });
}
