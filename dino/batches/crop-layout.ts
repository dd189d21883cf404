/** The order in which the crops of a batch lie, for those who make them and those who read them. */

/** Global crops of an image: the teacher sees these, the student sees all crops. */
export const GLOBAL_CROPS = 2;

/** Crops of one size. */
export interface CropLayout {
  /** Crops of each image. */
  readonly crops: number;
  /** Images of the batch. */
  readonly images: number;
  /** Equal parts of the batch that go through the network one after another. */
  readonly parts: number;
}

/**
 * Where a crop of an image lies: part by part, in each of them crop 0 of every image, then crop 1 of every image, ...;
 * [parts, crops, images / parts], all counted from 0.
 */
export function cropPosition({ crops, images, parts }: CropLayout, crop: number, image: number): number {
  const each = imagesPerPart(images, parts);
  return (Math.floor(image / each) * crops + crop) * each + (image % each);
}

/** Images of each part of a batch. Throws where the parts are not equal. */
export function imagesPerPart(images: number, parts: number): number {
  checkEqualParts(images, parts);
  return images / parts;
}

/** Throws where a batch has no so many equal parts. */
export function checkEqualParts(images: number, parts: number): void {
  if (parts >= 1 && Number.isInteger(images / parts)) return;
  throw new Error(`crops: a batch of ${images} images has no ${parts} equal parts; take a number that divides it`);
}
