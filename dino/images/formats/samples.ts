/** What the readers of image formats return: samples of any number of channels, in 8 bits. */
import type { Decoding, ImagePart, Levels } from "../image-location.js";
import { type Box, type Image, MAX_PIXELS, type Size } from "../pixels.js";

/** An image of any number of channels with 8 bits each. */
export interface Samples extends Size {
  readonly channels: number;
  /** [rows, cols, channels] */
  readonly pixels: Uint8Array;
}

/** The path of a file, or its bytes. */
export type Source = string | Uint8Array;

/** What to read of a file, and how. */
export interface ReadOptions extends Decoding {
  readonly part?: ImagePart | undefined;
}

/** Reader of a format. Errors do not name the file. */
export interface Reader {
  /** Reads a part of a file. Throws for damaged files and for images above the limit of pixels. */
  read(source: Source, options: ReadOptions): Promise<Samples>;
  /** Reads the size of a page, upright. */
  measure(source: Source, part?: ImagePart): Size | Promise<Size>;
}

/** Throws for an empty image, and for one with more pixels than may be decoded. */
export function checkSize({ rows, cols }: Size, maxPixels = MAX_PIXELS): void {
  if (!(rows > 0 && cols > 0)) throw new Error(`expected at least one pixel, got ${cols} x ${rows}`);
  if (rows * cols > maxPixels) throw new Error(`${cols} x ${rows} exceeds pixel limit of ${maxPixels}`);
}

/** Cuts out a box: [rows, cols, channels] -> [box.height, box.width, channels]. Throws if the box exceeds the image. */
export function cut(samples: Samples, box: Box | undefined): Samples {
  if (box === undefined) return samples;
  checkBox(samples, box);
  const { cols, channels, pixels } = samples;
  const { top, left, height, width } = box;
  const out = new Uint8Array(height * width * channels);
  for (let row = 0; row < height; row++) {
    const start = ((top + row) * cols + left) * channels;
    out.set(pixels.subarray(start, start + width * channels), row * width * channels);
  }
  return { rows: height, cols: width, channels, pixels: out };
}

/** Throws if a box exceeds an image. */
export function checkBox({ rows, cols }: Size, { top, left, height, width }: Box): void {
  if (top + height <= rows && left + width <= cols && height > 0 && width > 0) return;
  throw new Error(
    `expected an image with a tile of ${width} x ${height} at column ${left}, row ${top}, got ${cols} x ${rows}`,
  );
}

/**
 * Converts to RGB: gray is repeated, and the last of two or four channels, alpha, is dropped. Throws for more channels.
 */
export function toRgb({ rows, cols, channels, pixels }: Samples): Image {
  if (channels === 3) return { rows, cols, pixels };
  if (channels < 1 || channels > 4) {
    throw new Error(`expected 1 to 4 channels (gray or RGB, alpha is dropped), got ${channels}`);
  }
  const out = new Uint8Array(rows * cols * 3);
  const [green, blue] = channels === 4 ? [1, 2] : [0, 0];
  for (let from = 0, to = 0; to < out.length; from += channels, to += 3) {
    out[to] = pixels[from]!;
    out[to + 1] = pixels[from + green]!;
    out[to + 2] = pixels[from + blue]!;
  }
  return { rows, cols, pixels: out };
}

/**
 * Maps values to 0..255: `low` and less to 0, `high` and more to 255, linearly in between, to the nearest integer. NaN
 * becomes 0, as does everything if `low` equals `high`.
 */
export function toBytes(values: ArrayLike<number>, { low, high }: Levels, out: Uint8Array, start = 0): void {
  const scale = high > low ? 255 / (high - low) : 0;
  for (let i = 0; i < values.length; i++) {
    const value = (values[i]! - low) * scale;
    out[start + i] = value >= 255 ? 255 : value > 0 ? value + 0.5 : 0;
  }
}
