/** Sets of images behind one interface, wherever they come from. */
import { type DecodeFailure, type Decoding, type ImageLocation, isFailure } from "./image-location.js";
import type { Image } from "./pixels.js";

/** A set of images, counted from 0. */
export interface ImageSet {
  /** The folder, files or whatever the images are of. */
  readonly title: string;
  readonly count: number;
  /** Names of the classes, sorted; none for a set without labels. */
  readonly classes: readonly string[];
  /** The class of each image, for evaluation only: [count], or undefined if the set has none. */
  readonly labels: Int32Array | undefined;
  /** What could not be decoded so far, by image. */
  readonly failures: ReadonlyMap<number, DecodeFailure>;
  readonly decoding: Decoding;
  /** Pixels of the largest image, where that is known without a look at each. */
  readonly largest: number | undefined;
  /** The first image of every file that holds many, in order; undefined where each has a file of its own. */
  readonly shards: readonly number[] | undefined;
  /** What the set is mixed of; undefined where it is of one kind, or where all images count the same. */
  readonly mixture: readonly MixturePart[] | undefined;
  /** The image's path within its folder, "/" between the parts on every system, or whatever else tells it from the others. */
  name(index: number): string;
  /** Where the image lies, as plain data that may be sent to another thread. */
  location(index: number): ImageLocation;
  /** The image, or why there is none. Throws once not one image of the set could be decoded. */
  decode(index: number): Promise<Image | DecodeFailure>;
  /** Notes a failure that was met elsewhere, on a worker thread; `decode` notes its own. Throws as `decode` does. */
  fail(index: number, failure: DecodeFailure): void;
}

/** Images of a mixture that belong together, up to those of the next part. */
export interface MixturePart {
  readonly first: number;
  /** Their share in what is trained on, in proportion to those of the others. */
  readonly weight: number;
}

/**
 * A set of images that are already decoded; the pixels are copied once, to memory that threads share.
 * Throws if there is none, if an image's pixels are not [rows, cols, 3], or if labels, classes and names do not fit.
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
  const starts: number[] = [];
  let start = 0;
  for (const [index, image] of images.entries()) {
    if (image.pixels.length !== image.rows * image.cols * 3 || image.pixels.length === 0) {
      throw new Error(
        `memoryImages ${names[index]!}: expected pixels [${image.rows}, ${image.cols}, 3], got ${image.pixels.length} bytes`,
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
    ...(labels !== undefined && { classes, labels: Int32Array.from(labels) }),
    largest: sizes.reduce((most, { rows, cols }) => Math.max(most, rows * cols), 1),
    name: (index) => names[index]!,
    location: (index) => {
      const size = sizes[index]!;
      const placed = { kind: "memory", memory, start: starts[index]!, size: size.rows * size.cols * 3 } as const;
      return { name: names[index]!, bytes: placed, raw: { ...size, layout: "rgb" } };
    },
    decode: (index) => {
      const { rows, cols } = sizes[index]!;
      const offset = starts[index]!;
      return Promise.resolve({ rows, cols, pixels: memory.subarray(offset, offset + rows * cols * 3) });
    },
  });
}

/** Memory that threads share; in a page that may not share any, memory of its own. */
function sharedMemory(bytes: number): ArrayBufferLike {
  return typeof SharedArrayBuffer === "undefined" ? new ArrayBuffer(bytes) : new SharedArrayBuffer(bytes);
}

/** What a set is made of; what is left out it has none of. */
export interface SetContents extends Pick<ImageSet, "title" | "count" | "name" | "location"> {
  readonly classes?: readonly string[];
  readonly labels?: Int32Array | undefined;
  readonly decoding?: Decoding;
  readonly largest?: number | undefined;
  readonly shards?: readonly number[] | undefined;
  readonly mixture?: readonly MixturePart[] | undefined;
}

/** A set of images that are named, placed and decoded by functions, which are asked for images of the set alone. */
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
