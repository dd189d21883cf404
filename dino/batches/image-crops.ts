/** Cropping of images on the CPU, on any thread. */
import { applyCropU8, type AugmentOptions, drawCrops } from "../images/augment.js";
import { type DecodeFailure, isFailure } from "../images/image-location.js";
import {
  channelsOf,
  type Image,
  normalize,
  normalizeTable,
  packedWords,
  packPixels,
  resize,
} from "../images/pixels.js";
import { cropValues } from "./crop-layout.js";
import type { CroppedPicture } from "./crop-maker.js";

export interface CropSettings {
  readonly augment: AugmentOptions;
  readonly seed: number;
  /** If set, prepares images of at most this many pixels for cropping on a device. */
  readonly pixelsPerPicture?: number;
}

/** Result of a task. */
export interface MadeCrops {
  /** Crops image by image: global, then local ones, each [channels, rows, cols]; unset if decoding failed. */
  readonly crops: Float32Array<ArrayBuffer>;
  /** If a device makes the crops: pixels image by image, packed by `packPixels`, and the crop parameters. */
  readonly pixels: Uint32Array<ArrayBuffer>;
  readonly pictures: readonly (CroppedPicture | undefined)[];
  readonly failures: readonly { readonly item: number; readonly failure: DecodeFailure }[];
}

/** Decodes images and makes their crops, or prepares them for a device. */
export interface Cropper {
  /** Images per call that keep it busy without delaying others. */
  readonly imagesPerTask: number;
  crop(epoch: number, items: readonly CropItem[]): Promise<MadeCrops>;
  close(): Promise<void>;
}

/** An image of a task. */
export interface CropItem {
  readonly index: number;
  /** Key of the random draws of its crops: its own index, or that of the image it replaces. */
  readonly key: number;
}

/** A buffer for the crops of a task. */
export interface CropBuffer {
  readonly made: MadeCrops;
  /** Makes the crops of an image or records its failure; `key` seeds the random draws. */
  readonly add: (item: number, image: Image | DecodeFailure, key: number) => void;
}

/** Returns a function that allocates a buffer for `count` images of an epoch. */
export function cropBuffers({
  augment,
  seed,
  pixelsPerPicture,
}: CropSettings): (count: number, epoch: number) => CropBuffer {
  const table = normalizeTable(augment);
  const channels = augment.mean.length;
  const words = packedWords(channels) * (pixelsPerPicture ?? 0);
  const { valuesPerImage } = cropValues(augment);
  return (count, epoch) => {
    const crops = new Float32Array(pixelsPerPicture === undefined ? count * valuesPerImage : 0);
    const pixels = new Uint32Array(count * words);
    const pictures = Array.from({ length: count }, (): CroppedPicture | undefined => undefined);
    const failures: { item: number; failure: DecodeFailure }[] = [];
    return {
      made: { crops, pixels, pictures, failures },
      add: (item, image, index) => {
        if (isFailure(image)) {
          failures.push({ item, failure: image });
          return;
        }
        if (channelsOf(image) !== channels)
          throw new Error(`crops: expected images of ${channels} channels, got ${channelsOf(image)}`);
        if (pixelsPerPicture !== undefined) {
          const picture = shrinkToPixels(image, pixelsPerPicture);
          packPixels(picture, pixels, item * words, pixelsPerPicture);
          const { rows, cols } = picture;
          pictures[item] = { rows, cols, crops: drawCrops(augment, { seed, epoch, index }, picture) };
          return;
        }
        let start = item * valuesPerImage;
        for (const parameters of drawCrops(augment, { seed, epoch, index }, image)) {
          normalize(applyCropU8(image, parameters), table, crops, start);
          start += channels * parameters.size.rows * parameters.size.cols;
        }
      },
    };
  };
}

/** Shrinks an image to at most this many pixels. */
function shrinkToPixels(image: Image, pixels: number): Image {
  const share = Math.sqrt(pixels / (image.rows * image.cols));
  if (share >= 1) return image;
  const shrunk = (side: number) => Math.max(1, Math.floor(side * share));
  return resize(image, { rows: shrunk(image.rows), cols: shrunk(image.cols) });
}
