import { elementGrid, kernel } from "../core/kernel.js";
import { differentiable, transient } from "../core/recording.js";
import { axes, expectShape, precisionOf, sizeOf, type Tensor } from "../core/tensor.js";

const forwards = { reads: ["gate", "value"], writes: ["y"], constants: ["HIDDEN", "STRIDE", "START"] } as const;
const backwards = { reads: ["gate", "value", "dy"], writes: ["dGate", "dValue"], constants: [] } as const;
const packedBackwards = { reads: ["x", "dy"], writes: ["dx"], constants: ["HIDDEN"] } as const;
const forward = { f32: kernel("swiglu", forwards), f16: kernel("swiglu-f16", forwards) };
const backward = { f32: kernel("swiglu-backward", backwards), f16: kernel("swiglu-backward-f16", backwards) };
const packedBackward = {
  f32: kernel("swiglu-packed-backward", packedBackwards),
  f16: kernel("swiglu-packed-backward-f16", packedBackwards),
};

/**
 * silu(gate) * value, silu(x) = x * sigmoid(x), in the precision of both: gate, value [..., hidden] -> [..., hidden].
 * Shazeer 2020, eq. 5 (https://arxiv.org/abs/2002.05202). Throws unless hidden is a multiple of four.
 */
export function swiglu(gate: Tensor, value: Tensor): Tensor {
  const { hidden } = axes("swiglu gate", gate, "...rows", "hidden");
  expectShape("swiglu value", value, gate.shape);
  expectFours(hidden);
  const precision = precisionOf("swiglu gate", gate);
  if (value.dtype !== precision) throw new Error(`swiglu value: expected ${precision} as gate, got ${value.dtype}`);
  const y = transient(gate.shape, precision);
  const fours = elementGrid(sizeOf(y.shape) / 4);
  forward[precision]({ gate, value, y }, { HIDDEN: hidden, STRIDE: hidden, START: 0 }, fours);
  return differentiable(y, [gate, value], (dy) => {
    const [dGate, dValue] = [transient(gate.shape, precision), transient(gate.shape, precision)];
    backward[precision]({ gate, value, dy, dGate, dValue }, {}, fours);
    return [dGate, dValue];
  });
}

/** `swiglu` of the first and the last half of the columns, in the precision of x: [..., 2 * hidden] -> [..., hidden]. */
export function packedSwiglu(x: Tensor): Tensor {
  const { width } = axes("packedSwiglu x", x, "...rows", "width");
  const hidden = width / 2;
  expectFours(hidden);
  const precision = precisionOf("packedSwiglu x", x);
  const y = transient([...x.shape.slice(0, -1), hidden], precision);
  const fours = elementGrid(sizeOf(y.shape) / 4);
  forward[precision]({ gate: x, value: x, y }, { HIDDEN: hidden, STRIDE: width, START: hidden }, fours);
  return differentiable(y, [x], (dy) => {
    const dx = transient(x.shape, precision);
    packedBackward[precision]({ x, dy, dx }, { HIDDEN: hidden }, fours);
    return [dx];
  });
}

function expectFours(hidden: number): void {
  if (hidden % 4 !== 0) throw new Error(`swiglu: expected a hidden width that is a multiple of 4, got ${hidden}`);
}
