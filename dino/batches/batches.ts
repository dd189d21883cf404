/** Training batches: images augmented ahead of their use, by whatever makes the crops. */
import { type AugmentOptions, checkAugmentOptions } from "../images/augment.js";
import type { ImageSet } from "../images/image-set.js";
import { shardPositions, type Shard } from "./batch-shard.js";
import type { CroppedPicture } from "./crop-maker.js";
import type { Cropper, CropSettings } from "./image-crops.js";
import { epochOrders, type Order } from "./order.js";
import { type Assignment, createSlot, type Slot, slotFiller, type SlotLayout } from "./slots.js";

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
  readonly shard?: Shard | undefined;
  /** Where to begin, to resume a run: the first batch if left out. */
  readonly start?: { readonly epoch: number; readonly iteration: number };
}

/** The crops of `batch` images, or of a share of them, each where `cropPosition` says. */
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
 * Opens a cropper and begins the first batches. Every epoch shuffles the images anew; an image that cannot be decoded is noted
 * in `images.failures`, and the next one of `indices` that can be decoded stands in for it.
 * Throws if there are fewer images than a batch holds, and for options that make no sense.
 */
export function openBatches(options: BatchOptions, openCropper: (settings: CropSettings) => Cropper): Batches {
  const { images, batch, parts = 1, seed, shuffleBuffer = 0, augment, prefetch = 2 } = options;
  const { shard: share = { rank: 0, size: 1 }, start = { epoch: 0, iteration: 0 } } = options;
  const given = options.indices ?? new Int32Array(images.count).map((_, i) => i);
  const indices = given instanceof Int32Array ? given : new Int32Array(given);
  checkAugmentOptions(augment);
  checkWhole("batch", batch, 1);
  const positions = shardPositions(batch, parts, share);
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

  /** Starts to make the next batch. */
  function begin(slot: Slot): void {
    const tasks = chunks(assign(slot), cropper.imagesPerTask).map((assignments) => fill(slot, assignments));
    slot.isReady = false;
    slot.filled = Promise.all(tasks).then(() => void (slot.isReady = true));
    slot.filled.catch(() => undefined); // `next` rejects with the error
    ahead.push(slot);
  }

  const ahead: Slot[] = [];
  for (let i = 0; i <= prefetch; i++) begin(createSlot(layout));
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
      if (inUse !== undefined) begin(inUse);
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

/** Pixels of a picture that a device cuts crops out of, at most. */
const PIXELS_PER_FILE = 2 ** 18;

function layoutOf({ images, augment, parts = 1, onDevice = false }: BatchOptions, count: number): SlotLayout {
  const { globalSize, localSize, localCrops } = augment;
  return {
    images: count,
    parts,
    globalValues: 3 * globalSize.rows * globalSize.cols,
    localValues: 3 * localSize.rows * localSize.cols,
    localCrops,
    pixelsPerPicture: onDevice ? Math.min(images.largest ?? PIXELS_PER_FILE, PIXELS_PER_FILE) : 0,
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
