/**
 * Safetensors files: eight bytes of header length, a JSON header, raw little-endian numbers.
 * Format: https://github.com/huggingface/safetensors#format. Typed arrays here are little-endian too, as on every WebGPU host.
 */

/** Typed array of each dtype: F16 and BF16 as bits, BOOL as 0 and 1. */
interface ArrayTypes {
  readonly BOOL: Uint8Array;
  readonly U8: Uint8Array;
  readonly I8: Int8Array;
  readonly U16: Uint16Array;
  readonly I16: Int16Array;
  readonly F16: Uint16Array;
  readonly BF16: Uint16Array;
  readonly U32: Uint32Array;
  readonly I32: Int32Array;
  readonly F32: Float32Array;
  readonly U64: BigUint64Array;
  readonly I64: BigInt64Array;
  readonly F64: Float64Array;
}

/** Element types of the format. */
export type SafeDtype = keyof ArrayTypes;

/** A tensor of a file: row-major `data` with one element per position of `shape`; shape [] is a scalar. */
export type SafeTensor = {
  [D in SafeDtype]: { readonly dtype: D; readonly shape: readonly number[]; readonly data: ArrayTypes[D] };
}[SafeDtype];

type Elements = ArrayTypes[SafeDtype];

interface ArrayType {
  readonly BYTES_PER_ELEMENT: number;
  readonly name: string;
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): Elements;
}

const arrayTypes: Readonly<Record<SafeDtype, ArrayType>> = {
  BOOL: Uint8Array,
  U8: Uint8Array,
  I8: Int8Array,
  U16: Uint16Array,
  I16: Int16Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  U32: Uint32Array,
  I32: Int32Array,
  F32: Float32Array,
  U64: BigUint64Array,
  I64: BigInt64Array,
  F64: Float64Array,
};

/** Bytes of an element of each dtype. */
export const safeDtypeBytes = Object.fromEntries(
  Object.entries(arrayTypes).map(([dtype, type]) => [dtype, type.BYTES_PER_ELEMENT]),
) as Readonly<Record<SafeDtype, number>>;

/** Header limit of the official reader. */
const MAX_HEADER_BYTES = 100_000_000;

/** Header entry of a tensor; offsets in bytes from the end of the header. */
export interface SafeEntry {
  readonly name: string;
  readonly dtype: SafeDtype;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/** Parsed header of a file. */
export interface SafeHeader {
  /** Bytes before the tensor data. */
  readonly bytes: number;
  /** Entries in header order. */
  readonly entries: readonly SafeEntry[];
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Parses the tensors of a file, in header order; `data` are views of `bytes` if aligned, else copies.
 * Throws unless the file is complete and describes every byte once; sizes are checked before anything is allocated.
 */
export function parseSafetensors(bytes: Uint8Array): Map<string, SafeTensor> {
  const header = safetensorsHeader(bytes);
  const tensors = new Map<string, SafeTensor>();
  for (const { name, dtype, shape, begin, end } of header.entries) {
    const stored = bytes.subarray(header.bytes + begin, header.bytes + end);
    const type = arrayTypes[dtype];
    const size = type.BYTES_PER_ELEMENT;
    const aligned = stored.byteOffset % size === 0 ? stored : stored.slice();
    const data = new type(aligned.buffer, aligned.byteOffset, aligned.byteLength / size);
    tensors.set(name, { dtype, shape, data } as SafeTensor);
  }
  return tensors;
}

/** Returns the metadata of a file (`__metadata__`), {} if there is none. Throws as parseSafetensors does. */
export function safetensorsMetadata(bytes: Uint8Array): Readonly<Record<string, string>> {
  return safetensorsHeader(bytes).metadata;
}

/**
 * Encodes a file: header in the given order, data by decreasing element size so that each tensor is aligned. Equal input
 * gives equal bytes. Takes a Map or `Object.entries(...)`. Throws for a repeated name, and if dtype, shape and data disagree.
 */
export function encodeSafetensors(
  tensors: Iterable<readonly [string, SafeTensor]>,
  metadata?: Readonly<Record<string, string>>,
): Uint8Array<ArrayBuffer> {
  const given = [...tensors];
  const names = new Set<string>();
  for (const [name, tensor] of given) {
    if (name === "__metadata__") fail("the name __metadata__ is reserved; give notes as the second argument");
    if (names.has(name)) fail(`${quoted(name)} is given twice`);
    names.add(name);
    checkTensor(name, tensor);
  }

  const size = (i: number): number => given[i]![1].data.BYTES_PER_ELEMENT;
  const begins: number[] = [];
  let end = 0;
  for (const i of [...given.keys()].sort((a, b) => size(b) - size(a))) {
    begins[i] = end;
    end += given[i]![1].data.byteLength;
  }

  const fields: string[] = [];
  if (metadata !== undefined) {
    for (const [key, note] of Object.entries(metadata) as [string, unknown][]) {
      if (typeof note !== "string") fail(`metadata ${quoted(key)}: expected a string, got ${typeof note}`);
    }
    fields.push(`"__metadata__":${JSON.stringify(metadata)}`);
  }
  for (const [i, [name, { dtype, shape, data }]] of given.entries()) {
    const entry = { dtype, shape, data_offsets: [begins[i]!, begins[i]! + data.byteLength] };
    fields.push(`${JSON.stringify(name)}:${JSON.stringify(entry)}`);
  }

  const header = new TextEncoder().encode(`{${fields.join(",")}}`);
  const headerEnd = 8 + Math.ceil(header.length / 8) * 8;
  if (headerEnd - 8 > MAX_HEADER_BYTES) fail(`the header takes ${header.length} bytes, more than ${MAX_HEADER_BYTES}`);
  const file = new Uint8Array(headerEnd + end);
  new DataView(file.buffer).setBigUint64(0, BigInt(headerEnd - 8), true);
  file.set(header, 8);
  file.fill(0x20, 8 + header.length, headerEnd);
  for (const [i, [, { data }]] of given.entries()) {
    file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), headerEnd + begins[i]!);
  }
  return file;
}

function checkTensor(name: string, { dtype, shape, data }: SafeTensor): void {
  if (!Object.hasOwn(arrayTypes, dtype)) fail(`${quoted(name)}: unknown dtype ${quoted(dtype)}`);
  const expected = arrayTypes[dtype].name;
  const type = data.constructor.name;
  // A Node Buffer is a Uint8Array with another name.
  if (type !== expected && !(expected === "Uint8Array" && data instanceof Uint8Array)) {
    fail(`${quoted(name)}: dtype ${dtype} is held by ${expected}, got ${type}`);
  }
  const length = elements(name, shape);
  if (length !== data.length) {
    fail(`${quoted(name)}: shape [${shape.join(", ")}] holds ${length} elements, got ${data.length}`);
  }
}

/**
 * Parses the header of a file from its first bytes; `fileBytes` is the size of the whole file.
 * Throws as parseSafetensors does.
 */
export function safetensorsHeader(bytes: Uint8Array, fileBytes = bytes.byteLength): SafeHeader {
  const end = safetensorsHeaderBytes(bytes, fileBytes);
  const json = parseJson(bytes.subarray(8, end));
  if (!isRecord(json)) fail("the header is not a JSON object");

  const entries: SafeEntry[] = [];
  let metadata: Readonly<Record<string, string>> = {};
  for (const [name, value] of Object.entries(json)) {
    if (name === "__metadata__") metadata = readMetadata(value);
    else entries.push(readEntry(name, value));
  }
  checkOffsets(entries, fileBytes - end);
  return { bytes: end, entries, metadata };
}

/** Returns the size of a file's header from its first eight bytes. Throws if a file of `fileBytes` cannot hold it. */
export function safetensorsHeaderBytes(bytes: Uint8Array, fileBytes: number): number {
  if (bytes.byteLength < 8) fail(`expected at least 8 bytes, got ${bytes.byteLength}; the file is cut off or empty`);
  const claimed = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
  const room = fileBytes - 8;
  if (claimed > BigInt(room)) {
    fail(`the header claims ${claimed.toString()} bytes, but ${room} follow; the file is cut off or of another format`);
  }
  if (claimed > BigInt(MAX_HEADER_BYTES)) {
    fail(`the header claims ${claimed.toString()} bytes, more than ${MAX_HEADER_BYTES}`);
  }
  return 8 + Number(claimed);
}

function parseJson(header: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(header));
  } catch (cause) {
    throw new Error("safetensors: the header is not JSON; the file is damaged or of another format", { cause });
  }
}

function readMetadata(value: unknown): Readonly<Record<string, string>> {
  if (!isRecord(value)) fail("__metadata__ is not a JSON object");
  const notes = Object.entries(value).map(([key, note]) => {
    if (typeof note !== "string") fail(`__metadata__ ${quoted(key)}: expected a string, got ${typeof note}`);
    return [key, note] as const;
  });
  return Object.fromEntries(notes);
}

function readEntry(name: string, value: unknown): SafeEntry {
  if (!isRecord(value)) fail(`${quoted(name)} is not a JSON object`);
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== "string" || !Object.hasOwn(arrayTypes, dtype)) {
    const known = Object.keys(arrayTypes).join(", ");
    fail(
      `${quoted(name)}: expected a dtype of ${known}, got ${typeof dtype === "string" ? quoted(dtype) : typeof dtype}`,
    );
  }
  if (!isWholeNumbers(shape)) fail(`${quoted(name)}: shape is not a list of whole numbers`);
  if (!isWholeNumbers(offsets) || offsets.length !== 2) fail(`${quoted(name)}: data_offsets is not [begin, end]`);
  const [begin, end] = offsets as [number, number];
  const expected = elements(name, shape) * safeDtypeBytes[dtype as SafeDtype];
  if (end - begin !== expected) {
    fail(
      `${quoted(name)}: ${dtype} [${shape.join(", ")}] takes ${expected} bytes, but data_offsets are [${begin}, ${end}]`,
    );
  }
  return { name, dtype: dtype as SafeDtype, shape, begin, end };
}

/** Throws unless the tensors fill the file without gap or overlap. */
function checkOffsets(entries: readonly SafeEntry[], room: number): void {
  let expected = 0;
  for (const { name, begin, end } of [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (end > room) fail(`${quoted(name)} ends at byte ${end} of ${room}; the file is cut off`);
    if (begin < expected)
      fail(`${quoted(name)} begins at byte ${begin}, inside another tensor that ends at ${expected}`);
    if (begin > expected)
      fail(`${quoted(name)} begins at byte ${begin}; bytes from ${expected} on belong to no tensor`);
    expected = end;
  }
  if (expected !== room) fail(`${room - expected} bytes after the last tensor belong to no tensor`);
}

function elements(name: string, shape: readonly number[]): number {
  let product = 1;
  for (const length of shape) {
    if (!Number.isSafeInteger(length) || length < 0) fail(`${quoted(name)}: shape is not a list of whole numbers`);
    product *= length;
    // At eight bytes per element, the size must still be an exact integer.
    if (product > Number.MAX_SAFE_INTEGER / 8) fail(`${quoted(name)}: shape [${shape.join(", ")}] is out of range`);
  }
  return product;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isWholeNumbers(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((each) => Number.isSafeInteger(each) && (each as number) >= 0);
}

function quoted(name: string): string {
  return JSON.stringify(name.length > 200 ? `${name.slice(0, 200)}...` : name);
}

function fail(message: string): never {
  throw new Error(`safetensors: ${message}`);
}
