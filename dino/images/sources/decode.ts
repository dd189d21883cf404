/** Decoding of images from any location, on any thread. */
import { readHead, readRange } from "../../files/files.js";
import { type Format, formatOf, HEAD_BYTES, whyForeign } from "../formats/kind.js";
import * as photo from "../formats/photo.js";
import {
  onBackground,
  type Reader,
  type Samples,
  type Source,
  toBytesInRange,
  toChannels,
  type Visit,
} from "../formats/samples.js";
import type { ByteLocation, DecodeFailure, Decoding, ImageLocation, RawForm } from "../image-location.js";
import type { Image, Size } from "../pixels.js";
import { readPageValue } from "./parquet-page.js";

/** Maximum size of an encoded image within a larger file. */
export const MAX_BYTES = 2 ** 29;

/** Readers of the formats; those that few datasets need are loaded on demand. */
const readers = {
  jpeg: () => photo,
  png: () => photo,
  webp: () => photo,
  gif: () => photo,
  avif: () => photo,
  tiff: () => import("../formats/tiff.js"),
  jxl: () => import("../formats/jxl.js"),
  dicom: () => import("../formats/dicom.js"),
  bmp: () => import("../formats/bmp.js"),
  pnm: () => import("../formats/pnm.js"),
} as const satisfies Record<Format, () => Reader | Promise<Reader>>;

/**
 * Decodes an image on the calling thread to RGB, or to other channels. Alpha is dropped from RGB, as PIL's convert("RGB") does in the official code,
 * unless there is a background; of an animation, the first frame is used; unlike the official code, EXIF orientation is applied.
 */
export async function decodeImage(place: ImageLocation, decoding: Decoding = {}): Promise<Image | DecodeFailure> {
  const { raw, name, part } = place;
  return orFailure(name, async () => {
    if (raw) return toChannels(unpack(await bytesOf(place.bytes), raw, decoding.range), decoding.channels);
    const { source, reader } = await openSource(place);
    const samples = await reader.read(source, { ...decoding, part });
    const { background, channels } = decoding;
    const image = toChannels(
      background && samples.channels !== channels ? onBackground(samples, background) : samples,
      channels,
    );
    return decoding.shortSide === undefined ? image : photo.shrink(image, decoding.shortSide);
  });
}

/** Reads the size of an image, without shrinking, from its header; returns a failure if that is impossible. */
export async function measureSize(place: ImageLocation): Promise<Size | DecodeFailure> {
  const { raw, name, part } = place;
  if (raw) return { rows: raw.rows, cols: raw.cols };
  if (part?.tile) return { rows: part.tile.height, cols: part.tile.width };
  return orFailure(name, async () => {
    const { source, reader } = await openSource(place);
    return reader.measure(source, part);
  });
}

/** Whether an image has transparent pixels. False for formats without them, and for files that cannot be decoded. */
export async function isTransparent(place: ImageLocation): Promise<boolean> {
  if (place.raw) return false;
  try {
    return await photo.isTransparent((await openSource(place)).source);
  } catch {
    return false;
  }
}

/** Visits the values of an image as files have them. Throws if it cannot be decoded. */
export async function scanImage(place: ImageLocation, decoding: Decoding, visit: Visit): Promise<void> {
  const { raw, part } = place;
  if (raw) {
    const { pixels, channels } = unpack(await bytesOf(place.bytes), raw);
    visit(pixels, channels);
    return;
  }
  const { source, reader } = await openSource(place);
  await reader.scan(source, { ...decoding, part }, visit);
}

async function openSource({ bytes }: ImageLocation): Promise<{ readonly source: Source; readonly reader: Reader }> {
  const source = bytes.kind === "file" ? bytes.path : await bytesOf(bytes);
  const head = typeof source === "string" ? readHead(source, HEAD_BYTES) : source.subarray(0, HEAD_BYTES);
  const format = formatOf(head);
  if (format === undefined) throw new Error(whyForeign(head));
  return { source, reader: await readers[format]() };
}

async function bytesOf(bytes: ByteLocation): Promise<Uint8Array> {
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

/** Arranges raw values as [rows, cols, channels] and maps them by a range, if one is given. */
function unpack(bytes: Uint8Array, { rows, cols, layout }: RawForm, range?: readonly number[]): Samples {
  const count = rows * cols;
  const channels = bytes.length / count;
  const pixels = layout === "pixels" && range === undefined ? bytes : new Uint8Array(bytes.length);
  if (layout === "planes") {
    for (let channel = 0, i = 0; channel < channels; channel++) {
      for (let at = channel; at < pixels.length; at += channels, i++) pixels[at] = bytes[i]!;
    }
  }
  if (range) toBytesInRange(layout === "planes" ? pixels : bytes, channels, range, pixels);
  return { rows, cols, channels, pixels };
}

async function orFailure<T extends Size>(path: string, decode: () => Promise<T>): Promise<T | DecodeFailure> {
  try {
    return await decode();
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    const message = [...new Set(text.trim().split("\n"))].join("; "); // libvips repeats warnings
    const tooLarge = /exceeds pixel limit/.test(message);
    return { path, reason: tooLarge ? `${message}; --max-pixels sets the limit` : message };
  }
}
