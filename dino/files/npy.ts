/**
 * Encoders and parsers of NumPy's .npy files, version 1.0: little-endian float32 and int32 of one or two axes, and uint8 of three,
 * row-major. Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 */

export interface NpyArray {
  readonly values: Float32Array | Int32Array;
  /** [length] or [rows, cols]. */
  readonly shape: readonly number[];
}

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0] as const;
const HEADER = /^\{'descr': '([^']*)', 'fortran_order': (True|False), 'shape': \(((?:\d+, ?)*\d*)\), ?\} *\n$/;

/** Bytes of three axes. */
export interface NpyBytes {
  readonly values: Uint8Array;
  readonly shape: readonly [number, number, number];
}

/** Encodes an array. Throws unless it has one or two axes and the number of values matches the shape. */
export function encodeNpy({ values, shape }: NpyArray): Uint8Array<ArrayBuffer> {
  return encode({ values, shape }, values instanceof Float32Array ? "<f4" : "<i4", numbers);
}

/** Encodes bytes. Throws unless their number matches the shape. */
export function encodeNpyBytes(array: NpyBytes): Uint8Array<ArrayBuffer> {
  return encode(array, "|u1", bytesOfThreeAxes);
}

/** Types of values: float32, int32 and uint8. */
type Descr = "<f4" | "<i4" | "|u1";

/** What files of a kind hold. */
interface Form {
  /** Bytes of a value by its type. */
  readonly types: ReadonlyMap<string, number>;
  readonly axes: readonly number[];
  /** The axes in words. */
  readonly shape: string;
}

const numbers: Form = {
  types: new Map([
    ["<f4", 4],
    ["<i4", 4],
  ]),
  axes: [1, 2],
  shape: "[length] or [rows, cols]",
};
const bytesOfThreeAxes: Form = { types: new Map([["|u1", 1]]), axes: [3], shape: "[rows, cols, channels]" };

function encode(
  { values, shape }: Pick<NpyArray, "shape"> & { readonly values: ArrayBufferView & ArrayLike<number> },
  descr: Descr,
  form: Form,
): Uint8Array<ArrayBuffer> {
  const length = lengthOf(shape, form);
  if (length !== values.length) fail(`shape [${shape.join(", ")}] holds ${length} values, got ${values.length}`);
  const header = encodeNpyHeader(descr, shape);
  const file = new Uint8Array(header.length + values.byteLength);
  file.set(header);
  file.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), header.length);
  return file;
}

/** Encodes what precedes the values of an array of any shape, in `bytes`, or as many multiples of 64 as it takes. */
export function encodeNpyHeader(descr: Descr, shape: readonly number[], bytes = 0): Uint8Array<ArrayBuffer> {
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
  const { descr, shape, content } = parse(bytes, numbers);
  const aligned: Uint8Array = content.byteOffset % 4 === 0 ? content : Uint8Array.from(content);
  const { buffer, byteOffset, length } = aligned;
  const values =
    descr === "<f4" ? new Float32Array(buffer, byteOffset, length / 4) : new Int32Array(buffer, byteOffset, length / 4);
  return { values, shape };
}

/** Parses a file written by encodeNpyBytes or NumPy, without a copy. Throws as `parseNpy` does. */
export function parseNpyBytes(bytes: Uint8Array): NpyBytes {
  const { shape, content } = parse(bytes, bytesOfThreeAxes);
  return { values: content, shape: shape as NpyBytes["shape"] };
}

/** Whether a file begins as those of NumPy do. */
export function isNpy(head: Uint8Array): boolean {
  return MAGIC.every((byte, i) => head[i] === byte);
}

interface Parsed {
  readonly descr: string;
  readonly shape: readonly number[];
  /** The values. */
  readonly content: Uint8Array;
}

function parse(bytes: Uint8Array, form: Form): Parsed {
  if (bytes.length < 10 || !isNpy(bytes)) fail("this is no .npy file of version 1.0");
  const start = 10 + new DataView(bytes.buffer, bytes.byteOffset, 10).getUint16(8, true);
  if (start > bytes.length) fail(`the header ends at byte ${start} of ${bytes.length}; the file is cut off`);
  const header = HEADER.exec(new TextDecoder("latin1").decode(bytes.subarray(10, start)));
  if (header === null) fail("the header is damaged");
  const [, descr, fortran, axes] = header as unknown as readonly [string, string, string, string];
  const bytesPerValue = form.types.get(descr);
  if (bytesPerValue === undefined) {
    const expected = [...form.types.keys()].map((type) => `'${type}'`).join(" or ");
    fail(`expected ${expected}, got '${descr}'; convert it with astype first`);
  }
  if (fortran === "True") fail("expected row-major values; convert them with numpy.ascontiguousarray first");
  const shape = axes
    .split(",")
    .filter((axis) => axis.trim() !== "")
    .map(Number);
  const expected = bytesPerValue * lengthOf(shape, form);
  const content = bytes.subarray(start);
  if (content.length !== expected)
    fail(`shape [${shape.join(", ")}] takes ${expected} bytes, but ${content.length} follow the header`);
  return { descr, shape, content };
}

function lengthOf(shape: readonly number[], form: Form): number {
  if (!form.axes.includes(shape.length) || !shape.every((axis) => Number.isSafeInteger(axis) && axis >= 0)) {
    fail(`expected ${form.shape}, got [${shape.join(", ")}]`);
  }
  return shape.reduce((product, axis) => product * axis, 1);
}

function fail(message: string): never {
  throw new Error(`npy: ${message}`);
}
