/** Opens the values of `--data`: folders of images, files with many images, and mixtures. */
import { existsSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { whyUnopened } from "../../files/files.js";
import { imageNames, isImageName } from "../formats/kind.js";
import type { Decoding } from "../image-location.js";
import type { ImageSet } from "../image-set.js";
import { openCifar } from "./cifar.js";
import { imagesOfFolder, type OpenOptions, splitOptions, wholeFolder } from "./folder-images.js";
import { hasImageHead, isImageFile, type LeftOut, listFiles, listImages } from "./folder-list.js";
import { isIdxName, openIdx } from "./idx.js";
import { openImageList } from "./image-list.js";
import { joinSets } from "./join.js";
import { nameAt, packNames } from "./names.js";
import { expandBraces, matching, splitAtCommas } from "./patterns.js";

/** File formats with many images; readers that need a package are loaded on demand. */
const kinds = [
  {
    label: "WebDataset shards (.tar)",
    matches: (name: string) => name.endsWith(".tar"),
    open: async (path: string, decoding: Decoding) => (await import("./tar.js")).openTar(path, decoding),
  },
  {
    label: "Parquet with a column of images (.parquet)",
    matches: (name: string) => name.endsWith(".parquet"),
    open: async (path: string, decoding: Decoding) => (await import("./parquet.js")).openParquet(path, decoding),
  },
  { label: "IDX (...images-idx3-ubyte, or .gz of it)", matches: isIdxName, open: openIdx },
  {
    label: "CIFAR-10 or CIFAR-100 in binary (.bin)",
    matches: (name: string) => name.endsWith(".bin"),
    open: openCifar,
  },
] as const;

/**
 * Opens a value of `--data`: a folder of images; a folder of files with many images, one such file, or a pattern with
 * `*` in the last part of the path or with braces; `@` and a file that lists images; or several of these separated by
 * commas, all or none with ":" and a weight. Throws, naming what was expected, for anything else.
 */
export async function openData(data: string, options: OpenOptions = {}): Promise<ImageSet> {
  const parts = parseMixture(data);
  if (parts.length === 1 && parts[0]!.weight === undefined) return openPart(data, options);
  const { decoding } = splitOptions(options);
  const sets: ImageSet[] = [];
  let found = 0;
  for (const { path } of parts) {
    const before = found;
    const set = await openPart(path, { ...options, onFound: (images) => options.onFound?.(before + images) });
    found += set.count;
    sets.push(set);
  }
  const weights = parts.map(({ weight }) => weight).filter((weight) => weight !== undefined);
  return joinSets({
    title: data,
    sets,
    decoding,
    prefixes: parts.map(({ path }) => `${path}/`),
    weights: weights.length > 0 ? weights : undefined,
  });
}

interface DataPart {
  readonly path: string;
  readonly weight: number | undefined;
}

/** Parses a mixture. Throws if only some parts have weights, and for weights of 0. */
export function parseMixture(data: string): readonly DataPart[] {
  if (existsSync(data)) return [{ path: data, weight: undefined }];
  const parts = splitAtCommas(data).map((text): DataPart => {
    const part = text.trim();
    const [, path, weight] = /^(.+):(\d*\.?\d+)$/.exec(part) ?? [];
    return path === undefined || existsSync(part)
      ? { path: part, weight: undefined }
      : { path, weight: Number(weight) };
  });
  const bare = parts.find(({ weight }) => weight === undefined);
  if (bare && parts.some(({ weight }) => weight !== undefined))
    throw new Error(`--data ${data}: expected a weight for every part or for none, got none for ${bare.path}`);
  const nothing = parts.find(({ weight }) => weight === 0);
  if (nothing) throw new Error(`--data ${data}: expected weights above 0, got 0 for ${nothing.path}; leave it out`);
  return parts;
}

async function openPart(path: string, options: OpenOptions): Promise<ImageSet> {
  if (path.startsWith("@") && !existsSync(path)) return openImageList(path.slice(1), options);
  const found = await kindOf(path);
  if (found === "file") {
    const kind = kinds.find(({ matches }) => matches(path));
    if (kind === undefined && (isImageName(path) || readable(path, () => hasImageHead(path))))
      return imagesOfFolder(dirname(path), packNames([basename(path)]), options);
    if (kind === undefined) throw unsupported(path, isArchive(path) ? ARCHIVE : "a file of another kind");
    checkUncut(path, options);
    return expectImages(path, await kind.open(path, splitOptions(options).decoding));
  }
  if (found === undefined) {
    const brace = path.indexOf("{");
    const folder = dirname(brace < 0 ? path : `${path.slice(0, brace)}{`);
    const files: string[] = [];
    for (const each of expandBraces(path)) files.push(...(await filesOf(each)));
    return openFiles(path, { folder, names: files.map((file) => relative(folder, file)), options });
  }
  let leftOut: readonly LeftOut[] = [];
  const images = await listImages(path, { onFound: options.onFound, onLeftOut: (_, some) => (leftOut = some) });
  if (images.ends.length > 0) {
    checkUnmixed(path, images.ends.length, leftOut);
    if (leftOut.length > 0) options.onLeftOut?.(path, leftOut);
    return wholeFolder(path, images, options);
  }
  const files = await listFiles(path, (name) => kinds.some(({ matches }) => matches(name)));
  const names = Array.from({ length: files.ends.length }, (_, i) => nameAt(files, i));
  if (names.length === 0) throw unsupported(path, await describe(path));
  return openFiles(path, { folder: path, names, options });
}

/** Returns what a path names; undefined if there is nothing. Throws if that may not be known. */
async function kindOf(path: string): Promise<"file" | "folder" | undefined> {
  const found = await stat(path).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== "EACCES") return undefined;
    throw new Error(`--data ${path}: ${whyUnopened(error)}`, { cause: error });
  });
  if (found === undefined) return undefined;
  if (found.isDirectory()) return "folder";
  if (found.isFile()) return "file";
  throw unsupported(path, "a device or pipe");
}

/** Runs a test of the content of a file. Throws, naming it, if it cannot be read. */
function readable<T>(path: string, test: () => T): T {
  try {
    return test();
  } catch (error) {
    throw new Error(`--data ${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** Returns the file of a path, or the files that match a pattern. Throws if there are none, and for folders. */
async function filesOf(path: string): Promise<readonly string[]> {
  const found = await kindOf(path);
  if (found === "file") return [path];
  if (found === "folder") throw unsupported(path, "a folder in place of a file; separate folders by commas");
  const names = await matching(path);
  if (names.length === 0) throw unsupported(path, "nothing of that name");
  return names.map((name) => join(dirname(path), name));
}

/** Throws where files with many images are to be cut, or their pages to be channels. */
function checkUncut(path: string, { pages, tile = 0 }: OpenOptions): void {
  const flag = tile > 0 ? "--tile" : pages === "channels" ? "--pages channels" : undefined;
  if (flag !== undefined)
    throw new Error(`--data ${path}: expected image files, since ${flag} is for these; got a file with many images`);
}

/** Throws for a folder that holds images and files with many images: either could be meant. */
function checkUnmixed(path: string, images: number, leftOut: readonly LeftOut[]): void {
  const found = leftOut.find(({ kind }) => kind === ".tar" || kind === ".parquet");
  if (found === undefined) return;
  throw new Error(
    `--data ${path}: expected images or files with many images, got ${images} and ${found.count} ${found.kind}; ` +
      `name what is meant, for example ${join(path, `*${found.kind}`)}, or move the others away`,
  );
}

interface FilesOptions {
  readonly options: OpenOptions;
  readonly folder: string;
  /** Paths within it. */
  readonly names: readonly string[];
}

/** Opens files of one format as one set. Throws for several formats, or none. */
async function openFiles(title: string, { folder, names, options }: FilesOptions): Promise<ImageSet> {
  const isImage = (name: string, path: string) => readable(path, () => isImageFile(name, path));
  if (names.every((name) => isImage(name, join(folder, name))))
    return imagesOfFolder(folder, packNames(names), options);
  const there = new Set(names);
  const wanted = names.filter((name) => !(name.endsWith(".gz") && there.has(name.slice(0, -".gz".length))));
  const found = kinds.filter(({ matches }) => wanted.some(matches));
  const [kind] = found;
  if (kind === undefined || found.length > 1 || !wanted.every(kind.matches)) {
    const labels = found.map(({ label }) => label).join(" and ");
    throw unsupported(title, `files of several kinds${labels && `, ${labels}`}; name those of one`);
  }
  checkUncut(title, options);
  const { decoding } = splitOptions(options);
  const sets: ImageSet[] = [];
  let count = 0;
  for (const name of wanted) {
    const set = await kind.open(join(folder, name), decoding);
    count += set.count;
    options.onFound?.(count);
    sets.push(set);
  }
  return expectImages(title, joinSets({ title, sets, prefixes: wanted.map((name) => `${name}/`), decoding }));
}

function expectImages(path: string, images: ImageSet): ImageSet {
  if (images.count > 0) return images;
  throw new Error(`--data ${path}: expected at least one image, got none`);
}

/** Number of folder entries named in an error. */
const NAMED = 5;

async function describe(folder: string): Promise<string> {
  const names = await readdir(folder);
  if (names.length === 0) return "an empty folder";
  const more = names.length > NAMED ? `, and ${names.length - NAMED} more` : "";
  return `a folder of ${names.slice(0, NAMED).join(", ")}${more}${names.some(isArchive) ? `; among them ${ARCHIVE}` : ""}`;
}

const ARCHIVE = "an archive that has to be unpacked, or only decompressed to .tar";

function isArchive(name: string): boolean {
  return /\.(zip|7z|rar|tgz|tar\.\w+|gz|bz2|xz|zst)$/i.test(name);
}

function unsupported(path: string, got: string): Error {
  const files = kinds.map(({ label }) => label).join("; ");
  return new Error(
    `--data ${path}: expected a folder of images (${imageNames}), or one of these files or a folder of them: ${files}; got ${got}`,
  );
}
