/** Image sets: one interface for all sources. */
import { type DecodeFailure, type Decoding, type ImageLocation, isFailure } from "./image-location.js";
import { channelsOf, type Image } from "./pixels.js";

/** A set of images with indices from 0. */
export interface ImageSet {
  /** The folder or files that the images come from. */
  readonly title: string;
  readonly count: number;
  /** Sorted names of the classes; empty for a set without labels. */
  readonly classes: readonly string[];
  /** Class of each image, for evaluation only: [count]; undefined for a set without labels. */
  readonly labels: Int32Array | undefined;
  /** Why images in files with many have no labels, and what would give them some; undefined otherwise. */
  readonly whyUnlabelled: string | undefined;
  /** Failures to decode so far, by index. */
  readonly failures: ReadonlyMap<number, DecodeFailure>;
  readonly decoding: Decoding;
  /** Number of pixels of the largest image, if known without opening each. */
  readonly largest: number | undefined;
  /** First index of each shard (a file with many images), in order; undefined if each image is a file of its own. */
  readonly shards: readonly number[] | undefined;
  /** Parts of a mixture; undefined if the set is no mixture or its images have equal weights. */
  readonly mixture: readonly MixturePart[] | undefined;
  /** The path within the folder, with "/" as separator on every system, or another unique name. */
  name(index: number): string;
  /** Returns the location of an image, as plain data that can be sent to other threads. */
  location(index: number): ImageLocation;
  /** Decodes an image or returns the failure. Throws once every image of the set has failed. */
  decode(index: number): Promise<Image | DecodeFailure>;
  /** Records a failure found on a worker thread; `decode` records its own. Throws as `decode` does. */
  fail(index: number, failure: DecodeFailure): void;
}

/** A part of a mixture, up to the first image of the next part. */
export interface MixturePart {
  readonly first: number;
  /** Sampling weight, relative to the other parts. */
  readonly weight: number;
}

/**
 * Creates a set of decoded images; copies the pixels once, to memory shared between threads. Throws if there are no
 * images, if an image's pixels are not [rows, cols, channels] with the channels of the first, or if labels, classes and names do
 * not match.
 */
export function memoryImages(contents: {
  readonly images: readonly Image[];
  readonly labels?: ArrayLike<number>;
  readonly classes?: readonly string[];
  readonly names?: readonly string[];
}): ImageSet {
  const { images, labels, classes = [] } = contents;
  const names = contents.names ?? images.map((_, index) => `image ${index}`);
  if (images.length === 0) throw new Error("memoryImages: expected at least one image, got none");
  if (names.length !== images.length) {
    throw new Error(`memoryImages names: expected ${images.length}, one for each image, got ${names.length}`);
  }
  if (labels !== undefined && labels.length !== images.length) {
    throw new Error(`memoryImages labels: expected ${images.length}, one for each image, got ${labels.length}`);
  }
  const strange = Array.from(labels ?? []).find((label) => !(label in classes));
  if (strange !== undefined) {
    throw new Error(`memoryImages labels: expected 0 to ${classes.length - 1}, an index of classes, got ${strange}`);
  }

  const bytes = images.reduce((sum, { pixels }) => sum + pixels.length, 0);
  const memory = new Uint8Array(sharedMemory(bytes));
  const channels = Math.floor(channelsOf(images[0]!)) || 3;
  const starts: number[] = [];
  let start = 0;
  for (const [index, image] of images.entries()) {
    if (channelsOf(image) !== channels) {
      throw new Error(
        `memoryImages ${names[index]!}: expected pixels [${image.rows}, ${image.cols}, ${channels}], got ${image.pixels.length} bytes`,
      );
    }
    memory.set(image.pixels, start);
    starts.push(start);
    start += image.pixels.length;
  }
  const sizes = images.map(({ rows, cols }) => ({ rows, cols }));
  return decodedSet({
    title: "memory",
    count: images.length,
    decoding: { channels },
    ...(labels !== undefined && { classes, labels: Int32Array.from(labels) }),
    largest: sizes.reduce((most, { rows, cols }) => Math.max(most, rows * cols), 1),
    name: (index) => names[index]!,
    location: (index) => {
      const size = sizes[index]!;
      const placed = { kind: "memory", memory, start: starts[index]!, size: size.rows * size.cols * channels } as const;
      return { name: names[index]!, bytes: placed, raw: { ...size, layout: "pixels" } };
    },
    decode: (index) => {
      const { rows, cols } = sizes[index]!;
      const offset = starts[index]!;
      return Promise.resolve({ rows, cols, pixels: memory.subarray(offset, offset + rows * cols * channels) });
    },
  });
}

/** Allocates memory shared between threads, or plain memory in a page that may not share any. */
function sharedMemory(bytes: number): ArrayBufferLike {
  return typeof SharedArrayBuffer === "undefined" ? new ArrayBuffer(bytes) : new SharedArrayBuffer(bytes);
}

/** Contents of an image set; anything left out is absent. */
export interface SetContents extends Pick<ImageSet, "title" | "count" | "name" | "location"> {
  readonly classes?: readonly string[];
  readonly labels?: Int32Array | undefined;
  readonly whyUnlabelled?: string | undefined;
  readonly decoding?: Decoding;
  readonly largest?: number | undefined;
  readonly shards?: readonly number[] | undefined;
  readonly mixture?: readonly MixturePart[] | undefined;
}

/** Creates an image set from functions for names, locations and decoding; they are only called with valid indices. */
export function decodedSet(contents: SetContents & Pick<ImageSet, "decode">): ImageSet {
  const { title, count, classes = [], decoding = {} } = contents;
  const failures = new Map<number, DecodeFailure>();
  const check = (index: number): void => {
    if (!(Number.isInteger(index) && index >= 0 && index < count))
      throw new Error(`images ${title}: expected an image from 0 to ${count - 1}, got ${index}`);
  };
  const fail = (index: number, failure: DecodeFailure): void => {
    failures.set(index, failure);
    if (failures.size === count) {
      const [first] = failures.values();
      throw new Error(
        `images ${title}: expected images, but not one of ${count} could be decoded; ${first!.path}: ${first!.reason}`,
      );
    }
  };
  const location = (index: number): ImageLocation => {
    check(index);
    return contents.location(index);
  };
  return {
    title,
    count,
    classes,
    failures,
    decoding,
    fail,
    location,
    labels: contents.labels,
    whyUnlabelled: contents.whyUnlabelled,
    largest: contents.largest,
    shards: contents.shards,
    mixture: contents.mixture,
    name: (index) => {
      check(index);
      return contents.name(index);
    },
    decode: async (index) => {
      check(index);
      const decoded = await contents.decode(index);
      if (isFailure(decoded)) fail(index, decoded);
      return decoded;
    },
  };
}
