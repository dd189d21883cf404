/** Label maps in the format of DAVIS: PNG files whose pixels are indices into a palette. */
import { readFile } from "node:fs/promises";
import { decode, encode } from "fast-png";
import type { Size } from "../images/pixels.js";
import type { Color } from "../pictures/drawing.js";

/** A label for every pixel. */
export interface LabelMap extends Size {
  /** [rows * cols]; 0 is background, objects start at 1. */
  readonly labels: Uint8Array;
}

export interface ColoredLabelMap extends LabelMap {
  /** The colour of each label. */
  readonly palette: readonly Color[];
}

/** Label of pixels without annotation, which the DAVIS evaluation treats as background. */
const VOID = 255;

/**
 * Reads a palette or grey PNG of up to 8 bits; void becomes background, and grey maps get the default palette. Throws,
 * naming the file, for anything else.
 */
export async function readLabelMap(path: string): Promise<ColoredLabelMap> {
  const file = await readFile(path).catch(() => fail(path, "got nothing of that name"));
  const claimed = claimedPixels(file);
  if (claimed > MAX_PIXELS_PER_BYTE * file.length) {
    return fail(path, `got ${claimed} pixels, more than its ${file.length} bytes can hold`);
  }
  let png: ReturnType<typeof decode>;
  try {
    png = decode(file);
  } catch (error) {
    return fail(path, (error as Error).message);
  }
  const { width, height, data, depth, channels, palette } = png;
  if (channels !== 1 || depth === 16) {
    return fail(path, `got ${channels} channel${channels === 1 ? "" : "s"} of ${depth} bits`);
  }
  const labels = unpack(Uint8Array.from(data), { width, height, depth });
  for (const [i, label] of labels.entries()) if (label === VOID) labels[i] = 0;
  const colors = palette?.map(([red, green, blue]): Color => [red!, green!, blue!]);
  return { rows: height, cols: width, labels, palette: colors ?? usualPalette() };
}

/** Maximum number of 1-bit pixels per byte at deflate's maximum ratio, 1032. */
const MAX_PIXELS_PER_BYTE = 8 * 1032;

/** Returns the largest size in the headers of a PNG file; fast-png allocates it before it reads the pixels. */
function claimedPixels(file: Buffer): number {
  let most = 0;
  for (let at = 8; at + 16 <= file.length; at += 12 + file.readUInt32BE(at)) {
    if (file.toString("latin1", at + 4, at + 8) !== "IHDR") continue;
    most = Math.max(most, file.readUInt32BE(at + 8) * file.readUInt32BE(at + 12));
  }
  return most;
}

function fail(path: string, what: string): never {
  throw new Error(
    `${path}: expected a PNG with a palette, or a grey one, of up to 8 bits, whose pixels are labels: ${what}`,
  );
}

/**
 * Unpacks rows of 1, 2 or 4 bits per pixel, each row padded to whole bytes, the first pixel in the highest bits ->
 * [height * width].
 */
function unpack(
  packed: Uint8Array,
  { width, height, depth }: { readonly width: number; readonly height: number; readonly depth: number },
): Uint8Array {
  if (depth === 8) return packed;
  const rowBytes = Math.ceil((width * depth) / 8);
  const labels = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const bit = x * depth;
      const byte = packed[y * rowBytes + (bit >> 3)]!;
      labels[y * width + x] = (byte >> (8 - depth - (bit & 7))) & ((1 << depth) - 1);
    }
  }
  return labels;
}

/** Encodes a label map as PNG with its palette, 8 bits per pixel. */
export function encodeLabelMap({ rows, cols, labels, palette }: ColoredLabelMap): Uint8Array {
  const colors = palette.map((color) => [...color]);
  return encode({ width: cols, height: rows, data: labels, channels: 1, depth: 8, palette: colors });
}

/**
 * Returns the palette of PASCAL VOC and DAVIS: the bits of a label, from the lowest, go in turn to red, green and blue,
 * from the highest bit.
 */
export function usualPalette(): Color[] {
  return Array.from({ length: 256 }, (_, label) => {
    const channels = [0, 0, 0];
    for (let bit = 0; bit < 8; bit++) channels[bit % 3]! |= ((label >> bit) & 1) << (7 - Math.floor(bit / 3));
    return channels as unknown as Color;
  });
}

/** Resizes by nearest neighbour, bit-exact with Pillow's resize: [rows, cols] -> [size.rows, size.cols]. */
export function resizeLabels({ rows, cols, labels }: LabelMap, size: Size): Uint8Array {
  const out = new Uint8Array(size.rows * size.cols);
  const across = nearest(cols, size.cols);
  for (const [y, from] of nearest(rows, size.rows).entries()) {
    for (const [x, at] of across.entries()) out[y * size.cols + x] = labels[from * cols + at]!;
  }
  return out;
}

/**
 * Returns the nearest of `length` places for `count` evenly spaced positions; accumulates as Pillow does, whose
 * rounding decides ties.
 */
function nearest(length: number, count: number): number[] {
  const step = length / count;
  let position = step / 2;
  return Array.from({ length: count }, () => {
    const place = Math.floor(position);
    position += step;
    return place;
  });
}
