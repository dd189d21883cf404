/** Memory layout of the crops of a batch. */
import type { AugmentOptions } from "../images/augment.js";

/** Global crops of an image: the teacher sees these, the student sees all crops. */
export const GLOBAL_CROPS = 2;

/** Returns the numbers of values of a global crop, of a local crop, and of all crops of an image. */
export function cropValues({ globalSize, localSize, localCrops, mean }: AugmentOptions): {
  readonly globalValues: number;
  readonly localValues: number;
  readonly valuesPerImage: number;
} {
  const channels = mean.length;
  const globalValues = channels * globalSize.rows * globalSize.cols;
  const localValues = channels * localSize.rows * localSize.cols;
  return { globalValues, localValues, valuesPerImage: GLOBAL_CROPS * globalValues + localCrops * localValues };
}

/** Crops of one size. */
export interface CropLayout {
  /** Crops per image. */
  readonly crops: number;
  /** Images of the batch. */
  readonly images: number;
  /** Equal parts of the batch that go through the network one after another. */
  readonly parts: number;
}

/**
 * Returns the row of a crop in the layout [parts, crops, images / parts]: in each part, crop 0 of every image, then
 * crop 1 of every image, and so on; all counted from 0.
 */
export function cropPosition({ crops, images, parts }: CropLayout, crop: number, image: number): number {
  const each = imagesPerPart(images, parts);
  return (Math.floor(image / each) * crops + crop) * each + (image % each);
}

/** Returns the number of images per part. Throws unless the parts are equal. */
export function imagesPerPart(images: number, parts: number): number {
  checkEqualParts(images, parts);
  return images / parts;
}

/** Throws unless a batch divides into that many equal parts. */
export function checkEqualParts(images: number, parts: number): void {
  if (parts >= 1 && Number.isInteger(images / parts)) return;
  throw new Error(`crops: a batch of ${images} images has no ${parts} equal parts; take a number that divides it`);
}
