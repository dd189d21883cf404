import { elementGrid, kernel } from "../core/kernel.js";
import { expectShape, sizeOf, type Tensor } from "../core/tensor.js";

const updating = kernel("moving-average", {
  reads: ["x"],
  writes: [],
  updates: ["average"],
  constants: ["KEEP", "ADD"],
});

/** Updates in place: average = keep * average + add * x. Two factors are passed so that 1 - momentum is rounded only once. */
export function updateAverage(average: Tensor, x: Tensor, { keep, add }: { keep: number; add: number }): void {
  expectShape("updateAverage x", x, average.shape);
  updating({ x, average }, { KEEP: keep, ADD: add }, elementGrid(sizeOf(average.shape)));
}
