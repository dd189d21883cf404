/** Training batches: images augmented ahead of their use, by whatever makes the crops. */
import { checkAugmentOptions, type AugmentOptions } from "../images/augment.js";
import { type Sharer, shareOf } from "./batch-share.js";
import { cropPlace, GLOBAL_CROPS } from "./crop-layout.js";
import type { CroppedPicture } from "./crop-maker.js";
import type { CropSettings, MadeCrops } from "./image-crops.js";
import type { ImageSet } from "../images/image-set.js";
import { epochOrders, type Order } from "./order.js";

export interface BatchOptions {
  readonly images: ImageSet;
  /** The images to train on, in ascending order; all of them if left out. An Int32Array is not copied. */
  readonly indices?: ArrayLike<number>;
  /** Images in a batch. What is left of an epoch beyond whole batches is dropped, other images each time. */
  readonly batch: number;
  /** Equal parts that the crops of a batch lie in: 1 if left out. */
  readonly parts?: number;
  readonly seed: number;
  /** Images of large files that are shuffled at a time, see epochOrders: 0, for all, if left out. */
  readonly shuffleBuffer?: number;
  readonly augment: AugmentOptions;
  /** Batches made ahead of the one in use: 2 if left out. */
  readonly prefetch?: number;
  /** Leaves making the crops to a device: batches hold pictures instead. */
  readonly onDevice?: boolean;
  /** Makes this share of every batch alone, as `shareOf` has it: all of it if left out. */
  readonly share?: Sharer | undefined;
  /** Where to begin, to resume a run: the first batch if left out. */
  readonly start?: { readonly epoch: number; readonly iteration: number };
}

/** The crops of `batch` images, or of a share of them, each where `cropPlace` says. */
export interface Batch {
  readonly epoch: number;
  /** Within the epoch, from 0. */
  readonly iteration: number;
  /** [2 * batch, 3, rows, cols], normalised; empty where a device makes the crops */
  readonly globals: Float32Array<ArrayBuffer>;
  /** [localCrops * batch, 3, rows, cols], normalised; empty where a device makes the crops */
  readonly locals: Float32Array<ArrayBuffer>;
  /** Where a device makes the crops: pixels [batch, pixelsPerPicture], packed, and of each picture what to make of it. */
  readonly pixels: Uint32Array<ArrayBuffer>;
  readonly pictures: readonly CroppedPicture[];
  /** The image in each place: [batch]. */
  readonly indices: Int32Array<ArrayBuffer>;
  /** How long `next` had to wait for it. */
  readonly waitedMs: number;
  /** Batches that were ready when this one was asked for, itself included. */
  readonly ready: number;
}

/** What decodes images and makes their crops, or prepares them for a device that does. */
export interface Cropper {
  /** Images that it likes to be given at a time. */
  readonly imagesPerTask: number;
  crop(epoch: number, items: readonly CropItem[]): Promise<MadeCrops>;
  close(): Promise<void>;
}

/** An image of a task. */
export interface CropItem {
  readonly index: number;
  /** What the crops are drawn for: the number of the image, or of the one that it stands in for. */
  readonly key: number;
}

/** An endless row of batches, epoch after epoch, that depends on neither threads nor timing. */
export interface Batches {
  readonly iterationsPerEpoch: number;
  /** The most pixels of a picture where a device makes the crops; else 0. */
  readonly pixelsPerPicture: number;
  /**
   * The next batch. Its arrays are used again after the following call. Throws if the cropper failed, if no image can be
   * decoded, after `close`, and if the last call has not been answered yet.
   */
  next(): Promise<Batch>;
  /** Ends the cropper. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Opens a cropper and begins the first batches. In every epoch the images are shuffled anew; an image that cannot be decoded
 * is noted in `images.failures`, and the next one of `indices` that can be stands in for it.
 * Throws if there are fewer images than a batch holds, and for options that make no sense.
 */
export function openBatches(options: BatchOptions, openCropper: (settings: CropSettings) => Cropper): Batches {
  const {
    images,
    batch,
    parts = 1,
    seed,
    shuffleBuffer = 0,
    augment,
    prefetch = 2,
    onDevice = false,
    share = { rank: 0, size: 1 },
    start = { epoch: 0, iteration: 0 },
  } = options;
  const given = options.indices ?? new Int32Array(images.count).map((_, i) => i);
  const indices = given instanceof Int32Array ? given : new Int32Array(given);
  checkAugmentOptions(augment);
  checkWhole("batch", batch, 1);
  const taken = shareOf(batch, parts, share); // which throws
  const count = taken.length;
  checkWhole("prefetch", prefetch, 1);
  if (indices.length < batch) {
    throw new Error(
      `batches: expected at least one batch of ${batch} images, got ${indices.length}; make the batch smaller`,
    );
  }
  const strange = indices.find((index) => index < 0 || index >= images.count);
  if (strange !== undefined) {
    throw new Error(`batches indices: expected images from 0 to ${images.count - 1}, got ${strange}`);
  }
  if (indices.some((index, i) => i > 0 && index <= indices[i - 1]!))
    throw new Error("batches indices: expected images in ascending order, each once");
  const iterationsPerEpoch = Math.floor(indices.length / batch);
  checkWhole("start.epoch", start.epoch, 0);
  checkWhole("start.iteration", start.iteration, 0, iterationsPerEpoch - 1);

  const { globalSize, localSize, localCrops } = augment;
  const globalValues = 3 * globalSize.rows * globalSize.cols;
  const localValues = 3 * localSize.rows * localSize.cols;
  const valuesPerImage = 2 * globalValues + localCrops * localValues;

  const pixelsPerPicture = onDevice ? Math.min(images.largest ?? PIXELS_PER_FILE, PIXELS_PER_FILE) : 0;
  const cropper = openCropper({ augment, seed, ...(onDevice && { pixelsPerPicture }) });

  /** The first image from `place` on in the list, round its end, that is not known to be broken. */
  const nextGood = (place: number): number => {
    for (let step = 0; step < indices.length; step++) {
      const tried = (place + step) % indices.length;
      if (!images.failures.has(indices[tried]!)) return tried;
    }
    throw new Error(`batches: expected images, but not one of the ${indices.length} to train on could be decoded`);
  };

  async function fill(slot: Slot, positions: readonly number[], places: readonly number[]): Promise<void> {
    const tried = places.map(nextGood);
    const items = tried.map((place, i) => ({ index: indices[place]!, key: slot.drawn[positions[i]!]! }));
    const { crops, pixels, pictures, failures } = await cropper.crop(slot.epoch, items);
    const failed = new Map(failures.map(({ item, failure }) => [item, failure]));
    for (const [item, place] of tried.entries()) {
      const index = indices[place]!;
      const failure = failed.get(item);
      if (failure !== undefined) {
        images.fail(index, failure);
        continue;
      }
      const position = positions[item]!;
      slot.indices[position] = index;
      if (onDevice) {
        const picture = pixels.subarray(item * pixelsPerPicture, (item + 1) * pixelsPerPicture);
        slot.pixels.set(picture, position * pixelsPerPicture);
        slot.pictures[position] = pictures[item]!;
        continue;
      }
      let from = item * valuesPerImage;
      for (let crop = 0; crop < GLOBAL_CROPS; crop++, from += globalValues) {
        const place = cropPlace({ crops: GLOBAL_CROPS, images: count, parts }, crop, position);
        slot.globals.set(crops.subarray(from, from + globalValues), place * globalValues);
      }
      for (let crop = 0; crop < localCrops; crop++, from += localValues) {
        const place = cropPlace({ crops: localCrops, images: count, parts }, crop, position);
        slot.locals.set(crops.subarray(from, from + localValues), place * localValues);
      }
    }
    const again = [...failed.keys()];
    if (again.length > 0) {
      await fill(
        slot,
        again.map((item) => positions[item]!),
        again.map((item) => tried[item]!),
      );
    }
  }

  const orderOf = epochOrders({ images, indices, seed, shuffleBuffer });
  let order: (Order & { readonly epoch: number }) | undefined;
  let upcoming = start.epoch * iterationsPerEpoch + start.iteration;

  /** Sets out to make the batch after the last one that was begun. */
  function begin(slot: Slot): void {
    slot.epoch = Math.floor(upcoming / iterationsPerEpoch);
    slot.iteration = upcoming % iterationsPerEpoch;
    upcoming++;
    if (order?.epoch !== slot.epoch) order = { epoch: slot.epoch, ...orderOf(slot.epoch, slot.iteration * batch) };
    const { places: inOrder, repeats } = order.next(batch);
    const places = taken.map((image) => inOrder[image]!);
    for (const [i, place] of places.entries()) {
      slot.drawn[i] = indices[place]! + (repeats?.[taken[i]!] ?? 0) * images.count;
    }
    const tasks: Promise<void>[] = [];
    for (let from = 0; from < count; from += cropper.imagesPerTask) {
      const positions = Array.from({ length: Math.min(cropper.imagesPerTask, count - from) }, (_, i) => from + i);
      tasks.push(
        fill(
          slot,
          positions,
          positions.map((position) => places[position]!),
        ),
      );
    }
    slot.isReady = false;
    slot.filled = Promise.all(tasks).then(() => void (slot.isReady = true));
    slot.filled.catch(() => undefined); // whoever asks for this batch is told
    ahead.push(slot);
  }

  const ahead: Slot[] = [];
  for (let i = 0; i <= prefetch; i++) {
    begin({
      epoch: 0,
      iteration: 0,
      filled: Promise.resolve(),
      isReady: false,
      drawn: new Uint32Array(count),
      indices: new Int32Array(count),
      globals: new Float32Array(onDevice ? 0 : 2 * count * globalValues),
      locals: new Float32Array(onDevice ? 0 : localCrops * count * localValues),
      pixels: new Uint32Array(count * pixelsPerPicture),
      pictures: [],
    });
  }
  let inUse: Slot | undefined;
  let isWaiting = false;
  let broken: Error | undefined;

  async function next(): Promise<Batch> {
    if (isWaiting) throw new Error("batches: next was called before the last call was answered; await each one");
    if (broken !== undefined) throw broken;
    isWaiting = true;
    const asked = performance.now();
    const ready = ahead.filter(({ isReady }) => isReady).length;
    try {
      if (inUse !== undefined) begin(inUse);
      inUse = ahead.shift()!;
      await inUse.filled;
    } catch (error) {
      broken = error as Error;
      throw error;
    } finally {
      isWaiting = false;
    }
    const { epoch, iteration, globals, locals, pixels, pictures, indices } = inUse;
    const waitedMs = performance.now() - asked;
    return { epoch, iteration, globals, locals, pixels, pictures, indices, waitedMs, ready };
  }

  const close = (): Promise<void> => {
    broken ??= new Error("batches: closed");
    return cropper.close();
  };
  return { iterationsPerEpoch, pixelsPerPicture, next, close, [Symbol.asyncDispose]: close };
}

/** A batch in the making, and its memory. */
interface Slot {
  epoch: number;
  iteration: number;
  filled: Promise<void>;
  isReady: boolean;
  /**
   * What crops are drawn for, [batch]: the images of the shuffled order, even if others stand in, and beyond their number the
   * same again for each time that an image came before in the epoch.
   */
  readonly drawn: Uint32Array;
  readonly indices: Int32Array<ArrayBuffer>;
  readonly globals: Float32Array<ArrayBuffer>;
  readonly locals: Float32Array<ArrayBuffer>;
  readonly pixels: Uint32Array<ArrayBuffer>;
  readonly pictures: CroppedPicture[];
}

/** Pixels of a picture that a device cuts crops out of, at most. */
const PIXELS_PER_FILE = 2 ** 18;

function checkWhole(name: string, value: number, lowest: number, highest = 2 ** 31 - 1): void {
  if (!Number.isInteger(value) || value < lowest || value > highest) {
    throw new Error(`batches ${name}: expected a whole number from ${lowest} to ${highest}, got ${value}`);
  }
}
