/** Opens the values of `--data`: folders of images, files with many images, and mixtures. */
import { existsSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { imageNames } from "../formats/kind.js";
import type { Decoding } from "../image-location.js";
import type { ImageSet } from "../image-set.js";
import { openCifar } from "./cifar.js";
import { imagesOfFolder, type OpenOptions, splitOptions } from "./folder-images.js";
import { hasImageHead, isImageFile, type LeftOut, listFiles, listImages } from "./folder-list.js";
import { isIdxName, openIdx } from "./idx.js";
import { openImageList } from "./image-list.js";
import { joinSets } from "./join.js";
import { nameAt, packNames } from "./names.js";

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
 * `*` in the last part of the path; `@` and a file that lists images; or several of these separated by commas, all or none with ":" and a weight. Throws,
 * naming what was expected, for anything else.
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
  const parts = data.split(",").map((text): DataPart => {
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
  const found = await stat(path).catch(() => undefined);
  if (found?.isFile()) {
    const kind = kinds.find(({ matches }) => matches(path));
    if (kind === undefined && hasImageHead(path))
      return imagesOfFolder(dirname(path), packNames([basename(path)]), options);
    if (kind === undefined) throw unsupported(path, "a file of another kind");
    checkUncut(path, options);
    return expectImages(path, await kind.open(path, splitOptions(options).decoding));
  }
  if (found === undefined) {
    const names = await matching(path);
    if (names.length === 0) throw unsupported(path, "nothing of that name");
    return openFiles(path, { folder: dirname(path), names, options });
  }
  let leftOut: readonly LeftOut[] = [];
  const images = await listImages(path, { onFound: options.onFound, onLeftOut: (_, some) => (leftOut = some) });
  if (images.ends.length > 0) {
    checkUnmixed(path, images.ends.length, leftOut);
    if (leftOut.length > 0) options.onLeftOut?.(path, leftOut);
    return imagesOfFolder(path, images, options);
  }
  const files = await listFiles(path, (name) => kinds.some(({ matches }) => matches(name)));
  const names = Array.from({ length: files.ends.length }, (_, i) => nameAt(files, i));
  if (names.length === 0) throw unsupported(path, await describe(path));
  return openFiles(path, { folder: path, names, options });
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
  if (names.every((name) => isImageFile(name, join(folder, name))))
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

/** Returns the sorted names of files that match a path with `*` or `?` in its last part. */
async function matching(path: string): Promise<readonly string[]> {
  const pattern = basename(path);
  if (!/[*?]/.test(pattern)) return [];
  const matcher = new RegExp(
    `^${pattern
      .replaceAll(/[.+^${}()|[\]\\]/g, "\\$&")
      .replaceAll("*", ".*")
      .replaceAll("?", ".")}$`,
  );
  const names = await readdir(dirname(path)).catch(() => []);
  return names.filter((name) => matcher.test(name) && !name.startsWith(".")).sort();
}

/** Number of folder entries named in an error. */
const NAMED = 5;

async function describe(folder: string): Promise<string> {
  const names = await readdir(folder);
  if (names.length === 0) return "an empty folder";
  const more = names.length > NAMED ? `, and ${names.length - NAMED} more` : "";
  return `a folder of ${names.slice(0, NAMED).join(", ")}${more}`;
}

function unsupported(path: string, got: string): Error {
  const files = kinds.map(({ label }) => label).join("; ");
  return new Error(
    `--data ${path}: expected a folder of images (${imageNames}), or one of these files or a folder of them: ${files}; got ${got}`,
  );
}
