/** Sets of images: a folder of files, or pictures already in memory, behind one interface. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { imageNames, listImages } from "./sources/folder-list.js";
import { nameAt, type PackedNames, packNames } from "./sources/names.js";
import {
  type DecodeFailure,
  type Decoding,
  decodePlace,
  type ImagePlace,
  isFailure,
  measurePlace,
} from "./sources/place.js";
import type { Image, Size } from "./pixels.js";
import { rng } from "./random.js";

export { type DecodeFailure, isFailure } from "./sources/place.js";

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
  place(index: number): ImagePlace;
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

/** How to open a set of images. */
export interface OpenOptions extends Decoding {
  /** Told now and then how many images have been found so far. */
  readonly onFound?: (images: number) => void;
}

/**
 * The images of a folder, its subfolders included, sorted by path. What starts with a dot is passed over. If every image
 * lies in a subfolder and there are at least two of these, their names are the classes. They are decoded as decodePlace says.
 *
 * Throws if the folder is missing or holds no image.
 */
export async function openImages(folder: string, options: OpenOptions = {}): Promise<ImageSet> {
  const { onFound, ...decoding } = options;
  const { shortSide } = decoding;
  if (shortSide !== undefined && !(Number.isInteger(shortSide) && shortSide > 0)) {
    throw new Error(`images ${folder}: expected shortSide to be a whole number of pixels, got ${shortSide}`);
  }
  const found = await stat(folder).catch(() => undefined);
  if (!found?.isDirectory()) {
    throw new Error(`images ${folder}: expected a folder of images, got ${found ? "a file" : "nothing of that name"}`);
  }
  const names = await listImages(folder, onFound);
  if (names.ends.length === 0) {
    throw new Error(
      `images ${folder}: expected at least one file ending in ${imageNames}, here or in a subfolder, got none`,
    );
  }
  return imagesOfFolder(folder, names, decoding);
}

/** The images of a folder at certain paths within it, sorted, with the classes that openImages finds. */
export function imagesOfFolder(folder: string, names: PackedNames, decoding: Decoding): ImageSet {
  return folderImages(folder, names, { decoding, ...labelsBySubfolder(names) });
}

/** The classes of images by their topmost folders: none unless every image is in one, and there are at least two. */
function labelsBySubfolder(names: PackedNames): Pick<SetContents, "classes" | "labels"> {
  const found: string[] = []; // images of one folder follow each other
  const numbers = new Int32Array(names.ends.length);
  for (let index = 0; index < numbers.length; index++) {
    const name = nameAt(names, index);
    const slash = name.indexOf("/");
    if (slash < 0) return {};
    const owner = name.slice(0, slash);
    if (owner !== found.at(-1)) found.push(owner);
    numbers[index] = found.length - 1;
  }
  return found.length < 2 ? {} : sortClasses(found, numbers);
}

/** Classes in the order of their names, the same on every system and in every language, and the labels that go with it. */
export function sortClasses(
  names: readonly string[],
  labels: Int32Array,
): { readonly classes: readonly string[]; readonly labels: Int32Array } {
  const classes = [...names].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  const places = new Map(classes.map((name, place) => [name, place]));
  const placeOf = names.map((name) => places.get(name)!);
  return { classes, labels: labels.map((label) => placeOf[label]!) };
}

function folderImages(folder: string, names: PackedNames, contents: Partial<SetContents> = {}): ImageSet {
  const name = (index: number) => nameAt(names, index);
  return imageSet({
    title: folder,
    count: names.ends.length,
    name,
    place: (index) => ({ name: name(index), bytes: { kind: "file", path: join(folder, name(index)) } }),
    ...contents,
  });
}

/**
 * The images that paths name within a folder, in the order of the list, without labels. Where `torn` is "shown", what there is
 * of a file that is cut off counts as an image, as it does in benchmarks that hold such files.
 * Throws if the list is empty; what is missing or no image fails when it is asked for.
 */
export function listedImages(
  folder: string,
  paths: readonly string[],
  { torn }: { readonly torn?: "shown" } = {},
): ImageSet {
  if (paths.length === 0) throw new Error(`images ${folder}: expected a list of images, which is empty`);
  return folderImages(folder, packNames(paths), { decoding: { ...(torn && { torn }) } });
}

/** The size of an image as `decode` gives it, unless it shrinks it; or why there is none. Its pixels are not decoded. */
export async function measureImage(images: ImageSet, index: number): Promise<Size | DecodeFailure> {
  return measurePlace(images.place(index));
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
  const memory = new Uint8Array(new SharedArrayBuffer(bytes));
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
  return imageSet({
    title: "memory",
    count: images.length,
    ...(labels !== undefined && { classes, labels: Int32Array.from(labels) }),
    largest: sizes.reduce((most, { rows, cols }) => Math.max(most, rows * cols), 1),
    name: (index) => names[index]!,
    place: (index) => {
      const size = sizes[index]!;
      const placed = { kind: "memory", memory, start: starts[index]!, size: size.rows * size.cols * 3 } as const;
      return { name: names[index]!, bytes: placed, raw: { ...size, layout: "rgb" } };
    },
  });
}

/** What a set is made of; what is left out it has none of. */
export interface SetContents extends Pick<ImageSet, "title" | "count" | "name" | "place"> {
  readonly classes?: readonly string[];
  readonly labels?: Int32Array | undefined;
  readonly decoding?: Decoding;
  readonly largest?: number | undefined;
  readonly shards?: readonly number[] | undefined;
  readonly mixture?: readonly MixturePart[] | undefined;
}

/** A set of images that are named and placed by functions, which are asked for images of the set alone. */
export function imageSet(contents: SetContents): ImageSet {
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
  const place = (index: number): ImagePlace => {
    check(index);
    return contents.place(index);
  };
  return {
    ...{ title, count, classes, failures, decoding, fail, place },
    labels: contents.labels,
    largest: contents.largest,
    shards: contents.shards,
    mixture: contents.mixture,
    name: (index) => {
      check(index);
      return contents.name(index);
    },
    decode: async (index) => {
      const decoded = await decodePlace(place(index), decoding);
      if (isFailure(decoded)) fail(index, decoded);
      return decoded;
    },
  };
}

/**
 * Splits image numbers into a part to train on and a part held out, each image by a draw of its own: adding images to the
 * end of a set moves none of the others. `heldOut` is the expected share, 0 to 1. Splits for other purposes have other draws.
 */
export function splitImages(
  count: number,
  { heldOut, seed, purpose = "split" }: { readonly heldOut: number; readonly seed: number; readonly purpose?: string },
): { readonly train: Int32Array; readonly test: Int32Array } {
  if (!(heldOut >= 0 && heldOut <= 1)) throw new Error(`splitImages heldOut: expected 0 to 1, got ${heldOut}`);
  const isTest = new Uint8Array(count);
  let held = 0;
  for (let index = 0; heldOut > 0 && index < count; index++) {
    if (rng({ seed, index, purpose }).uniform() < heldOut) held += isTest[index] = 1;
  }
  const parts = { train: new Int32Array(count - held), test: new Int32Array(held) };
  for (let index = 0, trains = 0, tests = 0; index < count; index++) {
    if (isTest[index]) parts.test[tests++] = index;
    else parts.train[trains++] = index;
  }
  return parts;
}
