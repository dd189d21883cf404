import { kernel, runGrid } from "../core/kernel.js";
import { differentiable, transient } from "../core/recording.js";
import { precisionOf, sizeOf, type Tensor } from "../core/tensor.js";

const forwards = { reads: ["x"], writes: ["y"], constants: [] } as const;
const backwards = { reads: ["x", "dy"], writes: ["dx"], constants: [] } as const;
const forward = { f32: kernel("gelu", forwards), f16: kernel("gelu-f16", forwards) };
const backward = { f32: kernel("gelu-backward", backwards), f16: kernel("gelu-backward-f16", backwards) };

/** The exact (erf) GELU in the precision of x: [...] -> [...]. Hendrycks & Gimpel 2016, eq. 2 (https://arxiv.org/abs/1606.08415). */
export function gelu(x: Tensor): Tensor {
  const precision = precisionOf("gelu x", x);
  const y = transient(x.shape, precision);
  forward[precision]({ x, y }, {}, runGrid(sizeOf(x.shape)));
  return differentiable(y, [x], (dy) => {
    const dx = transient(x.shape, precision);
    backward[precision]({ x, dy, dx }, {}, runGrid(sizeOf(x.shape)));
    return [dx];
  });
}
