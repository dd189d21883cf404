/** Reader of PBM, PGM and PPM, as text and binary. Source: https://netpbm.sourceforge.net/doc/ */
import type { Size } from "../pixels.js";
import {
  checkSize,
  cut,
  type ReadOptions,
  type Samples,
  type Source,
  toBytes,
  toBytesInRange,
  type Visit,
} from "./samples.js";
import { headerOf, wholeFile } from "./whole-file.js";

interface Header extends Size {
  readonly channels: 1 | 3;
  readonly encoding: "text" | "binary";
  /** Black is 1 and white 0, and a binary sample takes one bit; rows are padded to whole bytes. */
  readonly isBitmap: boolean;
  /** Largest value. */
  readonly most: number;
  /** Offset of the samples. */
  readonly start: number;
}

/** Reads an image; without a range, the largest value that the header allows is white. */
export async function read(source: Source, options: ReadOptions): Promise<Samples> {
  const { part, range } = options;
  const { header, values } = await decode(source, options);
  const { rows, cols, channels, isBitmap, most } = header;
  const pixels = new Uint8Array(values.length);
  if (range) toBytesInRange(values, channels, range, pixels);
  else toBytes(values, { low: 0, high: most }, pixels);
  if (isBitmap) for (let i = 0; i < pixels.length; i++) pixels[i] = 255 - pixels[i]!;
  return cut({ rows, cols, channels, pixels }, part?.tile);
}

/** Visits the values of an image. */
export async function scan(source: Source, options: ReadOptions, visit: Visit): Promise<void> {
  const { header, values } = await decode(source, options);
  visit(values, header.channels);
}

async function decode(source: Source, { maxPixels }: ReadOptions) {
  const bytes = await wholeFile(source);
  const header = parseHeader(bytes);
  checkSize(header, maxPixels);
  const values = header.encoding === "text" ? parseValues(bytes, header) : unpackValues(bytes, header);
  return { header, values };
}

/** Reads the size from the header. */
export function measure(source: Source): Size {
  const { rows, cols } = parseHeader(headerOf(source));
  return { rows, cols };
}

function parseHeader(bytes: Uint8Array): Header {
  const variant = bytes[1]! - ZERO; // 1 to 3 are text, 4 to 6 binary: bits, gray, RGB
  const isBitmap = variant % 3 === 1;
  const cols = parseNumber(bytes, 2);
  const rows = parseNumber(bytes, cols.end);
  const most = isBitmap ? { value: 1, end: rows.end } : parseNumber(bytes, rows.end);
  if (most.value < 1 || most.value > 65_535)
    throw new Error(`PNM: expected values up to 1 to 65535, got ${most.value}`);
  return {
    rows: rows.value,
    cols: cols.value,
    channels: variant % 3 === 0 ? 3 : 1,
    encoding: variant > 3 ? "binary" : "text",
    isBitmap,
    most: most.value,
    start: most.end + 1,
  };
}

const [ZERO, NINE, SPACE, LINE_FEED, HASH] = [0x30, 0x39, 0x20, 0x0a, 0x23];

/** Returns the offset of the next byte that is neither space nor comment. */
function skipSpace(bytes: Uint8Array, start: number): number {
  let at = start;
  while (at < bytes.length && (bytes[at]! <= SPACE || bytes[at] === HASH)) {
    if (bytes[at] === HASH) while (at < bytes.length && bytes[at] !== LINE_FEED) at++;
    else at++;
  }
  return at;
}

function parseNumber(bytes: Uint8Array, start: number): { readonly value: number; readonly end: number } {
  const first = skipSpace(bytes, start);
  let [at, value] = [first, 0];
  for (; at < bytes.length && bytes[at]! >= ZERO && bytes[at]! <= NINE && value < 2 ** 32; at++)
    value = 10 * value + bytes[at]! - ZERO;
  if (at === first) throw new Error(`PNM: expected a number at byte ${first}`);
  return { value, end: at };
}

/** Parses values written as text; the digits of bitmaps need no space between them. */
function parseValues(bytes: Uint8Array, { rows, cols, channels, isBitmap, start }: Header): Uint16Array {
  expectBytes(bytes, start, rows * cols * channels);
  const values = new Uint16Array(rows * cols * channels);
  let at = start - 1;
  for (let i = 0; i < values.length; i++) {
    if (isBitmap) {
      at = skipSpace(bytes, at);
      values[i] = bytes[at++]! - ZERO;
    } else {
      const { value, end } = parseNumber(bytes, at);
      values[i] = Math.min(value, 65_535);
      at = end;
    }
  }
  return values;
}

function unpackValues(bytes: Uint8Array, header: Header): Uint8Array | Uint16Array {
  const { rows, cols, channels, isBitmap, most, start } = header;
  if (isBitmap) {
    const stride = Math.ceil(cols / 8);
    expectBytes(bytes, start, rows * stride);
    return Uint8Array.from({ length: rows * cols }, (_, i) => {
      const col = i % cols;
      return (bytes[start + Math.floor(i / cols) * stride + (col >> 3)]! >> (7 - (col & 7))) & 1;
    });
  }
  const count = rows * cols * channels;
  if (most < 256) {
    expectBytes(bytes, start, count);
    return bytes.subarray(start, start + count);
  }
  expectBytes(bytes, start, 2 * count);
  return Uint16Array.from({ length: count }, (_, i) => (bytes[start + 2 * i]! << 8) | bytes[start + 2 * i + 1]!);
}

function expectBytes(bytes: Uint8Array, start: number, size: number): void {
  const left = Math.max(0, bytes.length - start);
  if (left < size) throw new Error(`PNM: expected ${size} bytes of samples, got ${left}; the file is cut off`);
}
