/** Image sets from folders of image files. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { imageNames } from "../formats/kind.js";
import type { DecodeFailure, Decoding } from "../image-location.js";
import { decodedSet, type ImageSet, type SetContents } from "../image-set.js";
import type { Size } from "../pixels.js";
import type { Cutting } from "../reading.js";
import { decodeImage, measureSize } from "./decode.js";
import { type FileImages, fileImages, locate } from "./file-parts.js";
import { listImages, type ListReports } from "./folder-list.js";
import { type Labels, sortClasses } from "./labels.js";
import { metadataLabels } from "./metadata-labels.js";
import { nameAt, type PackedNames, packNames } from "./names.js";

/** Options of opening an image set. */
export interface OpenOptions extends Decoding, ListReports, Cutting {}

/** Splits options into those of decoding, which other threads take, and those of listing. */
export function splitOptions(options: OpenOptions): {
  readonly decoding: Decoding;
  readonly listing: ListReports & Cutting;
} {
  const { onFound, onLeftOut, pages, tile, ...decoding } = options;
  return { decoding, listing: { onFound, onLeftOut, pages, tile } };
}

/**
 * Opens a folder of images, including subfolders, sorted by path. Names that start with a dot are skipped. If every
 * image lies in a subfolder and there are at least two, their names are the classes, else those of `metadataLabels`. Images
 * are decoded by `decodeImage`.
 *
 * Throws if the folder is missing or has no image.
 */
export async function openImages(folder: string, options: OpenOptions = {}): Promise<ImageSet> {
  const { decoding, listing } = splitOptions(options);
  const { shortSide } = decoding;
  if (shortSide !== undefined && !(Number.isInteger(shortSide) && shortSide > 0)) {
    throw new Error(`images ${folder}: expected shortSide to be a whole number of pixels, got ${shortSide}`);
  }
  const found = await stat(folder).catch(() => undefined);
  if (!found?.isDirectory()) {
    throw new Error(`images ${folder}: expected a folder of images, got ${found ? "a file" : "nothing of that name"}`);
  }
  const names = await listImages(folder, listing);
  if (names.ends.length === 0) {
    throw new Error(
      `images ${folder}: expected at least one image (${imageNames}, or a file without extension), here or in a subfolder, got none`,
    );
  }
  return wholeFolder(folder, names, options);
}

/** Creates the image set of all images of a folder; a metadata file gives the classes where subfolders do not. */
export async function wholeFolder(folder: string, files: PackedNames, options: OpenOptions): Promise<ImageSet> {
  return imagesOfFolder(folder, files, options, (names) => metadataLabels(folder, names, options.onLeftOut));
}

/**
 * Creates the image set of sorted paths within a folder, with classes by subfolder as in `openImages`. Pages and tiles of
 * files are images of their own.
 */
export async function imagesOfFolder(
  folder: string,
  files: PackedNames,
  options: OpenOptions,
  otherLabels: (names: PackedNames) => Promise<Labels> = () => Promise.resolve({}),
): Promise<ImageSet> {
  const { decoding, listing } = splitOptions(options);
  return setOfFolder(folder, await fileImages(folder, files, listing), decoding, otherLabels);
}

/** Creates the image set of sorted images within a folder, with classes by subfolder as in `openImages`, else `otherLabels`. */
export async function setOfFolder(
  folder: string,
  { names, location }: FileImages,
  decoding: Decoding,
  otherLabels: (names: PackedNames) => Promise<Labels> = () => Promise.resolve({}),
): Promise<ImageSet> {
  const bySubfolder = labelsBySubfolder(names);
  return imageSet({
    title: folder,
    count: names.ends.length,
    name: (index) => nameAt(names, index),
    location,
    decoding,
    ...(bySubfolder.labels ? bySubfolder : await otherLabels(names)),
  });
}

/** Names of the parts of a dataset, which are no classes. */
const parts: ReadonlySet<string> = new Set(["train", "training", "val", "valid", "validation", "test", "testing"]);

/**
 * Derives classes from the top-level subfolders; returns none unless every image is in one and there are at least two, not
 * all of them parts of a dataset.
 */
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
  const areParts = found.every((name) => parts.has(name.toLowerCase()));
  return found.length < 2 || areParts ? {} : sortClasses(found, numbers);
}

/**
 * Creates an image set of paths within a folder, in the order of the list, without labels. With `torn: "shown"`,
 * truncated files count as images, as some benchmarks contain such files. Throws if the list is empty; missing or
 * invalid files fail when decoded.
 */
export function listedImages(folder: string, paths: readonly string[], decoding: Decoding = {}): ImageSet {
  if (paths.length === 0) throw new Error(`images ${folder}: expected a list of images, which is empty`);
  const names = packNames(paths);
  return imageSet({
    title: folder,
    count: paths.length,
    name: (index) => nameAt(names, index),
    location: (index) => locate(join(folder, nameAt(names, index)), nameAt(names, index)),
    decoding,
  });
}

/** Returns the size of an image before any shrinking, or a failure. Does not decode the pixels. */
export async function measureImage(images: ImageSet, index: number): Promise<Size | DecodeFailure> {
  return measureSize(images.location(index));
}

/** Creates an image set from functions for names and locations, which are only called with valid indices. */
export function imageSet(contents: SetContents): ImageSet {
  const decode = (index: number) => decodeImage(contents.location(index), contents.decoding);
  return decodedSet({ ...contents, decode });
}
