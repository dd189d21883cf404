import { elementGrid, kernel } from "../core/kernel.js";
import { differentiable, transient } from "../core/recording.js";
import { expectShape, formatShape, precisionOf, rowsOf, sizeOf, type Tensor } from "../core/tensor.js";

const forwards = { reads: ["x", "uniform"], writes: ["y"], constants: ["PROBABILITY"] } as const;
const dropping = { f32: kernel("drop-path", forwards), f16: kernel("drop-path-f16", forwards) };

/** Samples of equal size, which lie one after another in `rows` entries of the first axis. */
export interface Samples {
  /** Numbers in [0, 1), one for each sample. */
  readonly uniform: Tensor;
  readonly rows: number;
}

/**
 * Drops whole samples and rescales the others, in the precision of x: x [rows, ...], the rows of all `groups` -> [rows, ...]. A sample
 * stays where 1 - probability + uniform >= 1. Huang et al. 2016 (https://arxiv.org/abs/1603.09382). Throws if the samples do not
 * divide their rows, or kernels cannot bind each group; see `fitOneTensor`.
 */
export function dropPath(x: Tensor, groups: readonly Samples[], probability: number): Tensor {
  if (!(probability >= 0 && probability < 1))
    throw new Error(`dropPath: expected a probability in [0, 1), got ${probability}`);
  const precision = precisionOf("dropPath x", x);
  const total = groups.reduce((sum, { rows }) => sum + rows, 0);
  expectShape("dropPath x", x, x.shape.with(0, total));
  const y = transient(x.shape, precision);
  let first = 0;
  for (const { uniform, rows } of groups) {
    if (rows % sizeOf(uniform.shape) !== 0)
      throw new Error(`dropPath uniform: ${formatShape(uniform.shape)} does not divide ${rows} rows`);
    const [from, to] = [rowsOf(x, first, rows), rowsOf(y, first, rows)];
    dropping[precision]({ x: from, uniform, y: to }, { PROBABILITY: probability }, elementGrid(sizeOf(from.shape)));
    first += rows;
  }
  return differentiable(y, [x], (dy) => [dropPath(dy, groups, probability)]);
}
