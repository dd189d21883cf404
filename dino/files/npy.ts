/**
 * Encoder and parser of NumPy's .npy files, version 1.0: little-endian float32 and int32, row-major, one or two axes.
 * Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 */

export interface NpyArray {
  readonly values: Float32Array | Int32Array;
  /** [length] or [rows, cols]. */
  readonly shape: readonly number[];
}

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0] as const;
const HEADER = /^\{'descr': '([^']*)', 'fortran_order': (True|False), 'shape': \(((?:\d+, ?)*\d*)\), ?\} *\n$/;

/** Encodes an array. Throws unless it has one or two axes and the number of values matches the shape. */
export function encodeNpy({ values, shape }: NpyArray): Uint8Array<ArrayBuffer> {
  const length = lengthOf(shape);
  if (length !== values.length) fail(`shape [${shape.join(", ")}] holds ${length} values, got ${values.length}`);
  const header = encodeNpyHeader(values instanceof Float32Array ? "<f4" : "<i4", shape);
  const file = new Uint8Array(header.length + values.byteLength);
  file.set(header);
  file.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), header.length);
  return file;
}

/** Encodes what precedes the values of an array of any shape, in `bytes`, or as many multiples of 64 as it takes. */
export function encodeNpyHeader(descr: "<f4" | "<i4", shape: readonly number[], bytes = 0): Uint8Array<ArrayBuffer> {
  const axes = shape.length === 1 ? `${shape[0]!},` : shape.join(", ");
  const dictionary = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${axes}), }`;
  // The values begin at a multiple of 64, behind ten bytes of preamble and a closing line break.
  const start = Math.max(bytes, Math.ceil((10 + dictionary.length + 1) / 64) * 64);
  const header = new Uint8Array(start);
  header.set(MAGIC);
  new DataView(header.buffer).setUint16(8, start - 10, true);
  header.set(new TextEncoder().encode(`${dictionary.padEnd(start - 11)}\n`), 10);
  return header;
}

/**
 * Parses a file written by encodeNpy or NumPy. The values share the memory of the file where they lie at a multiple of four bytes,
 * so that large files need it once. Throws, before allocating anything, for another dtype, order or size.
 */
export function parseNpy(bytes: Uint8Array): NpyArray {
  if (bytes.length < 10 || MAGIC.some((byte, i) => bytes[i] !== byte)) fail("this is no .npy file of version 1.0");
  const start = 10 + new DataView(bytes.buffer, bytes.byteOffset, 10).getUint16(8, true);
  if (start > bytes.length) fail(`the header ends at byte ${start} of ${bytes.length}; the file is cut off`);
  const header = HEADER.exec(new TextDecoder("latin1").decode(bytes.subarray(10, start)));
  if (header === null) fail("the header is damaged");
  const [, descr, fortran, axes] = header as unknown as readonly [string, string, string, string];
  if (descr !== "<f4" && descr !== "<i4") fail(`expected '<f4' or '<i4', got '${descr}'; convert it with astype first`);
  if (fortran === "True") fail("expected row-major values; convert them with numpy.ascontiguousarray first");
  const shape = axes
    .split(",")
    .filter((axis) => axis.trim() !== "")
    .map(Number);
  const length = lengthOf(shape);
  if (bytes.length - start !== 4 * length) {
    fail(`shape [${shape.join(", ")}] takes ${4 * length} bytes, but ${bytes.length - start} follow the header`);
  }
  const rest = bytes.subarray(start);
  const aligned: Uint8Array = rest.byteOffset % 4 === 0 ? rest : Uint8Array.from(rest);
  const values =
    descr === "<f4"
      ? new Float32Array(aligned.buffer, aligned.byteOffset, length)
      : new Int32Array(aligned.buffer, aligned.byteOffset, length);
  return { values, shape };
}

function lengthOf(shape: readonly number[]): number {
  if (shape.length < 1 || shape.length > 2 || !shape.every((axis) => Number.isSafeInteger(axis) && axis >= 0)) {
    fail(`expected [length] or [rows, cols], got [${shape.join(", ")}]`);
  }
  return shape.reduce((product, axis) => product * axis, 1);
}

function fail(message: string): never {
  throw new Error(`npy: ${message}`);
}
