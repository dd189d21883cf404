import { elementGrid, kernel } from "../core/kernel.js";
import { differentiable, transient } from "../core/recording.js";
import { expectShape, precisionOf, sizeOf, type Tensor } from "../core/tensor.js";

const forwards = { reads: ["x", "uniform"], writes: ["y"], constants: ["PROBABILITY"] } as const;
const dropping = { f32: kernel("drop-path", forwards), f16: kernel("drop-path-f16", forwards) };

/**
 * Drops whole samples and rescales the others, in the precision of x: x [batch, ...], uniform [batch] in [0, 1) -> [batch, ...].
 * A sample stays where 1 - probability + uniform >= 1. Huang et al. 2016 (https://arxiv.org/abs/1603.09382).
 */
export function dropPath(x: Tensor, uniform: Tensor, probability: number): Tensor {
  if (!(probability >= 0 && probability < 1))
    throw new Error(`dropPath: expected a probability in [0, 1), got ${probability}`);
  expectShape("dropPath uniform", uniform, [x.shape[0] ?? 1]);
  const precision = precisionOf("dropPath x", x);
  const y = transient(x.shape, precision);
  dropping[precision]({ x, uniform, y }, { PROBABILITY: probability }, elementGrid(sizeOf(x.shape)));
  return differentiable(y, [x], (dy) => [dropPath(dy, uniform, probability)]);
}
