/** What the readers of image formats return: samples of any number of channels, in 8 bits. */
import {
  type Background,
  type Decoding,
  FIRST_CHANNELS,
  type ImagePart,
  type Levels,
  type ShownChannels,
} from "../image-location.js";
import { type Box, channelsOf, type Image, luminance, MAX_PIXELS, type Size } from "../pixels.js";

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
  /** Visits the values of a part, in the units that a range is given in. Throws as `read` does. */
  scan(source: Source, options: ReadOptions, visit: Visit): Promise<void>;
}

/** Takes values [pixels, channels], of which the first channel is number `first` of the image. */
export type Visit = (values: ArrayLike<number>, channels: number, first?: number) => void;

/** Throws for an empty image, and for one with more pixels than may be decoded. */
export function checkSize({ rows, cols }: Size, maxPixels = MAX_PIXELS): void {
  if (!(rows > 0 && cols > 0 && Number.isInteger(rows) && Number.isInteger(cols)))
    throw new Error(`expected at least one pixel, got ${cols} x ${rows}`);
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

/** Levels of backgrounds. */
export const backgrounds = { white: 255, gray: 128, black: 0 } as const satisfies Record<Background, number>;

/** Draws gray or RGB with alpha on a background; returns images of other than two or four channels as they are. */
export function onBackground(samples: Samples, background: Background): Samples {
  const { rows, cols, channels, pixels } = samples;
  if (channels !== 2 && channels !== 4) return samples;
  const opaque = channels - 1;
  const out = new Uint8Array(rows * cols * opaque);
  for (let from = 0, to = 0; to < out.length; from += channels) {
    const alpha = pixels[from + opaque]! / 255;
    const behind = (1 - alpha) * backgrounds[background];
    for (let channel = 0; channel < opaque; channel++) out[to++] = Math.round(alpha * pixels[from + channel]! + behind);
  }
  return { rows, cols, channels: opaque, pixels: out };
}

/**
 * Converts to a number of channels. To three: gray is repeated, and the last of two or four channels, alpha, is dropped. To one:
 * the luminance of red, green and blue. Throws for other differences. Channels to show are taken of any number.
 */
export function toChannels(samples: Samples, wanted: number | ShownChannels = 3): Image {
  const { rows, cols, channels, pixels } = samples;
  if (channels === wanted) return { rows, cols, pixels };
  if (wanted === 1 && channels <= 4) return toGray(samples);
  if (typeof wanted === "object") return toRgb(samples, channels > Math.max(...wanted) ? wanted : FIRST_CHANNELS);
  if (wanted === 3 && channels <= 4) return toRgb(samples, FIRST_CHANNELS);
  throw new Error(
    wanted === 3
      ? `expected 1 to 4 channels (gray or RGB, alpha is dropped), got ${channels}; --channels ${channels} takes all`
      : `expected ${wanted} channels, got ${channels}`,
  );
}

/** Returns an image as red, green and blue for a picture. */
export function asColors(image: Image, shown: ShownChannels): Image {
  return toChannels({ ...image, channels: channelsOf(image) }, shown);
}

/** Converts to RGB: gray is repeated, and of more than two channels, three are taken. */
function toRgb({ rows, cols, channels, pixels }: Samples, shown: ShownChannels): Image {
  const out = new Uint8Array(rows * cols * 3);
  const [red, green, blue] = channels >= 3 ? shown : [0, 0, 0];
  for (let from = 0, to = 0; to < out.length; from += channels, to += 3) {
    out[to] = pixels[from + red]!;
    out[to + 1] = pixels[from + green]!;
    out[to + 2] = pixels[from + blue]!;
  }
  return { rows, cols, pixels: out };
}

/** Takes the first of two channels, or the luminance of three or four. */
function toGray({ rows, cols, channels, pixels }: Samples): Image {
  const out = new Uint8Array(rows * cols);
  for (let to = 0, from = 0; to < out.length; to++, from += channels) {
    out[to] = channels < 3 ? pixels[from]! : luminance(pixels[from]!, pixels[from + 1]!, pixels[from + 2]!);
  }
  return { rows, cols, pixels: out };
}

/**
 * Maps values to 0..255: `low` and less to 0, `high` and more to 255, linearly in between, to the nearest integer. NaN
 * becomes 0, as does everything if `low` equals `high`.
 */
export function toBytes(
  values: ArrayLike<number>,
  { low, high }: Levels,
  out: Uint8Array,
  { start = 0, channel = 0, channels = 1 } = {},
): void {
  const scale = high > low ? 255 / (high - low) : 0;
  for (let i = channel; i < values.length; i += channels) {
    const value = (values[i]! - low) * scale;
    out[start + i] = value >= 255 ? 255 : value > 0 ? value + 0.5 : 0;
  }
}

/**
 * Maps values [pixels, channels] to 0..255 by a range, two numbers for all channels or two for each. Throws for another number of
 * channels.
 */
export function toBytesInRange(
  values: ArrayLike<number>,
  channels: number,
  range: readonly number[],
  out: Uint8Array,
  start = 0,
): void {
  if (range.length === 2) {
    toBytes(values, { low: range[0]!, high: range[1]! }, out, { start });
    return;
  }
  if (range.length !== 2 * channels)
    throw new Error(`expected ${range.length / 2} channels, for which --range is given, got ${channels}`);
  for (let channel = 0; channel < channels; channel++) {
    const levels = { low: range[2 * channel]!, high: range[2 * channel + 1]! };
    toBytes(values, levels, out, { start, channel, channels });
  }
}
