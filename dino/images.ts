/** Sets of images: a folder of files, or pictures already in memory, behind one interface. */
import { readdir, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import type { Image, Size } from "./pixels.js";
import { rng } from "./random.js";

/** A set of images, counted from 0. */
export interface ImageSet {
  readonly count: number;
  /** Names of the classes, sorted; none for a set without labels. */
  readonly classes: readonly string[];
  /** The class of each image, for evaluation only: [count], or undefined if the set has none. */
  readonly labels: Int32Array | undefined;
  /** What could not be decoded so far, by image. */
  readonly failures: ReadonlyMap<number, DecodeFailure>;
  /** Where the pixels come from, as plain data that may be sent to another thread. */
  readonly source: ImageSource;
  /** The image's path within its folder, "/" between the parts on every system, or whatever else tells it from the others. */
  name(index: number): string;
  /** The image, or why there is none. Throws once not one image of the set could be decoded. */
  decode(index: number): Promise<Image | DecodeFailure>;
  /** Notes a failure that was met elsewhere, on a worker thread; `decode` notes its own. Throws as `decode` does. */
  fail(index: number, failure: DecodeFailure): void;
}

/** A file that is no image, and what the decoder said about it. */
export interface DecodeFailure {
  readonly path: string;
  readonly reason: string;
}

/** Files that are decoded when they are asked for, or pixels shared between threads. */
export type ImageSource =
  | {
      /** Each image's name is its path within the folder. */
      readonly kind: "files";
      readonly folder: string;
      readonly shortSide: number | undefined;
      /** What is missing of a file that is cut off becomes gray, instead of a failure. */
      readonly torn?: "shown";
    }
  | {
      readonly kind: "memory";
      /** [rows, cols, 3] of every image, one after the other. */
      readonly pixels: Uint8Array<SharedArrayBuffer>;
      /** [count, 3]: rows, cols and first byte of every image. */
      readonly layout: Float64Array<SharedArrayBuffer>;
    };

// Every file is read once an epoch, so a cache only costs memory; many files are decoded at once, so one thread each.
sharp.cache(false);
sharp.concurrency(1);

const extensions = [".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif"];

/**
 * The images of a folder, its subfolders included, sorted by path. What starts with a dot is passed over. If every image
 * lies in a subfolder and there are at least two of these, their names are the classes.
 *
 * Decoding gives RGB: alpha is dropped, as PIL's convert("RGB") does in the official code; of an animation the first
 * frame; and, unlike the official code, a picture is turned upright as its EXIF orientation says. With `shortSide`, larger
 * pictures are shrunk while they are decoded, so that their shorter side has that many pixels.
 *
 * Throws if the folder is missing or holds no image.
 */
export async function openImages(folder: string, options: { readonly shortSide?: number } = {}): Promise<ImageSet> {
  const { shortSide } = options;
  if (shortSide !== undefined && !(Number.isInteger(shortSide) && shortSide > 0)) {
    throw new Error(`images ${folder}: expected shortSide to be a whole number of pixels, got ${shortSide}`);
  }
  const found = await stat(folder).catch(() => undefined);
  if (!found?.isDirectory()) {
    throw new Error(`images ${folder}: expected a folder of images, got ${found ? "a file" : "nothing of that name"}`);
  }
  const paths = (await listImages(folder, "", [])).sort(byCodeUnits);
  if (paths.length === 0) {
    throw new Error(
      `images ${folder}: expected at least one file ending in ${extensions.join(", ")}, here or in a subfolder, got none`,
    );
  }
  const owners = paths.map((path) => (path.includes("/") ? path.slice(0, path.indexOf("/")) : undefined));
  const classes = [...new Set(owners)].filter((owner) => owner !== undefined).sort(byCodeUnits);
  const labelled = classes.length >= 2 && !owners.includes(undefined);
  const numbers = new Map(classes.map((name, number) => [name, number]));
  return imageSet({
    title: folder,
    source: { kind: "files", folder, shortSide },
    classes: labelled ? classes : [],
    labels: labelled ? Int32Array.from(owners, (owner) => numbers.get(owner!)!) : undefined,
    names: paths,
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
  const source = { kind: "files", folder, shortSide: undefined, ...(torn && { torn }) } as const;
  return imageSet({ title: folder, source, classes: [], labels: undefined, names: paths });
}

/** The size of an image as `decode` gives it, out of the header of its file; or why there is none. */
export async function measureImage(images: ImageSet, index: number): Promise<Size | DecodeFailure> {
  const { source } = images;
  const path = images.name(index);
  if (source.kind === "memory") return { rows: source.layout[index * 3]!, cols: source.layout[index * 3 + 1]! };
  try {
    const { width, height } = (await sharp(join(source.folder, path)).metadata()).autoOrient;
    return { rows: height, cols: width };
  } catch (error) {
    return { path, reason: error instanceof Error ? error.message : String(error) };
  }
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
  const pixels = new Uint8Array(new SharedArrayBuffer(bytes));
  const layout = new Float64Array(new SharedArrayBuffer(images.length * 3 * 8));
  let start = 0;
  for (const [index, image] of images.entries()) {
    if (image.pixels.length !== image.rows * image.cols * 3 || image.pixels.length === 0) {
      throw new Error(
        `memoryImages ${names[index]!}: expected pixels [${image.rows}, ${image.cols}, 3], got ${image.pixels.length} bytes`,
      );
    }
    pixels.set(image.pixels, start);
    layout.set([image.rows, image.cols, start], index * 3);
    start += image.pixels.length;
  }
  return imageSet({
    title: "in memory",
    source: { kind: "memory", pixels, layout },
    classes: labels === undefined ? [] : classes,
    labels: labels === undefined ? undefined : Int32Array.from(labels),
    names,
  });
}

function imageSet(contents: {
  readonly title: string;
  readonly source: ImageSource;
  readonly classes: readonly string[];
  readonly labels: Int32Array | undefined;
  readonly names: readonly string[];
}): ImageSet {
  const { title, source, classes, labels, names } = contents;
  const count = names.length;
  const failures = new Map<number, DecodeFailure>();
  const check = (index: number): void => {
    if (!(index in names)) throw new Error(`images ${title}: expected an image from 0 to ${count - 1}, got ${index}`);
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
  return {
    count,
    classes,
    labels,
    failures,
    source,
    fail,
    name: (index) => {
      check(index);
      return names[index]!;
    },
    decode: async (index) => {
      check(index);
      const decoded = await decodeFrom(source, index, names[index]!);
      if (isFailure(decoded)) fail(index, decoded);
      return decoded;
    },
  };
}

/** Did an image fail to decode? */
export function isFailure(decoded: Size | DecodeFailure): decoded is DecodeFailure {
  return "reason" in decoded;
}

/** Decodes one image on whatever thread this is called; neither index nor name is checked. */
export async function decodeFrom(source: ImageSource, index: number, name: string): Promise<Image | DecodeFailure> {
  if (source.kind === "files") return decodeFile(source, name);
  const rows = source.layout[index * 3]!;
  const cols = source.layout[index * 3 + 1]!;
  const start = source.layout[index * 3 + 2]!;
  return { rows, cols, pixels: source.pixels.subarray(start, start + rows * cols * 3) };
}

async function decodeFile(
  { folder, shortSide, torn }: ImageSource & { readonly kind: "files" },
  path: string,
): Promise<Image | DecodeFailure> {
  try {
    const failOn = torn === "shown" ? "none" : "error";
    const upright = sharp(join(folder, path), { failOn }).autoOrient();
    const shrunk =
      shortSide === undefined
        ? upright
        : upright.resize({ width: shortSide, height: shortSide, fit: "outside", withoutEnlargement: true });
    const { data, info } = await shrunk
      .removeAlpha()
      .toColourspace("srgb")
      .raw({ depth: "uchar" })
      .toBuffer({ resolveWithObject: true });
    if (info.channels !== 3) return { path, reason: `expected 3 channels, got ${info.channels}` };
    return { rows: info.height, cols: info.width, pixels: new Uint8Array(data.buffer, data.byteOffset, data.length) };
  } catch (error) {
    return { path, reason: error instanceof Error ? error.message : String(error) };
  }
}

/** The images below `folder`, as paths that start with `prefix`; follows links, but never into a folder it is already in. */
async function listImages(folder: string, prefix: string, above: readonly string[]): Promise<string[]> {
  const here = await realpath(folder);
  if (above.includes(here)) return [];
  const paths: string[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.name.startsWith(".")) continue;
    const path = join(folder, entry.name);
    const target = entry.isSymbolicLink() ? await stat(path).catch(() => undefined) : entry;
    if (target?.isDirectory()) {
      for (const below of await listImages(path, `${prefix}${entry.name}/`, [...above, here])) paths.push(below);
    } else if (target?.isFile() && isImageName(entry.name)) {
      paths.push(prefix + entry.name);
    }
  }
  return paths;
}

export function isImageName(name: string): boolean {
  const lower = name.toLowerCase();
  return extensions.some((extension) => lower.endsWith(extension));
}

/** The same order on every system and in every language. */
function byCodeUnits(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
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
  const all = Array.from({ length: count }, (_, index) => index);
  const isTest = all.map((index) => rng({ seed, index, purpose }).uniform() < heldOut);
  return {
    train: Int32Array.from(all.filter((index) => !isTest[index]!)),
    test: Int32Array.from(all.filter((index) => isTest[index]!)),
  };
}
