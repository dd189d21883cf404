import { elementGrid, kernel } from "../core/kernel.js";
import { differentiable, transient } from "../core/recording.js";
import { axes, expectShape, sizeOf, type Tensor } from "../core/tensor.js";
import { fill } from "./fill.js";
import { leadingSums } from "./sum.js";

const selecting = kernel("select-rows", { reads: ["a", "b", "mask"], writes: ["out"], constants: ["COLS"] });

/**
 * Replaces the rows where the mask is not 0 by one row: x [..., cols], mask [...], row [cols] -> [..., cols]. The mask token of
 * masked image modelling, Zhou et al. 2022, section 3.1 (https://arxiv.org/abs/2111.07832).
 */
export function replaceRows(x: Tensor, mask: Tensor, row: Tensor): Tensor {
  const { cols } = axes("replaceRows x", x, "...rows", "cols");
  expectShape("replaceRows mask", mask, x.shape.slice(0, -1));
  expectShape("replaceRows row", row, [cols]);
  return differentiable(selectRows(x, row, mask), [x, row], (dy) => {
    const none = fill([cols], 0);
    return [selectRows(dy, none, mask), leadingSums(selectRows(none, dy, mask), [cols])];
  });
}

/** The rows of b where the mask is not 0, else those of a; one of the two may be a single row. Not differentiable. */
export function selectRows(a: Tensor, b: Tensor, mask: Tensor): Tensor {
  const cols = a.shape.at(-1)!;
  const out = transient([...mask.shape, cols]);
  selecting({ a, b, mask, out }, { COLS: cols }, elementGrid(sizeOf(out.shape)));
  return out;
}
