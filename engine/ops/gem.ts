import { elementGrid, kernel } from "../core/kernel.js";
import { differentiable, transient } from "../core/recording.js";
import { axes, sizeOf, type Tensor } from "../core/tensor.js";

const constants = ["TOKENS", "COLS", "POWER", "EPSILON"] as const;
const forward = kernel("gem", { reads: ["x"], writes: ["y"], constants });
const backward = kernel("gem-backward", { reads: ["x", "y", "dy"], writes: ["dx"], constants });

/** Options of `gem`. */
export interface GemOptions {
  /** Exponent above 0: 1 gives the mean, larger values approach the maximum. */
  readonly power: number;
  /** Lower bound that values are clamped to; above 0. */
  readonly epsilon?: number;
}

/**
 * Generalised mean (GeM) of each channel over the tokens: x [batch, tokens, cols] -> [batch, cols], all above 0.
 * Radenovic et al. 2018, eq. 3 (https://arxiv.org/abs/1711.02512).
 */
export function gem(x: Tensor, { power, epsilon = 1e-6 }: GemOptions): Tensor {
  if (!(power > 0)) throw new Error(`gem power: expected more than 0, got ${power}`);
  const { batch, tokens, cols } = axes("gem x", x, "batch", "tokens", "cols");
  const sizes = { TOKENS: tokens, COLS: cols, POWER: power, EPSILON: epsilon };
  const y = transient([batch, cols]);
  forward({ x, y }, sizes, elementGrid(batch * cols));
  return differentiable(y, [x], (dy) => {
    const dx = transient(x.shape);
    backward({ x, y, dy, dx }, sizes, elementGrid(sizeOf(x.shape)));
    return [dx];
  });
}
