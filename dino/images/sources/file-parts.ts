/** Images that are parts of files: pages of TIFF files, frames of DICOM files, and tiles of large images. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { readHead } from "../../files/files.js";
import { extensionOf, formatOf, HEAD_BYTES } from "../formats/kind.js";
import type { Source } from "../formats/samples.js";
import { type ImageLocation, type ImagePart, isFailure, type Levels } from "../image-location.js";
import type { Box, Size } from "../pixels.js";
import type { Cutting } from "../reading.js";
import { measureSize } from "./decode.js";
import { cachedOfFiles } from "./list-cache.js";
import { nameAt, nameList, type PackedNames } from "./names.js";

interface Cut {
  readonly pages: "images" | "channels";
  readonly tile: number;
}

/** The images of files. */
export interface FileImages {
  readonly names: PackedNames;
  /** Returns the location of an image; the index is not checked. */
  readonly location: (index: number) => ImageLocation;
}

/** Extensions of files that may have pages. */
const PAGED: ReadonlySet<string> = new Set(["", ".tif", ".tiff", ".dcm", ".dicom"]);

/** Number of files opened at a time. */
const AT_ONCE = 8;

/**
 * Lists the images of files within a folder: a file, or its pages and tiles. Opens TIFF files and, if images are cut into
 * tiles, all others; those that cannot be read count as one image, which fails when it is decoded.
 */
export async function fileImages(
  folder: string,
  files: PackedNames,
  { onFound, pages = "images", tile = 0 }: Cutting & { readonly onFound?: ((images: number) => void) | undefined },
): Promise<FileImages> {
  const mayHaveParts = (file: string) => tile > 0 || mayHavePages(file);
  if (!Array.from(files.ends).some((_, file) => mayHaveParts(nameAt(files, file)))) {
    const at = (index: number): string => nameAt(files, index);
    return {
      names: files,
      location: (index) => ({ name: at(index), bytes: { kind: "file", path: join(folder, at(index)) } }),
    };
  }
  const listed = await cachedOfFiles(folder, files, {
    kind: `parts ${pages} ${tile}`,
    isRead: mayHaveParts,
    make: () =>
      listParts(files, {
        onFound,
        partsOf: (file) => (mayHaveParts(file) ? partsOf(join(folder, file), { pages, tile }) : Promise.resolve(WHOLE)),
      }),
  });
  const names: PackedNames = { bytes: listed.names.bytes.slice(), ends: listed.names.ends.slice() };
  const levels = new Map(listed.levels);
  const owners = listed.owners.slice(); // copies, since a part of a cached buffer retains the whole
  return {
    names,
    location: (index) => {
      const name = nameAt(names, index);
      const file = nameAt(files, owners[index]!);
      const part = parseSuffix(name.slice(file.length));
      const known = part && levels.get(keyOf(owners[index]!, part));
      return {
        name,
        bytes: { kind: "file", path: join(folder, file) },
        ...(part && { part: { ...part, ...(known && { levels: known }) } }),
      };
    },
  };
}

/** The parts of files that are images of their own, as plain data. */
interface PartList {
  readonly names: PackedNames;
  /** Index of the file of each image. */
  readonly owners: Int32Array;
  /** Levels of pages, by `keyOf`. */
  readonly levels: readonly (readonly [string, readonly Levels[]])[];
}

interface PartsOptions {
  readonly onFound: ((images: number) => void) | undefined;
  readonly partsOf: (file: string) => Promise<readonly ImagePart[]>;
}

async function listParts(files: PackedNames, options: PartsOptions): Promise<PartList> {
  const names = nameList();
  const owners: number[] = [];
  const levels = new Map<string, readonly Levels[]>();
  for (let from = 0; from < files.ends.length; from += AT_ONCE) {
    const some = Array.from({ length: Math.min(AT_ONCE, files.ends.length - from) }, (_, i) => nameAt(files, from + i));
    const found = await Promise.all(some.map(options.partsOf));
    for (const [i, parts] of found.entries())
      for (const part of parts) {
        if (part.levels) levels.set(keyOf(from + i, part), part.levels);
        owners.push(from + i);
        names.add(Buffer.from(some[i]! + suffixOf(part)));
      }
    options.onFound?.(names.count);
  }
  return { names: names.pack(), owners: Int32Array.from(owners), levels: [...levels] };
}

/** Returns the key of the levels of a page of a file. */
function keyOf(file: number, { page }: ImagePart): string {
  return `${file}#${page}`;
}

/** Location of an image that is a file or a part of one. */
export type FileLocation = ImageLocation & { readonly bytes: { readonly kind: "file" } };

/**
 * Returns the location of an image by its path: a file or, if there is none of that name, the part of a file that a path
 * like scan.tif#3 names.
 */
export function locate(path: string, name = path): FileLocation {
  const hash = path.lastIndexOf("#");
  const part = hash < 0 || existsSync(path) ? undefined : parseSuffix(path.slice(hash));
  if (part === undefined) return { name, bytes: { kind: "file", path } };
  return { name, bytes: { kind: "file", path: path.slice(0, hash) }, part };
}

/** Returns what follows the name of a file in the name of a part: #3, #512x512+0+1024, #3@512x512+0+1024, #channels. */
function suffixOf({ page, tile }: ImagePart): string {
  const place = tile && `${tile.width}x${tile.height}+${tile.left}+${tile.top}`;
  const words = [page, place].filter((word) => word !== undefined);
  return words.length === 0 ? "" : `#${words.join("@")}`;
}

function parseSuffix(suffix: string): ImagePart | undefined {
  const [all, page, place] = /^#(?:(\d+|channels)(?=@|$))?@?(?:(\d+x\d+\+\d+\+\d+))?$/.exec(suffix) ?? [];
  if (all === undefined || (page === undefined && place === undefined)) return undefined;
  const [width, height, left, top] = (place ?? "").split(/[x+]/).map(Number);
  return {
    ...(page !== undefined && { page: page === "channels" ? page : Number(page) }),
    ...(place !== undefined && { tile: { top: top!, left: left!, height: height!, width: width! } }),
  };
}

/** The one part of a file without pages and tiles. */
const WHOLE: readonly ImagePart[] = [{}];

/** Whether bytes are of a format whose files may have pages. */
export function isPaged(bytes: Uint8Array): boolean {
  const format = formatOf(bytes.subarray(0, HEAD_BYTES));
  return format === "tiff" || format === "dicom";
}

/** Whether a file of this name may have pages; one without extension may. */
export function mayHavePages(name: string): boolean {
  return PAGED.has(extensionOf(name));
}

/**
 * Returns the pages of a file within a larger one that are images of their own: undefined alone for an image without
 * pages, and for one that cannot be read.
 */
export async function pagesWithin(bytes: Uint8Array): Promise<readonly (number | undefined)[]> {
  const parts = await partsOf(bytes, { pages: "images", tile: 0 });
  return parts.map(({ page }) => (page === "channels" ? undefined : page));
}

/** Returns the parts of a file that are images of their own; one part without page and tile is the whole file. */
async function partsOf(source: Source, { pages, tile }: Cut): Promise<readonly ImagePart[]> {
  try {
    const format = formatOf(typeof source === "string" ? readHead(source, HEAD_BYTES) : source.subarray(0, HEAD_BYTES));
    if (format === "tiff") return await partsOfTiff(source, { pages, tile });
    if (format === "dicom") {
      const frames = await (await import("../formats/dicom.js")).listFrames(source);
      return frames.flatMap(({ page, ...size }) =>
        tilesOf(size, tile).map((box) => ({ ...(frames.length > 1 && { page }), ...(box && { tile: box }) })),
      );
    }
    if (tile === 0 || typeof source !== "string") return WHOLE;
    const size = await measureSize({ name: source, bytes: { kind: "file", path: source } });
    return isFailure(size) ? WHOLE : tilesOf(size, tile).map((box) => (box ? { tile: box } : {}));
  } catch {
    return WHOLE; // fails again, with the reason, when it is decoded
  }
}

async function partsOfTiff(source: Source, { pages, tile }: Cut): Promise<readonly ImagePart[]> {
  const { listPages, pageLevels } = await import("../formats/tiff.js");
  const all = await listPages(source);
  const isPlain = all.length === 1 && all[0]!.number === 1;
  const shown = pages === "channels" ? all.slice(0, 1) : all;
  const parts: ImagePart[] = [];
  for (const page of shown) {
    const of: Pick<ImagePart, "page"> = isPlain ? {} : { page: pages === "channels" ? "channels" : page.number };
    const boxes = tilesOf(page, tile);
    const levels = boxes.length > 1 ? await pageLevels(source, of) : undefined;
    for (const box of boxes) parts.push({ ...of, ...(box && { tile: box }), ...(levels && { levels }) });
  }
  return parts;
}

/**
 * Returns the tiles that cover an image, row by row; the last ones of a row or column overlap their neighbours where the
 * side is not a multiple of the tile. A side shorter than a tile is kept. Undefined stands for the whole image; a tile of
 * 0 leaves it whole.
 */
function tilesOf({ rows, cols }: Size, side: number): readonly (Box | undefined)[] {
  if (side === 0 || (rows <= side && cols <= side)) return [undefined];
  const starts = (length: number): readonly number[] =>
    Array.from({ length: Math.ceil(length / side) }, (_, i) => Math.max(0, Math.min(i * side, length - side)));
  return starts(rows).flatMap((top) =>
    starts(cols).map((left) => ({ top, left, height: Math.min(side, rows), width: Math.min(side, cols) })),
  );
}
