import { kernel, runGrid } from "../core/kernel.js";
import { differentiable, type Dispatch, recording, stopGradient, transient } from "../core/recording.js";
import { type Precision, precisionOf, sizeOf, type Tensor } from "../core/tensor.js";

const conversion = { reads: ["x"], writes: ["y"], constants: [] } as const;
const conversions = { f16: kernel("cast-f16", conversion), f32: kernel("cast-f32", conversion) };

/** Converts to another precision: [...] -> [...]. Returns x itself if it has that precision already. */
export function cast(x: Tensor, precision: Precision): Tensor {
  if (x.dtype === precision) return x;
  const from = precisionOf("cast x", x);
  const y = transient(x.shape, precision);
  conversions[precision]({ x, y }, {}, runGrid(sizeOf(x.shape)));
  return differentiable(y, [x], (dy) => [cast(dy, from)]);
}

/**
 * Rounds an operand to f16, off the tape: [...] -> [...]. A parameter is rounded once per recording and reused until it is
 * written.
 */
export function half(x: Tensor): Tensor {
  const { halves, dispatches } = recording("half");
  const { storage } = x;
  if (storage.kind === "transient") return cast(stopGradient(x), "f16");
  const known = halves.get(storage);
  const writes = ({ kernel: launched, tensors }: Dispatch) =>
    launched.bindings.some(({ name, access }) => {
      const written = tensors[name]!.storage;
      return access !== "read" && written.kind === "resident" && written.buffer === storage.buffer;
    });
  const isSame = known?.offset === x.offset && sizeOf(known.half.shape) === sizeOf(x.shape);
  if (isSame && !dispatches.slice(known.after).some(writes)) return { ...known.half, shape: x.shape };
  const rounded = cast(stopGradient(x), "f16");
  halves.set(storage, { half: rounded, offset: x.offset, after: dispatches.length });
  return rounded;
}
