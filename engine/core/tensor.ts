import type { Device } from "./device.js";

/** Sizes of the axes, outermost first; `[]` is a scalar. Every tensor is contiguous and row-major. */
export type Shape = readonly number[];

/** What a float is; f16 exists on the GPU alone, where `cast` makes it. */
export type Precision = "f32" | "f16";

/** What an element is. */
export type DType = Precision | "u32";

/** What the host writes. */
export type HostDType = Exclude<DType, "f16">;

/** Memory somebody outside a recording owns: parameters, inputs, optimizer state. */
export interface Resident {
  readonly kind: "resident";
  readonly device: Device;
  readonly buffer: GPUBuffer;
  readonly label: string;
}

/** Memory that exists only inside a recorded program; the planner gives it a buffer. */
export interface Transient {
  readonly kind: "transient";
  readonly bytes: number;
  /** What the messages call it: the kernel and binding that wrote it first. */
  label: string;
  /** Set when this memory is a part of another transient (a gradient inside the flat gradients, a chunk inside the whole). */
  inside?: { readonly storage: Transient; readonly offset: number };
}

/** Memory of a tensor: somebody's own, or a recording's. */
export type Storage = Resident | Transient;

/** Numbers on the GPU: a shape over a piece of storage, `offset` bytes from its start. */
export interface Tensor {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly storage: Storage;
  readonly offset: number;
}

/** Of f32 and u32, and the least that a binding takes. */
export const BYTES_PER_ELEMENT = 4;

/** Elements of four bytes from one place where a binding may start to the next: 256 bytes at most on every adapter. */
export const ALIGNMENT = 256 / BYTES_PER_ELEMENT;

/** Number of elements of a shape: the product of its axes, one for a scalar. */
export function sizeOf(shape: Shape): number {
  return shape.reduce((product, axis) => product * axis, 1);
}

/** Bytes that a tensor covers: whole words, so that an odd number of f16 ends with two bytes that mean nothing. */
export function bytesOf({ shape, dtype }: Pick<Tensor, "shape" | "dtype">): number {
  const words = dtype === "f16" ? Math.ceil(sizeOf(shape) / 2) : sizeOf(shape);
  return words * BYTES_PER_ELEMENT;
}

/** The precision of a tensor of floats. Throws for whole numbers. */
export function precisionOf(what: string, { dtype }: Tensor): Precision {
  if (dtype === "u32") throw new Error(`${what}: expected f32 or f16, got u32`);
  return dtype;
}

/** `count` entries of the first axis from `first` on, in the same memory; kernels bind them where they start at a multiple of 256 bytes. */
export function rowsOf(x: Tensor, first: number, count: number): Tensor {
  const before = bytesOf({ shape: x.shape.with(0, first), dtype: x.dtype });
  return { ...x, shape: x.shape.with(0, count), offset: x.offset + before };
}

/** The storage that owns the bytes: a transient placed inside another resolves to that one. */
export function owner(storage: Storage): Storage {
  return storage.kind === "transient" && storage.inside ? owner(storage.inside.storage) : storage;
}

/** Byte offset of a tensor from the start of its owner. */
export function offsetInOwner({ storage, offset }: Tensor): number {
  let bytes = offset;
  for (let s = storage; s.kind === "transient" && s.inside; s = s.inside.storage) bytes += s.inside.offset;
  return bytes;
}

/** A shape as the messages write it: `[2, 3, 4]`. */
export function formatShape(shape: Shape): string {
  return `[${shape.join(", ")}]`;
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((axis, i) => axis === b[i]);
}

/** `...rows` is found under `rows`. */
type AxisName<Name extends string> = Name extends `...${infer Rest}` ? Rest : Name;

/**
 * The axes of `x` under their names: `axes("softmax x", x, "rows", "cols")` -> `{ rows, cols }`.
 * A first name that starts with `...` takes the product of all leading axes (one where there are none).
 * Throws where the number of axes differs, where an axis is not positive, or where one name has two sizes.
 */
export function axes<const Names extends readonly string[]>(
  what: string,
  x: Tensor,
  ...names: Names
): Record<AxisName<Names[number]>, number> {
  const refuse = (): never => {
    throw new Error(`${what}: expected [${names.join(", ")}], got ${formatShape(x.shape)}`);
  };
  const found: Record<string, number> = {};
  let shape = x.shape;
  let rest: readonly string[] = names;
  const first = names[0];
  if (first?.startsWith("...")) {
    rest = names.slice(1);
    const leading = shape.length - rest.length;
    if (leading < 0) refuse();
    found[first.slice(3)] = sizeOf(shape.slice(0, leading));
    shape = shape.slice(leading);
  }
  if (shape.length !== rest.length) refuse();
  rest.forEach((name, i) => {
    const size = shape[i]!;
    if ((found[name] ?? size) !== size) refuse();
    found[name] = size;
  });
  return found;
}

/** Throws unless `x` has exactly this shape. */
export function expectShape(what: string, x: Tensor, shape: Shape): void {
  if (!sameShape(x.shape, shape)) {
    throw new Error(`${what}: expected ${formatShape(shape)}, got ${formatShape(x.shape)}`);
  }
}

/** Throws unless the shape holds positive whole numbers. */
export function checkShape(what: string, shape: Shape): void {
  if (!shape.every((axis) => Number.isSafeInteger(axis) && axis > 0)) {
    throw new Error(`${what}: every axis must be a positive whole number, got ${formatShape(shape)}`);
  }
}

/** Throws unless `suffix` ends `shape`, which the message calls `whole`. */
export function expectSuffix(what: string, suffix: Shape, shape: Shape, whole = ""): void {
  if (!sameShape(shape.slice(Math.max(0, shape.length - suffix.length)), suffix)) {
    throw new Error(`${what} ${formatShape(suffix)} is not the end of ${whole}${formatShape(shape)}`);
  }
}
