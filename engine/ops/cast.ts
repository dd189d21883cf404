import { kernel, runGrid } from "../core/kernel.js";
import { type Params, type ParamSpec, runsOf } from "../core/params.js";
import { differentiable, type Dispatch, recording, stopGradient, transient } from "../core/recording.js";
import { BYTES_PER_ELEMENT, type Precision, precisionOf, sizeOf, type Storage, type Tensor } from "../core/tensor.js";

const conversion = { reads: ["x"], writes: ["y"], constants: [] } as const;
const conversions = { f16: kernel("cast-f16", conversion), f32: kernel("cast-f32", conversion) };
const byFour = kernel("cast-f16-vec4", conversion);

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

/**
 * Rounds many parameters to f16 in one dispatch, for operations that round them one by one: all from the first to the last of those
 * that `selects`.
 */
export function halfOfAll(params: Params, selects: (parameter: ParamSpec) => boolean): void {
  const { entries } = params.layout;
  const last = entries.findLastIndex(selects);
  const chosen = entries.slice(entries.findIndex(selects), last + 1);
  if (chosen.every(({ name }) => knownHalf(params.get(name)))) return;
  const { maxStorageBufferBindingSize } = recording("halfOfAll").device.limits;
  for (const run of runsOf(chosen, maxStorageBufferBindingSize)) {
    const all: Tensor = { ...params.flat, shape: [run.end - run.start], offset: run.start * BYTES_PER_ELEMENT };
    const rounded = convert(all, "f16");
    for (const { name, shape, offset } of run.entries)
      noteHalf(params.get(name), { ...rounded, shape, offset: ((offset - run.start) * BYTES_PER_ELEMENT) / 2 });
  }
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
  const size = sizeOf(x.shape);
  const kernelOf = precision === "f16" && size % 4 === 0 ? byFour : conversions[precision];
  kernelOf({ x, y }, {}, runGrid(size));
  return y;
}
