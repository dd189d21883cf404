/** Reusable memory of batches. */
import type { ImageSet } from "../images/image-set.js";
import { cropPosition, GLOBAL_CROPS } from "./crop-layout.js";
import type { CroppedPicture } from "./crop-maker.js";
import type { Cropper, MadeCrops } from "./image-crops.js";

/** Sizes of the arrays of a batch. */
export interface SlotLayout {
  /** Images of the batch on this device. */
  readonly images: number;
  /** Number of equal parts. */
  readonly parts: number;
  /** Values per global crop, per local crop, and per image. */
  readonly globalValues: number;
  readonly localValues: number;
  readonly valuesPerImage: number;
  /** Local crops per image. */
  readonly localCrops: number;
  /** Pixels per image if a device makes the crops; otherwise 0. */
  readonly pixelsPerPicture: number;
  /** Packed words per image, likewise. */
  readonly wordsPerPicture: number;
}

/** A batch that is ready or being made. Slots are reused. */
export interface Slot {
  epoch: number;
  iteration: number;
  /** Settles when all images are in place. */
  filled: Promise<void>;
  isReady: boolean;
  /**
   * Keys of the random draws of crops, [images]: the image index in the shuffled order, even if another image replaces
   * it, plus a multiple of the number of images for repetitions within the epoch.
   */
  readonly keys: Uint32Array;
  readonly indices: Int32Array<ArrayBuffer>;
  readonly globals: Float32Array<ArrayBuffer>;
  readonly locals: Float32Array<ArrayBuffer>;
  readonly pixels: Uint32Array<ArrayBuffer>;
  readonly pictures: CroppedPicture[];
}

/** Allocates a slot. */
export function createSlot(layout: SlotLayout): Slot {
  const { images, globalValues, localValues, localCrops, wordsPerPicture } = layout;
  const cropsHere = wordsPerPicture === 0;
  return {
    epoch: 0,
    iteration: 0,
    filled: Promise.resolve(),
    isReady: false,
    keys: new Uint32Array(images),
    indices: new Int32Array(images),
    globals: new Float32Array(cropsHere ? GLOBAL_CROPS * images * globalValues : 0),
    locals: new Float32Array(cropsHere ? localCrops * images * localValues : 0),
    pixels: new Uint32Array(images * wordsPerPicture),
    pictures: [],
  };
}

/** Assignment of an image to a position in a slot. */
export interface Assignment {
  /** Position in the slot. */
  readonly position: number;
  /** Position in the list of images to train on. */
  readonly candidate: number;
}

export interface FillOptions {
  readonly images: ImageSet;
  /** The images to train on. */
  readonly indices: Int32Array;
  readonly cropper: Cropper;
  readonly layout: SlotLayout;
}

/**
 * Returns a function that makes the crops of assigned images. An image that cannot be decoded is recorded in
 * `images.failures` and replaced by the next decodable one of `indices`. The function throws if none can be decoded.
 */
export function slotFiller(options: FillOptions): (slot: Slot, assignments: readonly Assignment[]) => Promise<void> {
  const { images, indices, cropper, layout } = options;

  /** Returns the first position from `start`, wrapping around, whose image has not failed. */
  const nextDecodable = (start: number): number => {
    for (let offset = 0; offset < indices.length; offset++) {
      const candidate = (start + offset) % indices.length;
      if (!images.failures.has(indices[candidate]!)) return candidate;
    }
    const { path, reason } = images.failures.get(indices[0]!)!;
    throw new Error(
      `batches: expected images, but not one of the ${indices.length} to train on could be decoded; ${path}: ${reason}`,
    );
  };

  return async function fill(slot, assignments) {
    const tried = assignments.map(({ position, candidate }) => ({ position, candidate: nextDecodable(candidate) }));
    const items = tried.map(({ position, candidate }) => ({ index: indices[candidate]!, key: slot.keys[position]! }));
    const made = await cropper.crop(slot.epoch, items);
    const failures = new Map(made.failures.map(({ item, failure }) => [item, failure]));
    for (const [item, { position, candidate }] of tried.entries()) {
      const failure = failures.get(item);
      if (failure) {
        images.fail(indices[candidate]!, failure);
      } else {
        slot.indices[position] = indices[candidate]!;
        copyImage(made, item, { slot, layout, position });
      }
    }
    const failed = tried.filter((_, item) => failures.has(item));
    if (failed.length > 0) await fill(slot, failed);
  };
}

/** Copies the crops of one image to its position in a slot. */
function copyImage(
  { crops, pixels, pictures }: MadeCrops,
  item: number,
  { slot, layout, position }: { readonly slot: Slot; readonly layout: SlotLayout; readonly position: number },
): void {
  const { images, parts, globalValues, localValues, valuesPerImage, localCrops, wordsPerPicture } = layout;
  if (wordsPerPicture > 0) {
    const picture = pixels.subarray(item * wordsPerPicture, (item + 1) * wordsPerPicture);
    slot.pixels.set(picture, position * wordsPerPicture);
    slot.pictures[position] = pictures[item]!;
    return;
  }
  let from = item * valuesPerImage;
  for (let crop = 0; crop < GLOBAL_CROPS; crop++, from += globalValues) {
    const row = cropPosition({ crops: GLOBAL_CROPS, images, parts }, crop, position);
    slot.globals.set(crops.subarray(from, from + globalValues), row * globalValues);
  }
  for (let crop = 0; crop < localCrops; crop++, from += localValues) {
    const row = cropPosition({ crops: localCrops, images, parts }, crop, position);
    slot.locals.set(crops.subarray(from, from + localValues), row * localValues);
  }
}
