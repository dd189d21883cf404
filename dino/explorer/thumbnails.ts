/**
 * Thumbnails of images, packed into files: WebP of at most 96 pixels and 4 KiB each. Thumbnails of images that are gone take at
 * most as much room again.
 */
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { encodeWebp } from "../dashboard/webp.js";
import { makeFolder, openFile, readRange, writeFileAtomically } from "../files/files.js";
import { type DecodeFailure, isFailure } from "../images/image-location.js";
import type { Image } from "../images/pixels.js";

/** The maximum side of a thumbnail. */
export const THUMBNAIL_SIDE = 96;
const MOST_BYTES = 4096;
/** Qualities that are tried until a thumbnail is small enough. */
const QUALITIES = [75, 40, 10];
/** Thumbnails of a file. */
const PER_PACK = 512;
/** Images decoded at once. */
const AT_ONCE = 16;

/** A pack begins with the length of this header, four bytes, and the header as JSON. */
const headerSchema = z.object({
  /** The stamp of each image. */
  stamps: z.array(z.string()),
  /** Where its thumbnail ends, in bytes after the header; an image that cannot be decoded has none. */
  ends: z.array(z.int().nonnegative()),
});

interface Pack {
  readonly path: string;
  /** Where the thumbnails begin. */
  readonly start: number;
  readonly stamps: readonly string[];
  readonly ends: readonly number[];
}

export interface ThumbnailOptions {
  readonly folder: string;
  /** The stamp of the image of each row. */
  readonly stamps: readonly string[];
  readonly decode: (row: number) => Promise<Image | DecodeFailure>;
  readonly onProgress?: (done: number, total: number) => void;
}

/** Reads the thumbnail of a row as WebP; empty for an image that could not be decoded. */
export type ReadThumbnail = (row: number) => Promise<Uint8Array<ArrayBuffer>>;

/** Makes the thumbnails that are missing, and returns a reader of all of them. A stopped run goes on where it was. */
export async function updateThumbnails(options: ThumbnailOptions): Promise<ReadThumbnail> {
  const { folder, stamps, onProgress } = options;
  const path = join(folder, "thumbnails");
  await makeFolder(path);
  const packs = await livePacks(path, new Set(stamps));
  const places = new Map<string, { readonly pack: Pack; readonly index: number }>();
  const add = (pack: Pack): void => pack.stamps.forEach((stamp, index) => places.set(stamp, { pack, index }));
  packs.forEach(add);
  const missing = Array.from(stamps.keys()).filter((row) => !places.has(stamps[row]!));
  let number = 1 + Math.max(-1, ...packs.map((pack) => numberOf(pack.path)));
  for (let from = 0; from < missing.length; from += PER_PACK) {
    const rows = missing.slice(from, from + PER_PACK);
    const made: Uint8Array[] = [];
    for (let i = 0; i < rows.length; i += AT_ONCE) {
      const some = rows.slice(i, i + AT_ONCE).map(async (row) => thumbnailOf(await options.decode(row)));
      made.push(...(await Promise.all(some)));
      onProgress?.(from + made.length, missing.length);
    }
    const of = rows.map((row) => stamps[row]!);
    add(await writePack(join(path, `${number++}.pack`), of, made));
  }
  return async (row) => {
    const { pack, index } = places.get(stamps[row]!)!;
    const begin = pack.ends[index - 1] ?? 0;
    return readRange(pack.path, pack.start + begin, pack.ends[index]! - begin);
  };
}

async function thumbnailOf(image: Image | DecodeFailure): Promise<Uint8Array> {
  if (isFailure(image)) return new Uint8Array(0);
  for (const quality of QUALITIES) {
    const bytes = await encodeWebp(image, { side: THUMBNAIL_SIDE, quality });
    if (bytes.length <= MOST_BYTES) return bytes;
  }
  return encodeWebp(image, { side: THUMBNAIL_SIDE / 2, quality: QUALITIES.at(-1)! });
}

/** Reads the packs, and removes damaged ones and those of which less than half is still needed. */
async function livePacks(folder: string, needed: ReadonlySet<string>): Promise<readonly Pack[]> {
  const names = (await readdir(folder)).filter((name) => /^\d+\.pack$/.test(name));
  const live: Pack[] = [];
  for (const path of names.map((name) => join(folder, name)).sort((a, b) => numberOf(a) - numberOf(b))) {
    const pack = await readPack(path);
    const used = pack?.stamps.filter((stamp) => needed.has(stamp)).length ?? 0;
    if (pack && 2 * used >= pack.stamps.length) live.push(pack);
    else await rm(path);
  }
  return live;
}

function numberOf(path: string): number {
  return Number(/(\d+)\.pack$/.exec(path)![1]);
}

/** Reads the header of a pack; undefined if the file is damaged. */
async function readPack(path: string): Promise<Pack | undefined> {
  await using file = await openFile(path);
  try {
    const start = 4 + new DataView((await file.read(0, 4)).buffer).getUint32(0, true);
    const header = new TextDecoder().decode(await file.read(4, start - 4));
    const { stamps, ends } = headerSchema.parse(JSON.parse(header));
    const isWhole = ends.length === stamps.length && start + (ends.at(-1) ?? 0) === file.size;
    return isWhole && ends.every((end, i) => end >= (ends[i - 1] ?? 0)) ? { path, start, stamps, ends } : undefined;
  } catch {
    return undefined;
  }
}

async function writePack(path: string, stamps: readonly string[], made: readonly Uint8Array[]): Promise<Pack> {
  let end = 0;
  const ends = made.map(({ length }) => (end += length));
  const header = Buffer.from(JSON.stringify({ stamps, ends }));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(header.length);
  await writeFileAtomically(path, Buffer.concat([length, header, ...made]));
  return { path, start: 4 + header.length, stamps, ends };
}
