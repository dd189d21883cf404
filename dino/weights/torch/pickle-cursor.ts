/** Reads the fields of a binary stream from front to back. */

/** A read position in a pickle. */
export interface Cursor {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Offset of the next byte. */
  at: number;
}

export function openCursor(bytes: Uint8Array, start: number): Cursor {
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), at: start };
}

/** Throws an error that names the position of the cursor. */
export function fail({ at }: Cursor, message: string): never {
  throw new Error(`pickle: ${message}, at byte ${at}`);
}

/** Advances by `count` bytes and returns the offset of the first of them. Throws if the bytes end before. */
export function advance(cursor: Cursor, count: number): number {
  const { bytes, at } = cursor;
  if (at + count > bytes.length) fail(cursor, `expected ${count} more bytes, ${bytes.length - at} are left`);
  cursor.at += count;
  return at;
}

export function readByte(cursor: Cursor): number {
  return cursor.view.getUint8(advance(cursor, 1));
}

export function readUint16(cursor: Cursor): number {
  return cursor.view.getUint16(advance(cursor, 2), true);
}

export function readUint32(cursor: Cursor): number {
  return cursor.view.getUint32(advance(cursor, 4), true);
}

export function readInt32(cursor: Cursor): number {
  return cursor.view.getInt32(advance(cursor, 4), true);
}

/** Reads a double, the one big-endian number of a pickle. */
export function readFloat64(cursor: Cursor): number {
  return cursor.view.getFloat64(advance(cursor, 8), false);
}

/** Reads `length` bytes of UTF-8. Throws if they are not valid. */
export function readText(cursor: Cursor, length: number): string {
  const start = advance(cursor, length);
  return utf8.decode(cursor.bytes.subarray(start, cursor.at));
}

/** Reads UTF-8 up to the next newline and skips the newline. */
export function readLine(cursor: Cursor): string {
  const end = cursor.bytes.indexOf(NEWLINE, cursor.at);
  if (end < 0) fail(cursor, "expected the end of a line");
  const line = readText(cursor, end - cursor.at);
  cursor.at++;
  return line;
}

/** Reads a signed integer of `length` bytes: a bigint outside the safe integers. Throws above `MAX_INTEGER_BYTES`. */
export function readInteger(cursor: Cursor, length: number): number | bigint {
  if (length > MAX_INTEGER_BYTES) {
    fail(cursor, `expected an integer of at most ${MAX_INTEGER_BYTES} bytes, got ${length}`);
  }
  const start = advance(cursor, length);
  let value = 0n;
  for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(cursor.bytes[start + i]!);
  const signed = BigInt.asIntN(8 * length, value);
  return Number.isSafeInteger(Number(signed)) ? Number(signed) : signed;
}

/** Python's integers are unbounded; the longest that torch.save writes is its magic number, of 10 bytes. */
const MAX_INTEGER_BYTES = 16;
const NEWLINE = 0x0a;
const utf8 = new TextDecoder("utf-8", { fatal: true });
