import { type Device, expectF16 } from "./device.js";
import { input, type Input } from "./memory.js";
import {
  bytesOf,
  checkShape,
  type DType,
  type HostDType,
  type Resident,
  type Shape,
  sizeOf,
  type Tensor,
  type Transient,
} from "./tensor.js";

/** Workgroups along x, y and z; an axis holds 65535 at most. */
export type Grid = readonly [number, number, number];

type Access = "read" | "write" | "update";

/** A binding of a kernel, by its name in the WGSL file. */
export interface Binding {
  readonly name: string;
  readonly access: Access;
}

/** A WGSL file and what its declaration says of it. */
export interface Kernel {
  readonly file: string;
  readonly bindings: readonly Binding[];
  readonly constants: readonly string[];
}

/** One launch of a kernel, as written down. */
export interface Dispatch {
  readonly kernel: Kernel;
  readonly tensors: Readonly<Record<string, Tensor>>;
  readonly constants: Readonly<Record<string, number>>;
  readonly grid: Grid;
  /** What was decided when it was noted, in the words of `choose`. */
  readonly decision: string | undefined;
  /** What the host does instead of a kernel. */
  readonly work?: HostWork;
}

/** Reads what came from the device, and fills in what goes back to it; both are the device's only for the while. */
export type HostWork = (from: ArrayBuffer, to: ArrayBuffer) => Promise<void>;

/** A choice between several ways to do one thing. */
export interface Decision {
  /** The operation and the class of its sizes. */
  readonly what: string;
  readonly ways: readonly string[];
  readonly way: string;
}

/** Takes the gradient of an output to the gradients of the inputs, in their order; undefined where there is none. */
export type Backward = (dy: Tensor) => readonly (Tensor | undefined)[];

export interface TapeEntry {
  readonly output: Tensor;
  readonly inputs: readonly Tensor[];
  readonly backward: Backward;
}

/** What a running `record()` writes down. */
export interface Recording {
  readonly device: Device;
  readonly dispatches: Dispatch[];
  readonly tape: TapeEntry[];
  /** Tensors of fixed numbers; their memory lives as long as the program. */
  readonly constants: Input[];
  /** Parameters that were rounded to f16: where they begin, and the number of dispatches before it. */
  readonly halves: Map<Resident, { readonly half: Tensor; readonly offset: number; readonly after: number }>;
  /** By what they decide. */
  readonly decisions: Map<string, Decision>;
  /** The decision that dispatches are part of at the moment. */
  readonly deciding: { what: string | undefined };
}

let current: Recording | undefined;

/** The recording in progress; throws outside `record()`. */
export function recording(what: string): Recording {
  if (!current) throw new Error(`${what}: operations run inside record() or evaluate() only`);
  return current;
}

/** Throws inside a recording. */
export function refuseNesting(): void {
  if (current) throw new Error("record: called inside another record(); recordings do not nest");
}

/** Runs `fn` with a fresh recording in place; recordings do not nest. */
export function trace<T>(device: Device, fn: () => T): { readonly result: T; readonly recording: Recording } {
  refuseNesting();
  const started: Recording = {
    device,
    dispatches: [],
    tape: [],
    constants: [],
    halves: new Map(),
    decisions: new Map(),
    deciding: { what: undefined },
  };
  current = started;
  try {
    return { result: fn(), recording: started };
  } finally {
    current = undefined;
  }
}

/** Runs `fn` on a tape of its own, which the recording does not keep; dispatches are noted as ever. */
export function onOwnTape<T>(fn: () => T): { readonly result: T; readonly tape: readonly TapeEntry[] } {
  const outer = recording("onOwnTape");
  const tape: TapeEntry[] = [];
  current = { ...outer, tape };
  try {
    return { result: fn(), tape };
  } finally {
    current = outer;
  }
}

/** A tensor that lives inside the recording only. Throws for f16 on a device without it. */
export function transient(shape: Shape, dtype: DType = "f32"): Tensor {
  checkShape("transient", shape);
  if (dtype === "f16") expectF16(recording("transient").device);
  const storage: Transient = { kind: "transient", bytes: bytesOf({ shape, dtype }), label: "unwritten" };
  return { shape, dtype, storage, offset: 0 };
}

/** A tensor of numbers that are fixed when recorded: tables, resampling weights. */
export function constant(
  shape: Shape,
  values: ArrayLike<number>,
  options: { readonly dtype?: HostDType; readonly label?: string } = {},
): Tensor {
  const { device, constants } = recording("constant");
  const x = input(device, shape, { label: "constant", ...options });
  x.write(values);
  constants.push(x);
  return x;
}

/** Notes on the tape how gradients flow through `output`, and returns it. */
export function differentiable(output: Tensor, inputs: readonly Tensor[], backward: Backward): Tensor {
  recording("differentiable").tape.push({ output, inputs, backward });
  return output;
}

/** The same numbers without a tape: no gradient flows through. */
export function stopGradient(x: Tensor): Tensor {
  return { ...x };
}

/** The same elements under another shape: `[...] -> shape`. Throws where the number of elements differs. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  recording("reshape");
  checkShape("reshape", shape);
  if (sizeOf(shape) !== sizeOf(x.shape)) {
    throw new Error(
      `reshape: [${x.shape.join(", ")}] has ${sizeOf(x.shape)} elements, [${shape.join(", ")}] has ${sizeOf(shape)}`,
    );
  }
  return differentiable({ ...x, shape }, [x], (dy) => [reshape(dy, x.shape)]);
}
