/**
 * Reader of TIFF and BigTIFF: libvips for gray and color of up to 16 bits, geotiff for all else, as are floats, signed
 * integers, 12 bits, and any number of channels.
 */
import type { GeoTIFF, GeoTIFFImage } from "geotiff";
import { openFile } from "../../files/files.js";
import type { ImagePart, Levels } from "../image-location.js";
import type { Size } from "../pixels.js";
import * as photo from "./photo.js";
import type { ReadOptions, Samples, Source, Visit } from "./samples.js";
import {
  bandsOf,
  levelsOf,
  openTiff,
  pageOf,
  photometricOf,
  piecesOf,
  primaryPages,
  readValues,
  sizeOf,
  type TiffPage,
  uprightSizeOf,
} from "./tiff-values.js";

/** Reads a page, or a tile of it, in bands, so that a scan takes no more memory than the part of it that is read. */
export async function read(source: Source, options: ReadOptions): Promise<Samples> {
  await using file = await openSource(source);
  const { part } = options;
  if (part?.page !== "channels" && isPhoto(await pageOf(file.tiff, part?.page ?? 1)) && !keepsExtraSamples(options))
    return await photo.read(source, part?.tile ? { ...options, maxPixels: Infinity } : options);
  return await readValues(file.tiff, options);
}

/** Whether samples besides gray or color are channels too, rather than alpha. */
function keepsExtraSamples({ channels }: ReadOptions): boolean {
  return typeof channels === "object" ? Math.max(...channels) > 2 : ![undefined, 1, 3].includes(channels);
}

/** Visits the values of a page, or of a tile of it. */
export async function scan(source: Source, options: ReadOptions, visit: Visit): Promise<void> {
  await using file = await openSource(source);
  const { part } = options;
  const pages =
    part?.page === "channels" ? (await primaryPages(file.tiff)).map(({ number }) => number) : [part?.page ?? 1];
  for (const [first, page] of pages.entries()) {
    const image = await pageOf(file.tiff, page);
    if (part?.page !== "channels" && isPhoto(image) && !keepsExtraSamples(options)) {
      await photo.scan(source, options, visit);
      return;
    }
    const { rows: height, cols: width } = sizeOf(image);
    const missing = image.getGDALNoData();
    for await (const { values } of bandsOf(image, part?.tile ?? { top: 0, left: 0, height, width })) {
      const there = missing === null ? values : Array.from(values, (value) => (value === missing ? NaN : value));
      visit(there, image.getSamplesPerPixel(), first);
    }
  }
}

/** Reads the size of a page, upright. */
export async function measure(source: Source, part?: ImagePart): Promise<Size> {
  await using file = await openSource(source);
  const page = part?.page === "channels" ? (await primaryPages(file.tiff))[0]!.number : (part?.page ?? 1);
  return await uprightSizeOf(await pageOf(file.tiff, page));
}

/** Lists the pages as `primaryPages` does. */
export async function listPages(source: Source): Promise<readonly TiffPage[]> {
  await using file = await openSource(source);
  return await primaryPages(file.tiff);
}

/**
 * Returns the levels of each page of a part, if they depend on the values of the whole page: its minimum and maximum.
 */
export async function pageLevels(source: Source, { page = 1 }: ImagePart): Promise<readonly Levels[] | undefined> {
  await using file = await openSource(source);
  const numbers = page === "channels" ? (await primaryPages(file.tiff)).map(({ number }) => number) : [page];
  const levels: Levels[] = [];
  for (const number of numbers) {
    const image = await pageOf(file.tiff, number);
    if (page !== "channels" && isPhoto(image)) return undefined;
    levels.push(await levelsOf(image));
  }
  return levels;
}

interface OpenSource extends AsyncDisposable {
  readonly tiff: GeoTIFF;
}

async function openSource(source: Source): Promise<OpenSource> {
  if (typeof source !== "string")
    return { tiff: await openTiff(piecesOf(source)), [Symbol.asyncDispose]: async () => {} };
  const file = await openFile(source, "TIFF: ");
  try {
    return { tiff: await openTiff(file), [Symbol.asyncDispose]: () => file[Symbol.asyncDispose]() };
  } catch (error) {
    await file[Symbol.asyncDispose]();
    throw error;
  }
}

/** Number of colors by the tag PhotometricInterpretation, where libvips converts them to RGB. */
const colorsOf = new Map([
  [0, 1], // white is zero
  [1, 1], // black is zero
  [2, 3], // RGB
  [3, 1], // palette
  [5, 4], // CMYK
  [6, 3], // YCbCr
  [8, 3], // CIELAB
]);

/** Compressions by the tag Compression that the build of libvips within sharp has not: LERC, Zstandard. */
const onlyGeotiff: ReadonlySet<number> = new Set([34887, 50000]);

/** Whether a page is gray or color of unsigned integers that use their full range. */
function isPhoto(image: GeoTIFFImage): boolean {
  const directory = image.fileDirectory;
  const samples = image.getSamplesPerPixel();
  const colors = colorsOf.get(photometricOf(image));
  const extra = directory.getValue("ExtraSamples")?.length ?? 0; // one is alpha
  const isFull = !directory.hasTag("MaxSampleValue") && !directory.hasTag("MinSampleValue");
  const depths = [1, 2, 4, 8, 16];
  return (
    isFull &&
    !onlyGeotiff.has(directory.getValue("Compression") ?? 1) &&
    image.getGDALNoData() === null &&
    samples - extra === colors &&
    extra <= 1 &&
    image.getSampleFormat() === 1 &&
    Array.from({ length: samples }, (_, i) => image.getBitsPerSample(i)).every(
      (bits, _, [first]) => bits === first && depths.includes(bits),
    )
  );
}
