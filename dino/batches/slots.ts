/** The memory of batches, and the images that fill it. */
import type { ImageSet } from "../images/image-set.js";
import { cropPosition, GLOBAL_CROPS } from "./crop-layout.js";
import type { CroppedPicture } from "./crop-maker.js";
import type { Cropper, MadeCrops } from "./image-crops.js";

/** The sizes of a batch's arrays. */
export interface SlotLayout {
  /** Images of the batch on this device. */
  readonly images: number;
  /** Equal parts that the crops lie in. */
  readonly parts: number;
  /** Values of a global crop and of a local one. */
  readonly globalValues: number;
  readonly localValues: number;
  /** Local crops of an image. */
  readonly localCrops: number;
  /** Pixels of an image whose crops the device makes; 0 where they are made here. */
  readonly pixelsPerPicture: number;
}

/** A batch, ready or in the making. Slots are used again, one batch after another. */
export interface Slot {
  epoch: number;
  iteration: number;
  /** Settles when all images are in place. */
  filled: Promise<void>;
  isReady: boolean;
  /**
   * The keys of the random draws of crops, [images]: the image's number in the shuffled order, even if another stands in, plus
   * a multiple of the number of images where the image came before in the epoch.
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
  const { images, globalValues, localValues, localCrops, pixelsPerPicture } = layout;
  const cropsHere = pixelsPerPicture === 0;
  return {
    epoch: 0,
    iteration: 0,
    filled: Promise.resolve(),
    isReady: false,
    keys: new Uint32Array(images),
    indices: new Int32Array(images),
    globals: new Float32Array(cropsHere ? GLOBAL_CROPS * images * globalValues : 0),
    locals: new Float32Array(cropsHere ? localCrops * images * localValues : 0),
    pixels: new Uint32Array(images * pixelsPerPicture),
    pictures: [],
  };
}

/** An image to be put into a slot. */
export interface Assignment {
  /** Its position in the slot. */
  readonly position: number;
  /** Its position in the list of images to train on. */
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
 * Returns a function that makes the crops of some images of a slot. An image that cannot be decoded is noted in
 * `images.failures`, and the next one of `indices` that can be takes its position. The function throws where none can be.
 */
export function slotFiller(options: FillOptions): (slot: Slot, assignments: readonly Assignment[]) => Promise<void> {
  const { images, indices, cropper, layout } = options;

  /** The first image from `start` on, wrapping around, that has not failed yet. */
  const nextDecodable = (start: number): number => {
    for (let offset = 0; offset < indices.length; offset++) {
      const candidate = (start + offset) % indices.length;
      if (!images.failures.has(indices[candidate]!)) return candidate;
    }
    throw new Error(`batches: expected images, but not one of the ${indices.length} to train on could be decoded`);
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

/** Copies what was made of one image into its position in a slot. */
function copyImage(
  { crops, pixels, pictures }: MadeCrops,
  item: number,
  { slot, layout, position }: { readonly slot: Slot; readonly layout: SlotLayout; readonly position: number },
): void {
  const { images, parts, globalValues, localValues, localCrops, pixelsPerPicture } = layout;
  if (pixelsPerPicture > 0) {
    const picture = pixels.subarray(item * pixelsPerPicture, (item + 1) * pixelsPerPicture);
    slot.pixels.set(picture, position * pixelsPerPicture);
    slot.pictures[position] = pictures[item]!;
    return;
  }
  let from = item * (GLOBAL_CROPS * globalValues + localCrops * localValues);
  for (let crop = 0; crop < GLOBAL_CROPS; crop++, from += globalValues) {
    const row = cropPosition({ crops: GLOBAL_CROPS, images, parts }, crop, position);
    slot.globals.set(crops.subarray(from, from + globalValues), row * globalValues);
  }
  for (let crop = 0; crop < localCrops; crop++, from += localValues) {
    const row = cropPosition({ crops: localCrops, images, parts }, crop, position);
    slot.locals.set(crops.subarray(from, from + localValues), row * localValues);
  }
}
