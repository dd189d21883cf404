/** Reads the values of TIFF and BigTIFF from anywhere, in Node and browsers: integers and floats of any number of channels. */
import GeoTIFF, { type GeoTIFFImage } from "geotiff";
import type { ImagePart, Levels } from "../image-location.js";
import type { Box, Size } from "../pixels.js";
import { checkBox, checkSize, type ReadOptions, type Samples, toBytes, toBytesInRange } from "./samples.js";
import { storedBox, upright, uprightSize } from "./upright.js";

/** A page that is an image of its own, and its upright size. */
export interface TiffPage extends Size {
  /** From 1, overviews and masks among the pages counted. */
  readonly number: number;
}

/** Reads a page, a tile of it, or all pages as channels, in bands. */
export async function readValues(tiff: GeoTIFF, options: ReadOptions): Promise<Samples> {
  const { part, maxPixels, range } = options;
  if (part?.page === "channels") return readChannels(tiff, options);
  const image = await pageOf(tiff, part?.page ?? 1);
  return readPage(image, { box: part?.tile, maxPixels, levels: part?.levels?.[0], range });
}

/** Counts the channels of a page, or the pages that are channels. */
export async function countChannels(tiff: GeoTIFF, { page = 1 }: Pick<ImagePart, "page"> = {}): Promise<number> {
  if (page === "channels") return (await primaryPages(tiff)).length;
  return (await pageOf(tiff, page)).getSamplesPerPixel();
}

/** Reads the pages as channels of one image. Throws if their sizes differ. */
async function readChannels(tiff: GeoTIFF, { part, maxPixels, range }: ReadOptions): Promise<Samples> {
  const pages = await primaryPages(tiff);
  const first = pages[0]!;
  const odd = pages.find(({ rows, cols }) => rows !== first.rows || cols !== first.cols);
  if (odd) {
    throw new Error(
      `TIFF: expected pages of one size to be channels, got ${first.cols} x ${first.rows} and ${odd.cols} x ${odd.rows}`,
    );
  }
  const { height: rows, width: cols } = part?.tile ?? { height: first.rows, width: first.cols };
  checkSize({ rows: rows * Math.ceil(pages.length / 3), cols }, maxPixels);
  const pixels = new Uint8Array(rows * cols * pages.length);
  for (const [channel, { number }] of pages.entries()) {
    const image = await pageOf(tiff, number);
    const page = await readPage(image, {
      box: part?.tile,
      maxPixels,
      levels: part?.levels?.[channel],
      range: range && range.length > 2 ? range.slice(2 * channel, 2 * channel + 2) : range,
    });
    if (page.channels !== 1)
      throw new Error(`TIFF: expected pages of one channel, got ${page.channels} in page ${number}`);
    for (let i = 0; i < page.pixels.length; i++) pixels[i * pages.length + channel] = page.pixels[i]!;
  }
  return { rows, cols, channels: pages.length, pixels };
}

interface ValueOptions {
  /** The whole page if left out. */
  readonly box: Box | undefined;
  readonly maxPixels: number | undefined;
  readonly levels: Levels | undefined;
  /** In place of the levels. */
  readonly range: readonly number[] | undefined;
}

/** Reads all channels of a page. */
async function readPage(image: GeoTIFFImage, { box, maxPixels, levels, range }: ValueOptions): Promise<Samples> {
  const orientation = await firstValue(image, "Orientation", 1);
  const size = uprightSize(sizeOf(image), orientation);
  const shown = box ?? { top: 0, left: 0, height: size.rows, width: size.cols };
  checkBox(size, shown);
  const window = storedBox(shown, sizeOf(image), orientation);
  const { height: rows, width: cols } = window;
  const channels = image.getSamplesPerPixel();
  checkSize({ rows: rows * Math.ceil(channels / 3), cols }, maxPixels);
  if (photometricOf(image) > RGB)
    throw new Error(`TIFF: expected gray or RGB, got ${describe(image)}; convert it to RGB`);
  const pixels = new Uint8Array(rows * cols * channels);
  const ends = levels ?? (range ? undefined : await levelsOf(image));
  for await (const { values, start } of bandsOf(image, window)) {
    if (range) toBytesInRange(values, channels, range, pixels, start);
    else toBytes(values, ends!, pixels, { start });
  }
  if (photometricOf(image) === WHITE_IS_ZERO) for (let i = 0; i < pixels.length; i++) pixels[i] = 255 - pixels[i]!;
  return upright({ rows, cols, channels, pixels }, orientation);
}

/** Lists the pages without reduced copies and masks, or the first page alone if it has only those. */
export async function primaryPages(tiff: GeoTIFF): Promise<readonly TiffPage[]> {
  const pages: (TiffPage & { readonly isSecondary: boolean })[] = [];
  const seen = new Set<number>();
  let offset = tiff.firstIFDOffset;
  for (let number = 1; offset !== 0 && !seen.has(offset); number++) {
    seen.add(offset); // a damaged file may go in circles
    const image = await pageOf(tiff, number);
    pages.push({ number, ...(await uprightSizeOf(image)), isSecondary: isSecondary(image) });
    offset = image.fileDirectory.nextIFDByteOffset;
  }
  const primary = pages.filter((page) => !page.isSecondary);
  return primary.length > 0 ? primary : pages.slice(0, 1);
}

/** Bytes that are read piece by piece, as those of a file. */
export interface Pieces {
  readonly size: number;
  read(start: number, size: number): Promise<Uint8Array>;
}

/** The interface of geotiff's sources, whose class is not exported. */
type BaseSource = Parameters<typeof GeoTIFF.fromSource>[0];

/** Size of the reads in which geotiff fetches directories. */
const SLICE = 1024;

interface Slice {
  readonly offset: number;
  readonly length: number;
}

/** Opens a file. Throws, like all functions here, for damaged ones. */
export async function openTiff(file: Pieces): Promise<GeoTIFF> {
  const { size } = file;
  const fetchSlice = async (offset: number, length: number): Promise<ArrayBufferLike> => {
    // Directories are fetched in slices that may exceed the file; anything longer is data, of which nothing may be missing.
    const end = length <= SLICE ? Math.min(offset + length, size) : offset + length;
    if (!(offset >= 0 && offset <= size && end <= size)) {
      throw new Error(`TIFF: expected ${length} bytes from byte ${offset} on, but the file has ${size}; it is cut off`);
    }
    return (await file.read(offset, end - offset)).buffer;
  };
  const reader: unknown = {
    fileSize: size,
    fetch: (slices: readonly Slice[]) => Promise.all(slices.map(({ offset, length }) => fetchSlice(offset, length))),
    fetchSlice: async ({ offset, length }: Slice) => ({ offset, length, data: await fetchSlice(offset, length) }),
    close: () => Promise.resolve(),
  };
  return GeoTIFF.fromSource(reader as BaseSource);
}

/** Returns bytes in memory as pieces. */
export function piecesOf(bytes: Uint8Array): Pieces {
  return {
    size: bytes.length,
    read: (start, size) => Promise.resolve(Uint8Array.from(bytes.subarray(start, start + size))),
  };
}

/** Opens a page, numbered from 1. */
export async function pageOf(tiff: GeoTIFF, page: number): Promise<GeoTIFFImage> {
  const image = await tiff.getImage(page - 1).catch((error: unknown) => {
    throw new Error(`TIFF: page ${page} cannot be read: ${(error as Error).message}`, { cause: error });
  });
  const { rows, cols } = sizeOf(image);
  if (!(rows > 0 && cols > 0)) throw new Error(`TIFF: page ${page} is ${cols} x ${rows}`);
  return image;
}

/** Returns the stored size of a page. */
export function sizeOf(image: GeoTIFFImage): Size {
  return { rows: image.getHeight(), cols: image.getWidth() };
}

/** Returns the size of a page, upright. */
export async function uprightSizeOf(image: GeoTIFFImage): Promise<Size> {
  return uprightSize(sizeOf(image), await firstValue(image, "Orientation", 1));
}

const [REDUCED, MASK] = [1, 4];

/** Whether a page is a reduced copy of another page, or a mask for one. */
function isSecondary(image: GeoTIFFImage): boolean {
  const kind = image.fileDirectory.getValue("NewSubfileType") ?? 0;
  return (kind & (REDUCED | MASK)) !== 0;
}

const WHITE_IS_ZERO = 0;
const RGB = 2;

/** Returns the tag PhotometricInterpretation. */
export function photometricOf(image: GeoTIFFImage): number {
  return image.fileDirectory.getValue("PhotometricInterpretation") ?? 1;
}

function describe(image: GeoTIFFImage): string {
  const compression = image.fileDirectory.getValue("Compression") ?? 1;
  return (
    `${image.getSamplesPerPixel()} channels of ${image.getBitsPerSample()} bits, photometric interpretation ` +
    `${photometricOf(image)}, compression ${compression}`
  );
}

/**
 * Returns the values of black and white. Unsigned integers of up to 16 bits: 0 and the largest, unless the tags
 * MinSampleValue and MaxSampleValue say otherwise. All else: the minimum and maximum of the finite values of the page,
 * without those that GDAL marks as missing.
 */
export async function levelsOf(image: GeoTIFFImage): Promise<Levels> {
  const bits = image.getBitsPerSample();
  if (image.getSampleFormat() === 1 && bits <= 16) {
    const low = await firstValue(image, "MinSampleValue", 0);
    const high = await firstValue(image, "MaxSampleValue", 2 ** bits - 1);
    return high > low ? { low, high } : { low: 0, high: 2 ** bits - 1 };
  }
  const { rows, cols } = sizeOf(image);
  const missing = image.getGDALNoData();
  let [low, high] = [Infinity, -Infinity];
  for await (const { values } of bandsOf(image, { top: 0, left: 0, height: rows, width: cols })) {
    for (let i = 0; i < values.length; i++) {
      const value = values[i]!;
      if (!Number.isFinite(value) || value === missing) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  return high > low ? { low, high } : { low: 0, high: 0 };
}

async function firstValue(
  image: GeoTIFFImage,
  tag: "MinSampleValue" | "MaxSampleValue" | "Orientation",
  otherwise: number,
): Promise<number> {
  const values: unknown = await image.fileDirectory.loadValue(tag);
  const first: unknown = typeof values === "number" ? values : (values as ArrayLike<unknown> | undefined)?.[0];
  return typeof first === "number" ? first : otherwise;
}

/** Number of values read at a time, unless a strip or a row of tiles has more. */
const BAND_VALUES = 2 ** 22;
/** Maximum size of a strip or tile, which is decoded as a whole. */
const MAX_BLOCK_VALUES = 2 ** 28;

/** Reads a box in bands of whole strips or rows of tiles. `start` is the offset of a band among the values of the box. */
export async function* bandsOf(
  image: GeoTIFFImage,
  { top, left, height, width }: Box,
): AsyncGenerator<{ readonly values: ArrayLike<number>; readonly start: number }> {
  const channels = image.getSamplesPerPixel();
  const [blockRows, blockCols] = [image.getTileHeight(), image.getTileWidth()];
  if (!(
    blockRows > 0 &&
    blockCols > 0 &&
    Math.min(blockRows, image.getHeight()) * blockCols * channels <= MAX_BLOCK_VALUES
  ))
    throw new Error(
      `TIFF: expected tiles or strips of up to ${MAX_BLOCK_VALUES} values, got ${blockCols} x ${blockRows}`,
    );
  await checkBlocks(image);
  const rows = Math.max(1, Math.floor(BAND_VALUES / (width * channels * blockRows))) * blockRows;
  for (let row = top; row < top + height;) {
    const end = Math.min(top + height, (Math.floor(row / rows) + 1) * rows);
    const window = [left, row, left + width, end];
    yield {
      values: await image.readRasters({ window, interleave: true }),
      start: (row - top) * width * channels,
    };
    row = end;
  }
}

/** Throws unless the file has all tiles or strips, which geotiff would look for one by one. */
async function checkBlocks(image: GeoTIFFImage): Promise<void> {
  const down = Math.ceil(image.getHeight() / image.getTileHeight());
  const across = Math.ceil(image.getWidth() / image.getTileWidth());
  const planes = image.planarConfiguration === 2 ? image.getSamplesPerPixel() : 1;
  const count = down * across * planes;
  const offsets = image.isTiled ? "TileOffsets" : "StripOffsets";
  const last = await image.fileDirectory.loadValueIndexed(offsets, count - 1).catch(() => undefined);
  if (last === undefined) throw new Error(`TIFF: expected ${count} tiles or strips, got fewer; the file is damaged`);
}
