/** Decoding of images from any location, on any thread. */
import sharp, { type Sharp } from "sharp";
import { readHead, readRange } from "../../files/files.js";
import { formatOf, HEAD_BYTES, whyForeign } from "../formats/kind.js";
import { type DecodeFailure, type Decoding, type ImageLocation, type RawForm } from "../image-location.js";
import { type Image, MAX_PIXELS, type Size } from "../pixels.js";
import { readPageValue } from "./parquet-page.js";

/** Maximum size of an encoded image. */
const MAX_BYTES = 2 ** 29;

// Every file is read once an epoch, so a cache only costs memory; many files are decoded at once, so one thread each.
sharp.cache(false);
sharp.concurrency(1);
// An SVG may ask for other files.
sharp.block({ operation: ["VipsForeignLoadSvg"] });

/**
 * Decodes an image on the calling thread to RGB. Alpha is dropped, as PIL's convert("RGB") does in the official code;
 * of an animation, the first frame is used; unlike the official code, EXIF orientation is applied.
 */
export async function decodeImage(place: ImageLocation, decoding: Decoding = {}): Promise<Image | DecodeFailure> {
  const { raw, name } = place;
  return orFailure(name, async () => {
    if (raw) return unpack(await bytesOf(place), raw);
    const { shortSide } = decoding;
    const upright = (await openSharp(place, decoding)).autoOrient();
    const shrunk =
      shortSide === undefined
        ? upright
        : upright.resize({ width: shortSide, height: shortSide, fit: "outside", withoutEnlargement: true });
    const { data, info } = await shrunk
      .removeAlpha()
      .toColourspace("srgb")
      .raw({ depth: "uchar" })
      .toBuffer({ resolveWithObject: true });
    if (info.channels !== 3) throw new Error(`expected 3 channels, got ${info.channels}`);
    return { rows: info.height, cols: info.width, pixels: new Uint8Array(data.buffer, data.byteOffset, data.length) };
  });
}

/** Reads the size of an image, without shrinking, from its header; returns a failure if that is impossible. */
export async function measureSize(place: ImageLocation): Promise<Size | DecodeFailure> {
  const { raw, name } = place;
  if (raw) return { rows: raw.rows, cols: raw.cols };
  return orFailure(name, async () => {
    const { width, height } = (await (await openSharp(place, {})).metadata()).autoOrient;
    return { rows: height, cols: width };
  });
}

async function openSharp(place: ImageLocation, { torn, maxPixels = MAX_PIXELS }: Decoding): Promise<Sharp> {
  const options = { failOn: torn === "shown" ? "none" : "error", limitInputPixels: maxPixels } as const;
  const source = place.bytes.kind === "file" ? place.bytes.path : await bytesOf(place);
  const head = typeof source === "string" ? readHead(source, HEAD_BYTES) : source.subarray(0, HEAD_BYTES);
  if (formatOf(head) === undefined) throw new Error(whyForeign(head));
  return sharp(source, options);
}

async function bytesOf({ bytes }: ImageLocation): Promise<Uint8Array> {
  switch (bytes.kind) {
    case "file":
      throw new Error("files are read by the decoder");
    case "memory":
      return bytes.memory.subarray(bytes.start, bytes.start + bytes.size);
    case "range":
      if (bytes.size > MAX_BYTES) throw new Error(`expected at most ${MAX_BYTES} bytes, got ${bytes.size}`);
      return readRange(bytes.path, bytes.start, bytes.size);
    case "page":
      return readPageValue(bytes);
    default:
      return bytes satisfies never;
  }
}

/** Converts raw pixels to [rows, cols, 3]. */
function unpack(bytes: Uint8Array, { rows, cols, layout }: RawForm): Image {
  if (layout === "rgb") return { rows, cols, pixels: bytes };
  const count = rows * cols;
  const plane = layout === "gray" ? 0 : count;
  const pixels = new Uint8Array(3 * count);
  for (let i = 0, at = 0; i < count; i++, at += 3) {
    pixels[at] = bytes[i]!;
    pixels[at + 1] = bytes[plane + i]!;
    pixels[at + 2] = bytes[2 * plane + i]!;
  }
  return { rows, cols, pixels };
}

async function orFailure<T extends Size>(path: string, decode: () => Promise<T>): Promise<T | DecodeFailure> {
  try {
    return await decode();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const tooLarge = /exceeds pixel limit/.test(message);
    return { path, reason: tooLarge ? `${message}; --max-pixels sets the limit` : message };
  }
}
