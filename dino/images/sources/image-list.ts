/** Image sets from text files that list images. */
import { statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, relative, resolve, sep } from "node:path";
import { joinNames } from "../../files/text.js";
import type { ImageLocation } from "../image-location.js";
import type { ImageSet } from "../image-set.js";
import { fileImages, type FileLocation, locate } from "./file-parts.js";
import { imagesOfFolder, type OpenOptions, setOfFolder, splitOptions } from "./folder-images.js";
import { nameAt, packNames } from "./names.js";

/**
 * Opens the images that a text file lists, one path a line, absolute or relative to the folder of the list. A line may name a page or
 * a tile of a file, as in `scan.tif#3`. Images are named and have classes as if they were all images of the innermost folder that holds them. Throws, naming the list, if it is missing or
 * empty, or lists a file that does not exist.
 */
export async function openImageList(path: string, options: OpenOptions): Promise<ImageSet> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    throw new Error(`${path}: ${missing ? "there is no such list" : (error as Error).message}`, { cause: error });
  });
  const lines = text.split(/\r?\n/).filter((line) => line !== "");
  const files = [...new Set(lines.map((line) => resolve(dirname(path), line)))].sort();
  const [first] = files;
  if (first === undefined) throw new Error(`${path}: expected a list of images, one path a line, got an empty file`);
  const parts = partsAmong(files);
  const missing = files.filter((file) => !isFile(parts.get(file)?.bytes.path ?? file));
  if (missing.length > 0) throw new Error(`${path}: expected files that exist, got ${joinNames(missing)}`);
  const folder = commonFolder(first, files.at(-1)!);
  const nameOf = (file: string): string => relative(folder, file).replaceAll(sep, "/");
  const whole = files.filter((file) => !parts.has(file)).map(nameOf);
  if (parts.size === 0) return imagesOfFolder(folder, packNames(whole), options);
  const { decoding, listing } = splitOptions(options);
  const images = new Map<string, ImageLocation>(
    [...parts].map(([file, part]) => [nameOf(file), { ...part, name: nameOf(file) }]),
  );
  if (whole.length > 0) {
    const { names, location } = await fileImages(folder, packNames(whole), listing);
    for (const index of names.ends.keys()) images.set(nameAt(names, index), location(index));
  }
  const names = [...images.keys()].sort();
  return setOfFolder(folder, { names: packNames(names), location: (index) => images.get(names[index]!)! }, decoding);
}

function isFile(path: string): boolean {
  try {
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** Returns the locations of those paths that name a part of a file. */
function partsAmong(files: readonly string[]): ReadonlyMap<string, FileLocation> {
  const located = files.map((file) => [file, locate(file)] as const);
  return new Map(located.filter(([, { part }]) => part !== undefined));
}

/** Returns the innermost folder of the first and the last of sorted paths, and so of all between. */
function commonFolder(first: string, last: string): string {
  let folder = dirname(first);
  while (relative(folder, last).startsWith("..")) folder = dirname(folder);
  return folder;
}
