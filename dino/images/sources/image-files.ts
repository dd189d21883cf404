/** Image files named on the command line as inputs of pictures; decoded one at a time. */
import { stat } from "node:fs/promises";
import { basename, extname, join, resolve } from "node:path";
import { type PatchFit, fittedSize, fitToPatches } from "../crop-to-patches.js";
import { type DecodeFailure, isFailure } from "../image-location.js";
import type { Image, Size } from "../pixels.js";
import { decodingOf, type Reading } from "../reading.js";
import { decodeImage } from "./decode.js";
import { locate } from "./file-parts.js";
import { openImages } from "./folder-images.js";

/** One input image. */
export interface Subject {
  readonly file: string;
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
 * Finds the images of files and folders and checks that each can be decoded, without keeping pixels. Throws for a
 * missing path, for a file named explicitly that cannot be decoded, and if no image is left.
 */
export async function openSubjects(
  paths: readonly string[],
  fit: PatchFit,
  onChecked?: (done: number, total: number) => void,
  reading: Reading = {},
): Promise<Subjects> {
  const found = await findFiles(paths, reading);
  const subjects: Subject[] = [];
  const failures: DecodeFailure[] = [];
  const unique = uniqueNames();
  for (let from = 0; from < found.length; from += AT_ONCE) {
    const some = found.slice(from, from + AT_ONCE);
    const sizes = await Promise.all(
      some.map(async ({ file }) => {
        try {
          return fittedSize(await decode(file, reading), fit);
        } catch (error) {
          return { path: file, reason: (error as Error).message };
        }
      }),
    );
    for (const [i, size] of sizes.entries()) {
      const { file, stem, isNamed } = some[i]!;
      if (!("reason" in size)) subjects.push({ file, name: unique(shortened(stem)), size });
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
export async function readSubject({ file }: Subject, fit: PatchFit, reading: Reading = {}): Promise<Image> {
  try {
    return fitToPatches(await decode(file, reading), fit);
  } catch (error) {
    throw new Error(`${file}: ${(error as Error).message}`, { cause: error });
  }
}

/** Decodes a file. Throws, naming it, if it is not an image. */
export async function readImage(file: string, reading: Reading = {}): Promise<Image> {
  try {
    return await decode(file, reading);
  } catch (error) {
    throw new Error(`${file}: ${(error as Error).message}`, { cause: error });
  }
}

async function decode(file: string, reading: Reading): Promise<Image> {
  const decoded = await decodeImage(locate(resolve(file), file), decodingOf(reading));
  if (isFailure(decoded)) throw new Error(`expected an image: ${decoded.reason}`);
  return decoded;
}

interface Found {
  readonly file: string;
  readonly stem: string;
  /** Whether the file itself was named, not its folder. */
  readonly isNamed: boolean;
}

async function findFiles(paths: readonly string[], { pages }: Reading): Promise<readonly Found[]> {
  const found: Found[] = [];
  for (const path of paths) {
    const target = await stat(locate(path).bytes.path).catch(() => undefined);
    if (target === undefined)
      throw new Error(`${path}: expected an image or a folder of images, got nothing of that name`);
    if (!target.isDirectory()) {
      found.push({ file: path, stem: stemOf(basename(path)), isNamed: true });
      continue;
    }
    const images = await openImages(path, { pages });
    for (let i = 0; i < images.count; i++) {
      const within = images.name(i);
      const stem = stemOf(within).replaceAll("/", "-");
      found.push({ file: join(path, within), stem, isNamed: false });
    }
  }
  return found;
}

/** Returns a path without the extension, and the name of a part with "-": scan.tif#3 becomes scan-3. */
function stemOf(path: string): string {
  const hash = path.lastIndexOf("#");
  const isPart = locate(path).part !== undefined;
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
