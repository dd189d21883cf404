/** Image files named on the command line as inputs of pictures; decoded one at a time. */
import { stat } from "node:fs/promises";
import { basename, dirname, extname, join, resolve } from "node:path";
import { type PatchFit, fittedSize, fitToPatches } from "../crop-to-patches.js";
import { type DecodeFailure, type ImageLocation, isFailure } from "../image-location.js";
import type { Image, Size } from "../pixels.js";
import { decodingOf, type Reading } from "../reading.js";
import { decodeImage } from "./decode.js";
import { locate } from "./file-parts.js";
import { imagesOfFolder, openImages } from "./folder-images.js";
import { packNames } from "./names.js";

/** One input image. */
export interface Subject {
  readonly file: string;
  readonly place: ImageLocation;
  /** Unique name for output files: the file name or the path within a folder, with "-" for "/". */
  readonly name: string;
  /** Size of the network input: a multiple of the patch. */
  readonly size: Size;
}

export interface Subjects {
  readonly subjects: readonly Subject[];
  /** Images in folders that cannot be decoded or hold no patch. */
  readonly failures: readonly DecodeFailure[];
}

/** Number of images decoded in parallel while checking. */
const AT_ONCE = 8;

/**
 * Finds the images of files and folders, cut as in image sets, and checks that each can be decoded, without keeping pixels. Throws for a
 * missing path, for a file named explicitly that cannot be decoded, and if no image is left.
 */
export async function openSubjects(
  paths: readonly string[],
  fit: PatchFit,
  onChecked?: (done: number, total: number) => void,
  reading: Reading = {},
): Promise<Subjects> {
  const found = await findImages(paths, reading);
  const subjects: Subject[] = [];
  const failures: DecodeFailure[] = [];
  const unique = uniqueNames();
  for (let from = 0; from < found.length; from += AT_ONCE) {
    const some = found.slice(from, from + AT_ONCE);
    const sizes = await Promise.all(
      some.map(async ({ file, place }) => {
        try {
          return fittedSize(await decode(place, reading), fit);
        } catch (error) {
          return { path: file, reason: (error as Error).message };
        }
      }),
    );
    for (const [i, size] of sizes.entries()) {
      const { file, place, stem, isNamed } = some[i]!;
      if (!("reason" in size)) subjects.push({ file, place, name: unique(shortened(stem)), size });
      else if (isNamed) throw new Error(`${file}: ${size.reason}`);
      else failures.push(size);
    }
    onChecked?.(Math.min(from + AT_ONCE, found.length), found.length);
  }
  if (subjects.length === 0) {
    const [first] = failures;
    throw new Error(`not one of ${failures.length} images can be drawn; ${first!.path}: ${first!.reason}`);
  }
  return { subjects, failures };
}

/** Reads a subject as network input. Throws, naming it, if it can no longer be read. */
export async function readSubject({ file, place }: Subject, fit: PatchFit, reading: Reading = {}): Promise<Image> {
  try {
    return fitToPatches(await decode(place, reading), fit);
  } catch (error) {
    throw new Error(`${file}: ${(error as Error).message}`, { cause: error });
  }
}

/** Decodes a file. Throws, naming it, if it is not an image. */
export async function readImage(file: string, reading: Reading = {}): Promise<Image> {
  try {
    return await decode(locate(resolve(file), file), reading);
  } catch (error) {
    throw new Error(`${file}: ${(error as Error).message}`, { cause: error });
  }
}

async function decode(place: ImageLocation, reading: Reading): Promise<Image> {
  const decoded = await decodeImage(place, decodingOf(reading));
  if (isFailure(decoded)) throw new Error(`expected an image: ${decoded.reason}`);
  return decoded;
}

interface Found extends Pick<Subject, "file" | "place"> {
  readonly stem: string;
  /** Whether the file itself was named, not its folder. */
  readonly isNamed: boolean;
}

async function findImages(paths: readonly string[], { pages, tile }: Reading): Promise<readonly Found[]> {
  const found: Found[] = [];
  for (const path of paths) {
    const named = locate(resolve(path), path);
    const target = await stat(named.bytes.path).catch(() => undefined);
    if (target === undefined)
      throw new Error(`${path}: expected an image or a folder of images, got nothing of that name`);
    if (named.part) {
      found.push({ file: path, place: named, stem: stemOf(basename(path), named), isNamed: true });
      continue;
    }
    const isNamed = !target.isDirectory();
    const folder = isNamed ? dirname(path) : path;
    const images = isNamed
      ? await imagesOfFolder(folder, packNames([basename(path)]), { pages, tile })
      : await openImages(path, { pages, tile });
    for (let i = 0; i < images.count; i++) {
      const within = images.name(i);
      const file = isNamed ? path + within.slice(basename(path).length) : join(folder, within);
      const place = { ...images.location(i), name: file };
      found.push({ file, place, stem: stemOf(within, place).replaceAll("/", "-"), isNamed });
    }
  }
  return found;
}

/** Returns the name of an image without the extension, and that of a part with "-": scan.tif#3 becomes scan-3. */
function stemOf(path: string, { part }: ImageLocation): string {
  const hash = path.lastIndexOf("#");
  const isPart = part !== undefined;
  const file = isPart ? path.slice(0, hash) : path;
  const stem = file.slice(0, file.length - extname(file).length);
  return isPart ? `${stem}-${path.slice(hash + 1).replaceAll("@", "-")}` : stem;
}

/** Maximum bytes of a name, which leaves room for suffixes; file systems allow 255. */
const MOST_BYTES = 200;

/** Shortens a long name to its end. */
function shortened(name: string): string {
  return Buffer.byteLength(name) <= MOST_BYTES
    ? name
    : Array.from(name)
        .slice(-MOST_BYTES / 4)
        .join("");
}

/** Returns a function that makes names unique, ignoring case for case-insensitive file systems. */
function uniqueNames(): (stem: string) => string {
  const used = new Set<string>();
  return (stem) => {
    let name = stem;
    for (let i = 2; used.has(name.toLowerCase()); i++) name = `${stem}-${i}`;
    used.add(name.toLowerCase());
    return name;
  };
}
