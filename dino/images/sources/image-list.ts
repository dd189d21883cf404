/** Image sets from text files that list images. */
import { statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, relative, resolve, sep } from "node:path";
import { joinNames } from "../../files/text.js";
import type { ImageSet } from "../image-set.js";
import { imagesOfFolder, type OpenOptions } from "./folder-images.js";
import { packNames } from "./names.js";

/**
 * Opens the images that a text file lists, one path a line, absolute or relative to the folder of the list. They are named and
 * have classes as if they were all images of the innermost folder that holds them. Throws, naming the list, if it is missing or
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
  const missing = files.filter((file) => !isFile(file));
  if (missing.length > 0) throw new Error(`${path}: expected files that exist, got ${joinNames(missing)}`);
  const folder = commonFolder(first, files.at(-1)!);
  const names = files.map((file) => relative(folder, file).replaceAll(sep, "/"));
  return imagesOfFolder(folder, packNames(names), options);
}

function isFile(path: string): boolean {
  try {
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** Returns the innermost folder of the first and the last of sorted paths, and so of all between. */
function commonFolder(first: string, last: string): string {
  let folder = dirname(first);
  while (relative(folder, last).startsWith("..")) folder = dirname(folder);
  return folder;
}
