/**
 * Reader of Windows and OS/2 bitmaps of 1, 4, 8, 16, 24 and 32 bits, with palettes, bit fields and run lengths. Source:
 * https://learn.microsoft.com/windows/win32/gdi/bitmap-storage
 */
import type { Size } from "../pixels.js";
import { checkSize, cut, type ReadOptions, type Samples, type Source, toBytesInRange, type Visit } from "./samples.js";
import { headerOf, wholeFile } from "./whole-file.js";

interface Header extends Size {
  readonly bits: number;
  readonly compression: "none" | "RLE8" | "RLE4" | "fields";
  /** The first row of the file is the lowest of the image. */
  readonly isBottomUp: boolean;
  /** Offsets. */
  readonly palette: number;
  readonly start: number;
  /** Size of a color of the palette in bytes, and number of colors. */
  readonly colorBytes: 3 | 4;
  readonly colors: number;
  /** Bits of red, green and blue, for 16 and 32 bits. */
  readonly masks: readonly [number, number, number];
}

/** Reads an image as RGB. */
export async function read(source: Source, options: ReadOptions): Promise<Samples> {
  const { rows, cols, channels, pixels } = await decode(source, options);
  if (options.range) toBytesInRange(pixels, channels, options.range, pixels);
  return { rows, cols, channels, pixels };
}

/** Visits the values of an image. */
export async function scan(source: Source, options: ReadOptions, visit: Visit): Promise<void> {
  const { pixels, channels } = await decode(source, options);
  visit(pixels, channels);
}

async function decode(source: Source, { maxPixels, part }: ReadOptions): Promise<Samples> {
  const bytes = await wholeFile(source);
  const header = parseHeader(bytes);
  checkSize(header, maxPixels);
  const { rows, cols, bits, compression } = header;
  const pixels = new Uint8Array(rows * cols * 3);
  if (compression === "RLE8" || compression === "RLE4") decodeRuns(bytes, header, pixels);
  else if (bits <= 8) decodeIndices(bytes, header, pixels);
  else decodeColors(bytes, header, pixels);
  return cut({ rows, cols, channels: 3, pixels }, part?.tile);
}

/** Reads the size from the header. */
export function measure(source: Source): Size {
  const { rows, cols } = parseHeader(headerOf(source));
  return { rows, cols };
}

const FILE_HEADER = 14;
const INFO_HEADER = 40;
const compressions = new Map<number, Header["compression"]>([
  [0, "none"],
  [1, "RLE8"],
  [2, "RLE4"],
  [3, "fields"],
  [6, "fields"],
]);

function parseHeader(bytes: Uint8Array): Header {
  if (bytes.length < FILE_HEADER + 12) throw new Error("BMP: the file is cut off within its header");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const headerBytes = view.getUint32(14, true);
  const isCore = headerBytes === 12;
  if (!isCore && (headerBytes < INFO_HEADER || FILE_HEADER + headerBytes > bytes.length))
    throw new Error(`BMP: expected a header of 12 or of 40 and more bytes, got ${headerBytes}`);
  const cols = isCore ? view.getUint16(18, true) : view.getInt32(18, true);
  const height = isCore ? view.getInt16(20, true) : view.getInt32(22, true);
  const bits = view.getUint16(isCore ? 24 : 28, true);
  const code = isCore ? 0 : view.getUint32(30, true);
  const compression = compressions.get(code);
  const runBits = compression === "RLE8" ? 8 : compression === "RLE4" ? 4 : bits;
  const isKnown = [1, 4, 8, 16, 24, 32].includes(bits) && bits === runBits;
  if (compression === undefined || !isKnown || (compression === "fields" && bits !== 16 && bits !== 32))
    throw new Error(`BMP: expected 1, 4, 8, 16, 24 or 32 bits, got ${bits} with compression ${code}`);
  const masksAt = FILE_HEADER + INFO_HEADER;
  const hasMasks = compression === "fields" && headerBytes === INFO_HEADER;
  if (hasMasks && masksAt + 12 > bytes.length) throw new Error("BMP: the file is cut off within its header");
  const used = isCore ? 0 : view.getUint32(46, true);
  const mask = (i: number): number => view.getUint32(masksAt + 4 * i, true);
  return {
    rows: Math.abs(height),
    cols,
    bits,
    compression,
    isBottomUp: height > 0,
    palette: FILE_HEADER + headerBytes + (hasMasks ? (code === 6 ? 16 : 12) : 0),
    start: view.getUint32(10, true),
    colorBytes: isCore ? 3 : 4,
    colors: bits > 8 ? 0 : Math.min(used === 0 ? Infinity : used, 2 ** bits),
    masks:
      compression === "fields"
        ? [mask(0), mask(1), mask(2)]
        : bits === 16
          ? [0x7c00, 0x03e0, 0x001f]
          : [0xff0000, 0x00ff00, 0x0000ff],
  };
}

/** Returns the offset in the output of a row of the file. */
function rowStart({ rows, cols, isBottomUp }: Header, row: number): number {
  return (isBottomUp ? rows - 1 - row : row) * cols * 3;
}

/** Returns a function that writes the color of an index to an offset of `pixels`. */
function colorWriter(bytes: Uint8Array, header: Header, pixels: Uint8Array): (at: number, index: number) => void {
  const { palette, colorBytes, colors } = header;
  if (palette + colors * colorBytes > bytes.length) throw new Error("BMP: the file is cut off within its palette");
  return (at, index) => {
    if (index >= colors) throw new Error(`BMP: expected a color of the palette of ${colors}, got color ${index}`);
    const from = palette + index * colorBytes;
    pixels[at] = bytes[from + 2]!;
    pixels[at + 1] = bytes[from + 1]!;
    pixels[at + 2] = bytes[from]!;
  };
}

/** Returns the number of bytes of a row, a multiple of 4. Throws if the file does not have all rows. */
function strideOf(bytes: Uint8Array, { rows, cols, bits, start }: Header): number {
  const stride = Math.ceil((cols * bits) / 32) * 4;
  const left = Math.max(0, bytes.length - start);
  const needed = stride * (rows - 1) + Math.ceil((cols * bits) / 8);
  if (left < needed) throw new Error(`BMP: expected ${needed} bytes of pixels, got ${left}; the file is cut off`);
  return stride;
}

function decodeIndices(bytes: Uint8Array, header: Header, pixels: Uint8Array): void {
  const { rows, cols, bits, start } = header;
  const stride = strideOf(bytes, header);
  const write = colorWriter(bytes, header, pixels);
  const perByte = 8 / bits;
  for (let row = 0; row < rows; row++) {
    const out = rowStart(header, row);
    for (let col = 0; col < cols; col++) {
      const byte = bytes[start + row * stride + Math.floor(col / perByte)]!;
      write(out + col * 3, (byte >> (8 - bits * ((col % perByte) + 1))) & (2 ** bits - 1));
    }
  }
}

function decodeColors(bytes: Uint8Array, header: Header, pixels: Uint8Array): void {
  const { rows, cols, bits, start, masks } = header;
  const stride = strideOf(bytes, header);
  const shifts = masks.map((mask) => (mask === 0 ? 0 : 31 - Math.clz32(mask & -mask)));
  const most = masks.map((mask, channel) => mask >>> shifts[channel]!);
  for (let row = 0; row < rows; row++) {
    const out = rowStart(header, row);
    for (let col = 0; col < cols; col++) {
      const from = start + row * stride + (col * bits) / 8;
      const low = bytes[from]! | (bytes[from + 1]! << 8);
      const word = bits === 16 ? low : low | (bytes[from + 2]! << 16) | (bits === 32 ? bytes[from + 3]! << 24 : 0);
      for (let channel = 0; channel < 3; channel++) {
        const value = (word & masks[channel]!) >>> shifts[channel]!;
        pixels[out + col * 3 + channel] = most[channel] === 0 ? 0 : Math.round((value * 255) / most[channel]!);
      }
    }
  }
}

/** Decodes run lengths; pixels that they leave out have the first color of the palette. */
function decodeRuns(bytes: Uint8Array, header: Header, pixels: Uint8Array): void {
  const { rows, cols, bits, start } = header;
  const write = colorWriter(bytes, header, pixels);
  for (let at = 0; at < pixels.length; at += 3) write(at, 0);
  let [row, col, at] = [0, 0, start];
  const put = (index: number): void => {
    if (row < rows && col < cols) write(rowStart(header, row) + col * 3, index);
    col++;
  };
  const indexOf = (byte: number, i: number): number => (bits === 8 ? byte : i % 2 === 0 ? byte >> 4 : byte & 15);
  while (row < rows) {
    const [count, value] = [bytes[at], bytes[at + 1]];
    if (count === undefined || value === undefined) throw new Error("BMP: the file is cut off within its pixels");
    at += 2;
    if (count > 0) {
      for (let i = 0; i < count; i++) put(indexOf(value, i));
    } else if (value === 0) {
      [row, col] = [row + 1, 0];
    } else if (value === 1) {
      return; // the end of the image
    } else if (value === 2) {
      col += bytes[at] ?? 0;
      row += bytes[at + 1] ?? 0;
      at += 2;
    } else {
      for (let i = 0; i < value; i++) put(indexOf(bytes[at + Math.floor((i * bits) / 8)] ?? 0, i));
      at += 2 * Math.ceil((value * bits) / 16); // padded to two bytes
    }
  }
}
