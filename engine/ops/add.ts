import { kernel, runGrid } from "../core/kernel.js";
import { differentiable, transient } from "../core/recording.js";
import { expectSuffix, precisionOf, sameShape, sizeOf, type Tensor } from "../core/tensor.js";
import { cast } from "./cast.js";
import { wholeOf } from "./partial-sums.js";
import { leadingSums } from "./sum.js";

const forwards = { reads: ["a", "b"], writes: ["out"], constants: [] } as const;
const byFour = kernel("add-vec4", forwards);
/** Kernels for one element at a time, by the precision of b. */
const byOne = { f32: kernel("add", forwards), f16: kernel("add-f16", forwards) };

/** Sum in the precision of a; b is broadcast along the leading axes of a: [..., ...b] + [...b] -> [..., ...b]. */
export function add(a: Tensor, b: Tensor): Tensor {
  expectSuffix("add: b", b.shape, a.shape, "a ");
  if (a.dtype === "f16") return cast(add(cast(a, "f32"), b), "f16"); // rounded once
  const precision = sameShape(a.shape, b.shape) ? precisionOf("add b", b) : "f32";
  const out = transient(a.shape);
  const forward = precision === "f32" && sizeOf(b.shape) % 4 === 0 ? byFour : byOne[precision];
  forward({ a, b: cast(b, precision), out }, {}, runGrid(sizeOf(a.shape)));
  return differentiable(out, [a, b], (dy) => {
    const db = leadingSums(dy, b.shape);
    return [dy, b.dtype === "f16" ? cast(wholeOf(db), "f16") : db];
  });
}
