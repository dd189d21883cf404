/** Training batches, prefetched; a `Cropper` makes the crops. */
import { type AugmentOptions, checkAugmentOptions } from "../images/augment.js";
import type { ImageSet } from "../images/image-set.js";
import { packedWords } from "../images/pixels.js";
import { shardPositions, type Shard, WHOLE_BATCH } from "./batch-shard.js";
import { cropValues } from "./crop-layout.js";
import type { CroppedPicture } from "./crop-maker.js";
import type { Cropper, CropSettings } from "./image-crops.js";
import { epochOrders, type Order } from "./order.js";
import { type Assignment, createSlot, type Slot, slotFiller, type SlotLayout } from "./slots.js";

export interface BatchOptions {
  readonly images: ImageSet;
  /** The images to train on, in ascending order; all of them if left out. An Int32Array is not copied. */
  readonly indices?: ArrayLike<number>;
  /** Images per batch. The rest of an epoch that fills no batch is dropped, different images each epoch. */
  readonly batch: number;
  /** Number of equal parts into which the crops of a batch are arranged: 1 if left out. */
  readonly parts?: number;
  readonly seed: number;
  /** Size of the shuffle buffer for images in large files, see `epochOrders`: 0, which shuffles all, if left out. */
  readonly shuffleBuffer?: number;
  readonly augment: AugmentOptions;
  /** Number of prefetched batches: 2 if left out. */
  readonly prefetch?: number;
  /** Leaves cropping to a device: batches contain images instead of crops. */
  readonly onDevice?: boolean;
  /** Makes only this share of every batch, see `shardPositions`: all of it if left out. */
  readonly shard?: Shard | undefined;
  /** Position of the first batch, to resume a run; the beginning if left out. */
  readonly start?: { readonly epoch: number; readonly iteration: number };
}

/** The crops of `batch` images, or of a shard of them, at the positions of `cropPosition`. */
export interface Batch {
  readonly epoch: number;
  /** Index within the epoch, from 0. */
  readonly iteration: number;
  /** [2 * batch, channels, rows, cols], normalised; empty if a device makes the crops. */
  readonly globals: Float32Array<ArrayBuffer>;
  /** [localCrops * batch, channels, rows, cols], normalised; empty if a device makes the crops. */
  readonly locals: Float32Array<ArrayBuffer>;
  /** If a device makes the crops: packed pixels [batch, words of a pixel, pixelsPerPicture], and the parameters of each image's crops. */
  readonly pixels: Uint32Array<ArrayBuffer>;
  readonly pictures: readonly CroppedPicture[];
  /** The image at each position: [batch]. */
  readonly indices: Int32Array<ArrayBuffer>;
  /** Time that `next` waited for this batch. */
  readonly waitedMs: number;
  /** Number of ready batches when this one was requested, itself included. */
  readonly ready: number;
}

/** An endless sequence of batches, independent of the number and timing of threads. */
export interface Batches {
  readonly iterationsPerEpoch: number;
  /** Maximum pixels per image if a device makes the crops; otherwise 0. */
  readonly pixelsPerPicture: number;
  /**
   * Returns the next batch. Its arrays are reused after the following call. Throws if the cropper failed, if no image
   * can be decoded, after `close`, and while an earlier call is pending.
   */
  next(): Promise<Batch>;
  /** Closes the cropper. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Opens a cropper and starts to make the first batches. Every epoch is shuffled anew. An image that cannot be decoded
 * is recorded in `images.failures` and replaced by the next decodable one of `indices`. Throws for fewer images than a
 * batch, and for invalid options.
 */
export function openBatches(options: BatchOptions, openCropper: (settings: CropSettings) => Cropper): Batches {
  const { images, batch, parts = 1, seed, shuffleBuffer = 0, augment, prefetch = 2 } = options;
  const { shard = WHOLE_BATCH, start = { epoch: 0, iteration: 0 } } = options;
  const requested = options.indices ?? new Int32Array(images.count).map((_, i) => i);
  const indices = requested instanceof Int32Array ? requested : new Int32Array(requested);
  checkAugmentOptions(augment);
  checkWhole("batch", batch, 1);
  const positions = shardPositions(batch, parts, shard);
  checkWhole("prefetch", prefetch, 1);
  checkIndices(indices, images.count, batch);
  const iterationsPerEpoch = Math.floor(indices.length / batch);
  checkWhole("start.epoch", start.epoch, 0);
  checkWhole("start.iteration", start.iteration, 0, iterationsPerEpoch - 1);

  const layout = layoutOf(options, positions.length);
  const { pixelsPerPicture } = layout;
  const cropper = openCropper({ augment, seed, ...(pixelsPerPicture > 0 && { pixelsPerPicture }) });
  const fill = slotFiller({ images, indices, cropper, layout });
  const orderOf = epochOrders({ images, indices, seed, shuffleBuffer });
  let order: (Order & { readonly epoch: number }) | undefined;
  let upcoming = start.epoch * iterationsPerEpoch + start.iteration;

  /** Assigns the images of the next batch to the positions of a slot. */
  function assign(slot: Slot): readonly Assignment[] {
    slot.epoch = Math.floor(upcoming / iterationsPerEpoch);
    slot.iteration = upcoming % iterationsPerEpoch;
    upcoming++;
    if (order?.epoch !== slot.epoch) order = { epoch: slot.epoch, ...orderOf(slot.epoch, slot.iteration * batch) };
    const { positions: drawn, repeats } = order.next(batch);
    return positions.map((inBatch, position) => {
      const candidate = drawn[inBatch]!;
      slot.keys[position] = indices[candidate]! + (repeats?.[inBatch] ?? 0) * images.count;
      return { position, candidate };
    });
  }

  /** Starts to make the next batch in a slot. */
  function startFilling(slot: Slot): void {
    const tasks = chunks(assign(slot), cropper.imagesPerTask).map((assignments) => fill(slot, assignments));
    slot.isReady = false;
    slot.filled = Promise.all(tasks).then(() => void (slot.isReady = true));
    slot.filled.catch(() => undefined); // `next` rejects with the error
    ahead.push(slot);
  }

  const ahead: Slot[] = [];
  for (let i = 0; i <= prefetch; i++) startFilling(createSlot(layout));
  let inUse: Slot | undefined;
  let isWaiting = false;
  let broken: Error | undefined;

  async function next(): Promise<Batch> {
    if (isWaiting) throw new Error("batches: next was called before the last call was answered; await each one");
    if (broken !== undefined) throw broken;
    isWaiting = true;
    const beganMs = performance.now();
    const ready = ahead.filter(({ isReady }) => isReady).length;
    try {
      if (inUse !== undefined) startFilling(inUse);
      inUse = ahead.shift()!;
      await inUse.filled;
    } catch (error) {
      broken = error as Error;
      throw error;
    } finally {
      isWaiting = false;
    }
    const { epoch, iteration, globals, locals, pixels, pictures, indices: batchIndices } = inUse;
    const waitedMs = performance.now() - beganMs;
    return { epoch, iteration, globals, locals, pixels, pictures, indices: batchIndices, waitedMs, ready };
  }

  const close = (): Promise<void> => {
    broken ??= new Error("batches: closed");
    return cropper.close();
  };
  return { iterationsPerEpoch, pixelsPerPicture, next, close, [Symbol.asyncDispose]: close };
}

/** Maximum pixels of an image from which a device makes crops. */
const PIXELS_PER_FILE = 2 ** 18;

function layoutOf({ images, augment, parts = 1, onDevice = false }: BatchOptions, count: number): SlotLayout {
  const pixelsPerPicture = onDevice ? Math.min(images.largest ?? PIXELS_PER_FILE, PIXELS_PER_FILE) : 0;
  return {
    images: count,
    parts,
    ...cropValues(augment),
    localCrops: augment.localCrops,
    pixelsPerPicture,
    wordsPerPicture: packedWords(augment.mean.length) * pixelsPerPicture,
  };
}

function chunks<T>(list: readonly T[], length: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(list.length / length) }, (_, i) => list.slice(i * length, (i + 1) * length));
}

function checkIndices(indices: Int32Array, images: number, batch: number): void {
  if (indices.length < batch) {
    throw new Error(
      `batches: expected at least one batch of ${batch} images, got ${indices.length}; make the batch smaller`,
    );
  }
  const strange = indices.find((index) => index < 0 || index >= images);
  if (strange !== undefined) {
    throw new Error(`batches indices: expected images from 0 to ${images - 1}, got ${strange}`);
  }
  if (indices.some((index, i) => i > 0 && index <= indices[i - 1]!))
    throw new Error("batches indices: expected images in ascending order, each once");
}

function checkWhole(name: string, value: number, lowest: number, highest = 2 ** 31 - 1): void {
  if (!Number.isInteger(value) || value < lowest || value > highest) {
    throw new Error(`batches ${name}: expected a whole number from ${lowest} to ${highest}, got ${value}`);
  }
}
