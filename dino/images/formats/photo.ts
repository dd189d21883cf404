/** Reader of JPEG, PNG, WebP, GIF, AVIF, and TIFF of up to 8 bits: libvips, through sharp. */
import sharp, { type Sharp } from "sharp";
import type { ImagePart } from "../image-location.js";
import { channelsOf, type Image, MAX_PIXELS, resize, shortSideSize, type Size } from "../pixels.js";
import { backgrounds, type ReadOptions, type Samples, type Source, toBytesInRange, type Visit } from "./samples.js";

// Every file is read once an epoch, so a cache only costs memory; many files are decoded at once, so one thread each.
sharp.cache(false);
sharp.concurrency(1);
// An SVG may ask for other files.
sharp.block({ operation: ["VipsForeignLoadSvg"] });

/**
 * Reads an image upright as RGB, shrunk while it is decoded if `shortSide` asks for it. Alpha is kept where two or four channels
 * are wanted, drawn on the background if there is one, and dropped if there is none.
 */
export async function read(source: Source, options: ReadOptions): Promise<Samples> {
  const { channels, range } = options;
  const shown = upright(source, options);
  if (range === undefined && !keepsAlpha(channels)) {
    const { rows, cols, pixels } = await toPixels(shown, options);
    return { rows, cols, channels: 3, pixels };
  }
  const { values, ...size } = await toValues(shown, { ...options, depth: range ? "own" : "uchar" });
  if (range === undefined) return { ...size, pixels: values as Uint8Array };
  const pixels = new Uint8Array(values.length);
  toBytesInRange(values, size.channels, range, pixels);
  return { ...size, pixels };
}

/** Whether alpha is a channel like others. */
function keepsAlpha(channels: ReadOptions["channels"]): boolean {
  return typeof channels === "object" ? Math.max(...channels) === 3 : channels === 2 || channels === 4;
}

/** Visits the values of an image. */
export async function scan(source: Source, options: ReadOptions, visit: Visit): Promise<void> {
  const { values, channels } = await toValues(upright(source, options), { ...options, depth: "own" });
  visit(values, channels);
}

/** Opens an image, turned upright, cut and shrunk as the options ask for. */
function upright(source: Source, options: ReadOptions): Sharp {
  const { shortSide, part } = options;
  const whole = open(source, options).autoOrient();
  const shown = part?.tile ? whole.extract(part.tile) : whole;
  return shortSide === undefined ? shown : shrunk(shown, shortSide);
}

/** Reads the size of an image, upright, from its header. */
export async function measure(source: Source, part?: ImagePart): Promise<Size> {
  const { width, height } = (await open(source, { part, maxPixels: Infinity }).metadata()).autoOrient;
  return { rows: height, cols: width };
}

/** Shrinks an image so that its shorter side has at most this many pixels. */
export async function shrink(image: Image, shortSide: number): Promise<Image> {
  const { rows, cols, pixels } = image;
  if (Math.min(rows, cols) <= shortSide) return image;
  if (channelsOf(image) !== 3) return resize(image, shortSideSize(image, shortSide), "lanczos");
  return toPixels(shrunk(sharp(pixels, { raw: { width: cols, height: rows, channels: 3 } }), shortSide));
}

function open(source: Source, { torn, maxPixels = MAX_PIXELS, part }: ReadOptions): Sharp {
  return sharp(source, {
    failOn: torn === "shown" ? "none" : "error",
    limitInputPixels: maxPixels === Infinity ? false : maxPixels,
    ...(typeof part?.page === "number" && { page: part.page - 1 }),
  });
}

function shrunk(image: Sharp, shortSide: number): Sharp {
  return image.resize({ width: shortSide, height: shortSide, fit: "outside", withoutEnlargement: true });
}

/**
 * Decodes to RGB, with alpha where four channels are wanted; to gray with alpha where two are, and gray files to gray where one is. Values
 * have 8 bits, or those of the file.
 */
async function toValues(
  image: Sharp,
  { channels, background, depth }: Pick<ReadOptions, "channels" | "background"> & { readonly depth: "own" | "uchar" },
): Promise<Size & { readonly channels: number; readonly values: Uint8Array | Uint16Array }> {
  const own = await image.metadata();
  const isDeep = depth === "own" && own.depth === "ushort";
  const isGray = channels === 2 || (channels === 1 && own.channels <= 2);
  const space = isGray ? (isDeep ? "grey16" : "b-w") : isDeep ? "rgb16" : "srgb";
  const opaque = keepsAlpha(channels) ? image : withoutAlpha(image, background);
  const { data, info } = await opaque
    .toColourspace(space)
    .raw({ depth: isDeep ? "ushort" : "uchar" })
    .toBuffer({ resolveWithObject: true });
  const values = isDeep
    ? new Uint16Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.length))
    : new Uint8Array(data.buffer, data.byteOffset, data.length);
  return { rows: info.height, cols: info.width, channels: info.channels, values };
}

/** Whether an image has pixels that are not opaque. */
export async function isTransparent(source: Source): Promise<boolean> {
  const image = open(source, {});
  return (await image.metadata()).hasAlpha && !(await image.stats()).isOpaque;
}

function withoutAlpha(image: Sharp, background: ReadOptions["background"]): Sharp {
  if (background === undefined) return image.removeAlpha();
  const level = backgrounds[background];
  return image.flatten({ background: { r: level, g: level, b: level } }).removeAlpha();
}

async function toPixels(image: Sharp, { background }: Pick<ReadOptions, "background"> = {}): Promise<Image> {
  const { data, info } = await withoutAlpha(image, background)
    .toColourspace("srgb")
    .raw({ depth: "uchar" })
    .toBuffer({ resolveWithObject: true });
  if (info.channels !== 3) throw new Error(`expected 3 channels, got ${info.channels}`);
  return { rows: info.height, cols: info.width, pixels: new Uint8Array(data.buffer, data.byteOffset, data.length) };
}
