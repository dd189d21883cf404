import { elementGrid, kernel } from "../core/kernel.js";
import { transient } from "../core/recording.js";
import { formatShape, type Shape, sizeOf, type Tensor } from "../core/tensor.js";

const filling = kernel("fill", { reads: [], writes: ["out"], constants: ["VALUE"] });
const copying = kernel("copy", { reads: ["x"], writes: ["out"], constants: [] });

/** Fills a tensor with one value; creates it unless `out` is given. */
export function fill(shape: Shape, value: number, out: Tensor = transient(shape)): Tensor {
  filling({ out }, { VALUE: value }, elementGrid(sizeOf(shape)));
  return out;
}

/** Copies the elements of `x` into `out` of the same number of elements; not differentiable. */
export function copy(x: Tensor, out: Tensor): void {
  if (sizeOf(x.shape) !== sizeOf(out.shape))
    throw new Error(
      `copy: x ${formatShape(x.shape)} and out ${formatShape(out.shape)} differ in their number of elements`,
    );
  copying({ x, out }, {}, elementGrid(sizeOf(out.shape)));
}
