/** Reader of JPEG, PNG, WebP, GIF, AVIF, and TIFF of up to 8 bits: libvips, through sharp. */
import sharp, { type Sharp } from "sharp";
import type { ImagePart } from "../image-location.js";
import { type Image, MAX_PIXELS, type Size } from "../pixels.js";
import type { ReadOptions, Samples, Source } from "./samples.js";

// Every file is read once an epoch, so a cache only costs memory; many files are decoded at once, so one thread each.
sharp.cache(false);
sharp.concurrency(1);
// An SVG may ask for other files.
sharp.block({ operation: ["VipsForeignLoadSvg"] });

/** Reads an image upright as RGB, shrunk while it is decoded if `shortSide` asks for it. */
export async function read(source: Source, options: ReadOptions): Promise<Samples> {
  const { shortSide, part } = options;
  const whole = open(source, options).autoOrient();
  const tile = part?.tile;
  const shown = tile ? whole.extract(tile) : whole;
  const { rows, cols, pixels } = await toPixels(shortSide === undefined ? shown : shrunk(shown, shortSide));
  return { rows, cols, channels: 3, pixels };
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

async function toPixels(image: Sharp): Promise<Image> {
  const { data, info } = await image
    .removeAlpha()
    .toColourspace("srgb")
    .raw({ depth: "uchar" })
    .toBuffer({ resolveWithObject: true });
  if (info.channels !== 3) throw new Error(`expected 3 channels, got ${info.channels}`);
  return { rows: info.height, cols: info.width, pixels: new Uint8Array(data.buffer, data.byteOffset, data.length) };
}
