/** Sets of images in files. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { DecodeFailure, Decoding } from "../image-location.js";
import { decodedSet, type ImageSet, type SetContents } from "../image-set.js";
import type { Size } from "../pixels.js";
import { decodeImage, measureSize } from "./decode.js";
import { imageNames, listImages } from "./folder-list.js";
import { nameAt, type PackedNames, packNames } from "./names.js";

/** How to open a set of images. */
export interface OpenOptions extends Decoding {
  /** Told now and then how many images have been found so far. */
  readonly onFound?: (images: number) => void;
}

/**
 * The images of a folder, its subfolders included, sorted by path. What starts with a dot is passed over. If every image
 * lies in a subfolder and there are at least two of these, their names are the classes. They are decoded as decodeImage says.
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
    location: (index) => ({ name: name(index), bytes: { kind: "file", path: join(folder, name(index)) } }),
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
  return measureSize(images.location(index));
}

/** A set of images that are named and placed by functions, which are asked for images of the set alone. */
export function imageSet(contents: SetContents): ImageSet {
  const decode = (index: number) => decodeImage(contents.location(index), contents.decoding);
  return decodedSet({ ...contents, decode });
}
