import type { Device } from "./device.js";

/** Axis sizes, outermost first; `[]` is a scalar. Every tensor is contiguous and row-major. */
export type Shape = readonly number[];

/** Float type; f16 exists only on the GPU, created by `cast`. */
export type Precision = "f32" | "f16";

/** Element type. */
export type DType = Precision | "u32";

/** Element types that the host can write. */
export type HostDType = Exclude<DType, "f16">;

/** Memory owned outside of recordings: parameters, inputs, optimizer state. */
export interface Resident {
  readonly kind: "resident";
  readonly device: Device;
  readonly buffer: GPUBuffer;
  readonly label: string;
}

/** Memory inside a recorded program; the planner assigns a buffer. */
export interface Transient {
  readonly kind: "transient";
  readonly bytes: number;
  /** Name in messages: the kernel and binding that wrote it first. */
  label: string;
  /** Set if this memory is part of another transient (a gradient in the flat gradients, a chunk in the whole). */
  inside?: { readonly storage: Transient; readonly offset: number };
}

/** Memory of a tensor. */
export type Storage = Resident | Transient;

/** An array on the GPU: a shape over storage, `offset` bytes from its start. */
export interface Tensor {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly storage: Storage;
  readonly offset: number;
}

/** Bytes of an f32 or u32 element, and the minimum size of a binding. */
export const BYTES_PER_ELEMENT = 4;

/** Alignment of binding offsets in 4-byte elements: at most 256 bytes on every adapter. */
export const ALIGNMENT = 256 / BYTES_PER_ELEMENT;

/** Returns the number of elements of a shape, one for a scalar. */
export function sizeOf(shape: Shape): number {
  return shape.reduce((product, axis) => product * axis, 1);
}

/** Returns the bytes of a tensor, in whole words: an odd number of f16 elements ends with two unused bytes. */
export function bytesOf({ shape, dtype }: Pick<Tensor, "shape" | "dtype">): number {
  const words = dtype === "f16" ? Math.ceil(sizeOf(shape) / 2) : sizeOf(shape);
  return words * BYTES_PER_ELEMENT;
}

/** Returns the precision of a float tensor. Throws for u32. */
export function precisionOf(what: string, { dtype }: Tensor): Precision {
  if (dtype === "u32") throw new Error(`${what}: expected f32 or f16, got u32`);
  return dtype;
}

/** Returns a view of `count` entries of the first axis from `first` on; kernels can bind it if it starts at a multiple of 256 bytes. */
export function rowsOf(x: Tensor, first: number, count: number): Tensor {
  return { ...x, shape: x.shape.with(0, count), offset: x.offset + bytesBefore(x, first) };
}

/** Whether kernels can bind the entries of the first axis from `first` on. */
export function isBindableFrom(x: Pick<Tensor, "shape" | "dtype" | "offset">, first: number): boolean {
  return (x.offset + bytesBefore(x, first)) % (ALIGNMENT * BYTES_PER_ELEMENT) === 0;
}

function bytesBefore({ shape, dtype }: Pick<Tensor, "shape" | "dtype">, first: number): number {
  return bytesOf({ shape: shape.with(0, first), dtype });
}

/** Returns the storage that owns the bytes: a transient inside another one resolves to the outer one. */
export function owner(storage: Storage): Storage {
  return storage.kind === "transient" && storage.inside ? owner(storage.inside.storage) : storage;
}

/** Returns the byte offset of a tensor in its owner. */
export function offsetInOwner({ storage, offset }: Tensor): number {
  let bytes = offset;
  for (let s = storage; s.kind === "transient" && s.inside; s = s.inside.storage) bytes += s.inside.offset;
  return bytes;
}

/** Formats a shape for messages: `[2, 3, 4]`. */
export function formatShape(shape: Shape): string {
  return `[${shape.join(", ")}]`;
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((axis, i) => axis === b[i]);
}

/** Key of an axis: `...rows` has the key `rows`. */
type AxisName<Name extends string> = Name extends `...${infer Rest}` ? Rest : Name;

/**
 * Returns the axes of `x` by name: `axes("softmax x", x, "rows", "cols")` -> `{ rows, cols }`.
 * A first name that starts with `...` is the product of all leading axes (one if there are none).
 * Throws if the number of axes differs, or if one name has two sizes.
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

/** Throws unless all axes are positive whole numbers. */
export function checkShape(what: string, shape: Shape): void {
  if (!shape.every((axis) => Number.isSafeInteger(axis) && axis > 0)) {
    throw new Error(`${what}: every axis must be a positive whole number, got ${formatShape(shape)}`);
  }
}

/** Throws unless `shape` ends with `suffix`; the message calls it `whole`. */
export function expectSuffix(what: string, suffix: Shape, shape: Shape, whole = ""): void {
  if (!sameShape(shape.slice(Math.max(0, shape.length - suffix.length)), suffix)) {
    throw new Error(`${what} ${formatShape(suffix)} is not the end of ${whole}${formatShape(shape)}`);
  }
}
