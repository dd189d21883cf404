import { type Device, expectF16 } from "./device.js";
import { input, type Input } from "./memory.js";
import {
  bytesOf,
  checkShape,
  type DType,
  type HostDType,
  type Shape,
  sizeOf,
  type Storage,
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

/** A WGSL file and its declaration. */
export interface Kernel {
  readonly file: string;
  readonly bindings: readonly Binding[];
  readonly constants: readonly string[];
}

/** A recorded launch of a kernel. */
export interface Dispatch {
  readonly kernel: Kernel;
  readonly tensors: Readonly<Record<string, Tensor>>;
  readonly constants: Readonly<Record<string, number>>;
  readonly grid: Grid;
  /** Name of the decision of `choose` that it belongs to. */
  readonly decision: string | undefined;
  /** Host work that takes the place of a kernel. */
  readonly work?: HostWork;
}

/** Reads `from`, and writes the result to `to`; both are valid only until the promise resolves. */
export type HostWork = (from: ArrayBuffer, to: ArrayBuffer) => Promise<void>;

/** A choice between several ways to compute one operation. */
export interface Decision {
  /** Operation and size class. */
  readonly what: string;
  readonly ways: readonly string[];
  readonly way: string;
}

/**
 * A gradient in partial sums, which may be added up later, together with those of other tensors: the sum over the rows of
 * `parts` [count, stride] in f32, of as many columns as `shape` has elements. All sizes are multiples of four.
 */
export interface PartialSums {
  readonly parts: Tensor;
  /** The first column. */
  readonly first: number;
  readonly shape: Shape;
  /** Puts the sum on the tape, if a second gradient may flow through it. */
  readonly onTape?: (sum: Tensor) => Tensor;
}

/** A gradient, whole or in partial sums. */
export type Gradient = Tensor | PartialSums;

/**
 * Returns the gradients of the inputs, in order, from the gradient of the output; undefined for inputs without one. `take`
 * returns the gradient of an input that other operations have found so far, which the result for that input then includes.
 */
export type Backward = (dy: Tensor, take: (input: number) => Tensor | undefined) => readonly (Gradient | undefined)[];

export interface TapeEntry {
  readonly output: Tensor;
  readonly inputs: readonly Tensor[];
  readonly backward: Backward;
}

/** Everything that a running `record()` has recorded. */
export interface Recording {
  readonly device: Device;
  readonly dispatches: Dispatch[];
  readonly tape: TapeEntry[];
  /** Constant tensors; their memory lives as long as the program. */
  readonly constants: Input[];
  /** Tensors already rounded to f16, by storage: the rounded tensor, the byte offset, and the number of dispatches before it. */
  readonly halves: Map<Storage, { readonly half: Tensor; readonly offset: number; readonly after: number }>;
  /** Sums over the rows of transients, by storage, that the kernels which wrote them have made as well. */
  readonly columnSums: Map<Storage, PartialSums>;
  /** Decisions by name. */
  readonly decisions: Map<string, Decision>;
  /** The decision that new dispatches belong to. */
  readonly deciding: { what: string | undefined };
}

let current: Recording | undefined;

/** Returns the current recording. Throws outside `record()`. */
export function recording(what: string): Recording {
  if (!current) throw new Error(`${what}: operations run inside record() or evaluate() only`);
  return current;
}

/** Throws inside a recording. */
export function refuseNesting(): void {
  if (current) throw new Error("record: called inside another record(); recordings do not nest");
}

/** Runs `fn` in a new recording. Throws inside another one. */
export function trace<T>(device: Device, fn: () => T): { readonly result: T; readonly recording: Recording } {
  refuseNesting();
  const created: Recording = {
    device,
    dispatches: [],
    tape: [],
    constants: [],
    halves: new Map(),
    columnSums: new Map(),
    decisions: new Map(),
    deciding: { what: undefined },
  };
  current = created;
  try {
    return { result: fn(), recording: created };
  } finally {
    current = undefined;
  }
}

/** Runs `fn` on a separate tape, which the recording does not keep; dispatches are recorded as usual. */
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

/** Creates a tensor that lives only inside the recording. Throws for f16 on a device without it. */
export function transient(shape: Shape, dtype: DType = "f32"): Tensor {
  checkShape("transient", shape);
  if (dtype === "f16") expectF16(recording("transient").device);
  const storage: Transient = { kind: "transient", bytes: bytesOf({ shape, dtype }), label: "unwritten" };
  return { shape, dtype, storage, offset: 0 };
}

/** Creates a tensor of values that are fixed when recorded: tables, resampling weights. */
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

/** Adds an entry to the tape, by which gradients flow from `output` to `inputs`; returns `output`. */
export function differentiable(output: Tensor, inputs: readonly Tensor[], backward: Backward): Tensor {
  recording("differentiable").tape.push({ output, inputs, backward });
  return output;
}

/** Returns the same values off the tape: no gradient flows through. */
export function stopGradient(x: Tensor): Tensor {
  return { ...x };
}

/** Returns the same elements in another shape: `[...] -> shape`. Throws if the number of elements differs. */
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
