/** Tensors in files: element types, views of storages, and conversion to f32. */
import { type SafeDtype, safeDtypeBytes } from "../../../engine/index.js";

export { safeDtypeBytes as elementBytes, type SafeDtype as Dtype };

/** A tensor in a file. */
export interface StoredTensor {
  readonly shape: readonly number[];
  readonly dtype: SafeDtype;
  /** Reads the values, row-major. Throws for integers, which are not weights. */
  read(): Promise<Float32Array>;
}

/** A view of a flat storage; offset and strides in elements, as in PyTorch. */
export interface StorageView {
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

/** Returns the number of elements of a shape. Throws beyond the safe integers. */
export function elementsOf(shape: readonly number[]): number {
  const product = shape.reduce((product, axis) => product * axis, 1);
  if (!Number.isSafeInteger(product)) throw new Error(`shape [${shape.join(", ")}] is out of range`);
  return product;
}

/** Returns the number of elements from the first to the last of a view. */
export function spanOf({ shape, strides }: StorageView): number {
  if (shape.includes(0)) return 0;
  return 1 + shape.reduce((last, axis, i) => last + (axis - 1) * strides[i]!, 0);
}

/** Gathers the values of a view, row-major, from its span. */
export function gatherElements(span: Float32Array, { shape, strides }: StorageView): Float32Array {
  if (isRowMajor(shape, strides)) return span;
  const out = new Float32Array(elementsOf(shape));
  const position = shape.map(() => 0);
  let from = 0;
  for (let i = 0; i < out.length; i++) {
    out[i] = span[from]!;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += strides[axis]!;
      if (++position[axis]! < shape[axis]!) break;
      from -= strides[axis]! * shape[axis]!;
      position[axis] = 0;
    }
  }
  return out;
}

function isRowMajor(shape: readonly number[], strides: readonly number[]): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== expected) return false;
    expected *= shape[axis]!;
  }
  return true;
}

/** Converts little-endian elements to f32; F64 is rounded to nearest. Throws for integers. */
export function toF32(bytes: Uint8Array<ArrayBuffer>, dtype: SafeDtype): Float32Array {
  const count = bytes.length / safeDtypeBytes[dtype];
  const { buffer, byteOffset } = bytes.byteOffset % safeDtypeBytes[dtype] === 0 ? bytes : bytes.slice();
  switch (dtype) {
    case "F32":
      return new Float32Array(buffer, byteOffset, count);
    case "F64":
      return Float32Array.from(new Float64Array(buffer, byteOffset, count));
    case "F16":
      return Float32Array.from(new Uint16Array(buffer, byteOffset, count), halfValue);
    case "BF16": // the upper half of an f32
      return new Float32Array(
        Uint32Array.from(new Uint16Array(buffer, byteOffset, count), (bits) => bits << 16).buffer,
      );
    default:
      throw new Error(`expected floats (F16, BF16, F32 or F64), got ${dtype}`);
  }
}

/** 2^(exponent - 25) for the exponents of normal halves. */
const halfScales = Float64Array.from({ length: 31 }, (_, exponent) => 2 ** (exponent - 25));

/** Converts a half (IEEE 754 binary16). */
function halfValue(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * halfScales[exponent]!;
}
