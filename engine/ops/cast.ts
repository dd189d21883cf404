import { kernel, runGrid } from "../core/kernel.js";
import { differentiable, type Dispatch, recording, stopGradient, transient } from "../core/recording.js";
import { type Precision, precisionOf, sizeOf, type Storage, type Tensor } from "../core/tensor.js";

const conversion = { reads: ["x"], writes: ["y"], constants: [] } as const;
const conversions = { f16: kernel("cast-f16", conversion), f32: kernel("cast-f32", conversion) };

/** Converts to another precision: [...] -> [...]. Returns x itself if it has that precision already. */
export function cast(x: Tensor, precision: Precision): Tensor {
  if (x.dtype === precision) return x;
  const from = precisionOf("cast x", x);
  const known = precision === "f16" ? knownHalf(x) : undefined;
  return differentiable(known ?? convert(x, precision), [x], (dy) => [cast(dy, from)]);
}

/**
 * Rounds an operand to f16, off the tape: [...] -> [...]. A parameter is rounded once per recording and reused until it is
 * written.
 */
export function half(x: Tensor): Tensor {
  if (x.dtype === "f16") return stopGradient(x);
  const known = knownHalf(x);
  if (known) return known;
  const rounded = convert(x, "f16");
  if (x.storage.kind === "resident") noteHalf(x, rounded);
  return rounded;
}

/** Notes that `rounded` holds x in f16, for whoever rounds x until it is written again. */
export function noteHalf({ storage, offset }: Tensor, rounded: Tensor): void {
  const { halves, dispatches } = recording("noteHalf");
  halves.set(storage, { half: rounded, offset, after: dispatches.length });
}

function knownHalf({ storage, offset, shape }: Tensor): Tensor | undefined {
  const { halves, dispatches } = recording("knownHalf");
  const known = halves.get(storage);
  if (known?.offset !== offset || sizeOf(known.half.shape) !== sizeOf(shape)) return undefined;
  const memoryOf = (each: Storage) => (each.kind === "resident" ? each.buffer : each);
  const writes = ({ kernel: launched, tensors }: Dispatch) =>
    launched.bindings.some(
      ({ name, access }) => access !== "read" && memoryOf(tensors[name]!.storage) === memoryOf(storage),
    );
  return dispatches.slice(known.after).some(writes) ? undefined : { ...known.half, shape };
}

function convert(x: Tensor, precision: Precision): Tensor {
  const y = transient(x.shape, precision);
  conversions[precision]({ x, y }, {}, runGrid(sizeOf(x.shape)));
  return y;
}
