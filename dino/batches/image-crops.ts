/** The crops of some images of a batch, on whatever thread makes them. */
import { applyCropU8, type AugmentOptions, drawCrops } from "../images/augment.js";
import { type DecodeFailure, isFailure } from "../images/image-location.js";
import { type Image, normalize, normalizeTable, packPixels, resize } from "../images/pixels.js";
import type { CroppedPicture } from "./crop-maker.js";

export interface CropSettings {
  readonly augment: AugmentOptions;
  readonly seed: number;
  /** Leaves making the crops to a device: pictures of so many pixels at most are prepared instead. */
  readonly pixelsPerPicture?: number;
}

/** What was made of some images. */
export interface MadeCrops {
  /** Of each image in turn: its global crops, then its local ones, each [3, rows, cols]; unset where decoding failed. */
  readonly crops: Float32Array<ArrayBuffer>;
  /** Of each image in turn, where a device makes the crops: its pixels [pixelsPerPicture], and what to make of them. */
  readonly pixels: Uint32Array<ArrayBuffer>;
  readonly pictures: readonly (CroppedPicture | undefined)[];
  readonly failures: readonly { readonly item: number; readonly failure: DecodeFailure }[];
}

/** Decodes images and makes their crops, or prepares them for a device that does. */
export interface Cropper {
  /** Images of one call that keep it busy without delaying the others. */
  readonly imagesPerTask: number;
  crop(epoch: number, items: readonly CropItem[]): Promise<MadeCrops>;
  close(): Promise<void>;
}

/** An image of a task. */
export interface CropItem {
  readonly index: number;
  /** Key of the random draws of its crops: its own index, or that of the image that it stands in for. */
  readonly key: number;
}

/** Some images of an epoch on their way into a batch. */
export interface CropBuffer {
  readonly made: MadeCrops;
  /** Takes an image; `key` is what its crops are drawn for: its number, or that of the one it stands in for. */
  readonly add: (item: number, image: Image | DecodeFailure, key: number) => void;
}

/** Makes sheets for so many images of an epoch. */
export function cropBuffers({
  augment,
  seed,
  pixelsPerPicture,
}: CropSettings): (count: number, epoch: number) => CropBuffer {
  const table = normalizeTable(augment);
  const { globalSize, localSize, localCrops } = augment;
  const valuesPerImage = 3 * (2 * globalSize.rows * globalSize.cols + localCrops * localSize.rows * localSize.cols);
  return (count, epoch) => {
    const crops = new Float32Array(pixelsPerPicture === undefined ? count * valuesPerImage : 0);
    const pixels = new Uint32Array(count * (pixelsPerPicture ?? 0));
    const pictures = Array.from({ length: count }, (): CroppedPicture | undefined => undefined);
    const failures: { item: number; failure: DecodeFailure }[] = [];
    return {
      made: { crops, pixels, pictures, failures },
      add: (item, image, index) => {
        if (isFailure(image)) {
          failures.push({ item, failure: image });
          return;
        }
        if (pixelsPerPicture !== undefined) {
          const picture = shrinkToPixels(image, pixelsPerPicture);
          packPixels(picture, pixels, item * pixelsPerPicture);
          pictures[item] = { cols: picture.cols, crops: drawCrops(augment, { seed, epoch, index }, picture) };
          return;
        }
        let start = item * valuesPerImage;
        for (const parameters of drawCrops(augment, { seed, epoch, index }, image)) {
          normalize(applyCropU8(image, parameters), table, crops, start);
          start += 3 * parameters.size.rows * parameters.size.cols;
        }
      },
    };
  };
}

/** The image itself, or shrunk to so many pixels. */
function shrinkToPixels(image: Image, pixels: number): Image {
  const share = Math.sqrt(pixels / (image.rows * image.cols));
  if (share >= 1) return image;
  const shrunk = (side: number) => Math.max(1, Math.floor(side * share));
  return resize(image, { rows: shrunk(image.rows), cols: shrunk(image.cols) });
}
