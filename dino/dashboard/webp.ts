/** Pictures for pages as WebP. */
import sharp from "sharp";
import type { ShownChannels } from "../images/image-location.js";
import { type Image, resize, sizeWithin } from "../images/pixels.js";
import { asPicture } from "../pictures/drawing.js";

export interface WebpOptions {
  /** Maximum side; larger images are shrunk. */
  readonly side: number;
  /** 1 to 100; if left out 82, and pictures up to 64 pixels are lossless. */
  readonly quality?: number;
  /** The first three channels if left out. */
  readonly shown?: ShownChannels;
}

const SMALL = 64;

/** Encodes an image, shrunk for display. */
export async function encodeWebp(image: Image, { side, quality, shown }: WebpOptions): Promise<Uint8Array> {
  const isLarge = Math.max(image.rows, image.cols) > side;
  const { width, height, rgb } = asPicture(isLarge ? resize(image, sizeWithin(image, side)) : image, shown);
  const picture = sharp(rgb, { raw: { width, height, channels: 3 } });
  return picture
    .webp({ quality: quality ?? 82, lossless: quality === undefined && Math.max(width, height) <= SMALL })
    .toBuffer();
}
