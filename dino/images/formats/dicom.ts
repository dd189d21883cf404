/**
 * Reader of DICOM files, without compression or as baseline JPEG. Source: https://dicom.nema.org/medical/dicom/current,
 * parts 3 (C.7.6.3, C.11) and 5.
 */
import dicomParser, { type DataSet, type Element } from "dicom-parser";
import type { ImagePart, Levels } from "../image-location.js";
import type { Size } from "../pixels.js";
import * as photo from "./photo.js";
import {
  checkSize,
  cut,
  type ReadOptions,
  type Samples,
  type Source,
  toBytes,
  toBytesInRange,
  type Visit,
} from "./samples.js";
import { wholeFile } from "./whole-file.js";

/** Reads a frame. */
export async function read(source: Source, options: ReadOptions): Promise<Samples> {
  const { part, range } = options;
  const opened = await open(source, options);
  if (!isCompressed(opened)) return cut(decodeFrame(opened, range), part?.tile);
  const { tile } = part ?? {};
  return photo.read(jpegOf(opened), { ...options, part: tile && { tile } });
}

/** Visits the values of a frame, rescaled by the file: Hounsfield units in computed tomography. */
export async function scan(source: Source, options: ReadOptions, visit: Visit): Promise<void> {
  const opened = await open(source, options);
  if (isCompressed(opened)) return photo.scan(jpegOf(opened), {}, visit);
  const { values, channels } = frameValues(opened);
  const { slope, intercept } = rescaling(opened.dataSet);
  visit(
    values.map((value) => slope * value + intercept),
    channels,
  );
}

/** A frame of a file, from 0. */
interface Frame {
  readonly dataSet: DataSet;
  readonly element: Element;
  readonly frame: number;
}

async function open(source: Source, { part, maxPixels }: ReadOptions): Promise<Frame> {
  const dataSet = parse(await wholeFile(source));
  checkSize(sizeOf(dataSet), maxPixels);
  const frame = (typeof part?.page === "number" ? part.page : 1) - 1;
  if (!(frame < framesOf(dataSet)))
    throw new Error(`DICOM: expected frame ${frame + 1}, got ${framesOf(dataSet)} frames`);
  return { dataSet, element: pixelsOf(dataSet), frame };
}

function isCompressed({ element }: Frame): boolean {
  return element.encapsulatedPixelData === true;
}

/** Reads the size of the frames. */
export async function measure(source: Source): Promise<Size> {
  return sizeOf(parse(await wholeFile(source)));
}

/** Lists the frames as pages. */
export async function listFrames(source: Source): Promise<readonly (Size & Required<Pick<ImagePart, "page">>)[]> {
  const dataSet = parse(await wholeFile(source));
  return Array.from({ length: framesOf(dataSet) }, (_, i) => ({ page: i + 1, ...sizeOf(dataSet) }));
}

/** Names of the attributes that are used, by tag. */
const tags = {
  syntax: "x00020010",
  samples: "x00280002",
  photometric: "x00280004",
  planar: "x00280006",
  frames: "x00280008",
  rows: "x00280010",
  cols: "x00280011",
  bitsAllocated: "x00280100",
  bitsStored: "x00280101",
  isSigned: "x00280103",
  windowCenter: "x00281050",
  windowWidth: "x00281051",
  intercept: "x00281052",
  slope: "x00281053",
  pixels: "x7fe00010",
} as const;

function parse(bytes: Uint8Array): DataSet {
  try {
    return dicomParser.parseDicom(bytes);
  } catch (error) {
    const { exception } = error as { readonly exception?: string };
    const reason = exception ?? (error instanceof Error ? error.message : String(error));
    throw new Error(`DICOM: ${reason}`, { cause: error });
  }
}

function sizeOf(dataSet: DataSet): Size {
  return { rows: dataSet.uint16(tags.rows) ?? 0, cols: dataSet.uint16(tags.cols) ?? 0 };
}

/** Maximum number of frames, which a damaged file may claim. */
const MAX_FRAMES = 2 ** 20;

function framesOf(dataSet: DataSet): number {
  const frames = dataSet.intString(tags.frames) ?? 1;
  if (!(frames >= 1 && frames <= MAX_FRAMES))
    throw new Error(`DICOM: expected 1 to ${MAX_FRAMES} frames, got ${frames}`);
  return frames;
}

function pixelsOf(dataSet: DataSet): Element {
  const element = dataSet.elements[tags.pixels];
  if (element === undefined) throw new Error("DICOM: expected an image, got a file without pixels");
  return element;
}

const JPEG_BASELINE = "1.2.840.10008.1.2.4.50";

/** Returns the JPEG file of a frame. Throws for other compressions. */
function jpegOf({ dataSet, element, frame }: Frame): Uint8Array {
  const { fragments = [] } = element;
  const syntax = dataSet.string(tags.syntax) ?? "";
  if (syntax !== JPEG_BASELINE) {
    throw new Error(
      `DICOM: expected pixels without compression or as baseline JPEG, got transfer syntax ${syntax}; decompress the ` +
        'file, for example with GDCM: "gdcmconv --raw FILE FILE.dcm"',
    );
  }
  const frames = framesOf(dataSet);
  if (frames !== 1 && fragments.length !== frames)
    throw new Error(`DICOM: expected one fragment for each of ${frames} frames, got ${fragments.length}`);
  const some = frames === 1 ? fragments : fragments.slice(frame, frame + 1);
  const { byteArray } = dataSet;
  return Buffer.concat(some.map(({ position, length }) => byteArray.subarray(position, position + length)));
}

function frameValues({ dataSet, element: { dataOffset, length }, frame }: Frame) {
  const { rows, cols } = sizeOf(dataSet);
  const channels = dataSet.uint16(tags.samples) ?? 1;
  const photometric = dataSet.string(tags.photometric) ?? "MONOCHROME2";
  const bits = dataSet.uint16(tags.bitsAllocated) ?? 0;
  if (!["MONOCHROME1", "MONOCHROME2", "RGB"].includes(photometric) || ![8, 16, 32].includes(bits) || channels > 4)
    throw new Error(`DICOM: expected gray or RGB of 8, 16 or 32 bits, got ${channels} ${photometric} of ${bits} bits`);
  const count = rows * cols * channels;
  const start = (frame * count * bits) / 8;
  if (start + (count * bits) / 8 > length || dataOffset + length > dataSet.byteArray.length)
    throw new Error(`DICOM: expected ${count} values in frame ${frame + 1}, got a file that is cut off`);
  const values = valuesOf(dataSet, { start: dataOffset + start, count, bits });
  const isInverted = photometric === "MONOCHROME1";
  if (channels === 1 || dataSet.uint16(tags.planar) !== 1) return { values, channels, isInverted };
  const plane = rows * cols;
  const mixed = values.map((_, i) => values[(i % channels) * plane + Math.floor(i / channels)]!);
  return { values: mixed, channels, isInverted };
}

function decodeFrame(opened: Frame, range: readonly number[] | undefined): Samples {
  const { dataSet } = opened;
  const { values, channels, isInverted } = frameValues(opened);
  const pixels = new Uint8Array(values.length);
  if (range) {
    const { slope, intercept } = rescaling(dataSet);
    const stored = range.map((value) => (value - intercept) / slope);
    toBytesInRange(values, channels, stored, pixels);
  } else toBytes(values, levelsOf(dataSet, values), pixels);
  if (isInverted) for (let i = 0; i < pixels.length; i++) pixels[i] = 255 - pixels[i]!;
  return { ...sizeOf(dataSet), channels, pixels };
}

/** Returns how stored values become those of the quantity that was measured: slope * stored + intercept. */
function rescaling(dataSet: DataSet): { readonly slope: number; readonly intercept: number } {
  const slope = dataSet.floatString(tags.slope) ?? 1;
  return { slope: slope > 0 ? slope : 1, intercept: dataSet.floatString(tags.intercept) ?? 0 };
}

/** Reads values, without the bits that are not stored. */
function valuesOf(
  dataSet: DataSet,
  { start, count, bits }: { readonly start: number; readonly count: number; readonly bits: number },
): Float64Array {
  const { byteArray, byteArrayParser: parser } = dataSet;
  const unused = 32 - bitsStored(dataSet, bits);
  const isSigned = dataSet.uint16(tags.isSigned) === 1;
  const readWord = (i: number): number =>
    bits === 8
      ? byteArray[start + i]!
      : bits === 16
        ? parser.readUint16(byteArray, start + 2 * i)
        : parser.readUint32(byteArray, start + 4 * i);
  return Float64Array.from({ length: count }, (_, i) => {
    const shifted = readWord(i) << unused;
    return isSigned ? shifted >> unused : shifted >>> unused;
  });
}

function bitsStored(dataSet: DataSet, bitsAllocated: number): number {
  const stored = dataSet.uint16(tags.bitsStored) ?? bitsAllocated;
  return stored >= 1 && stored <= bitsAllocated ? stored : bitsAllocated;
}

/**
 * Returns the stored values that are black and white: the first window of the file; without one, 0 and the largest of
 * the stored bits for unsigned values, and the minimum and maximum of the frame for signed ones.
 */
function levelsOf(dataSet: DataSet, values: Float64Array): Levels {
  const center = dataSet.floatString(tags.windowCenter);
  const width = dataSet.floatString(tags.windowWidth);
  if (center !== undefined && width !== undefined && width >= 1 && Number.isFinite(center)) {
    const { slope, intercept } = rescaling(dataSet);
    const toStored = (value: number): number => (value - intercept) / slope;
    const middle = center - 0.5; // the linear function of C.11.2.1.2
    return { low: toStored(middle - (width - 1) / 2), high: toStored(middle + (width - 1) / 2) };
  }
  if (dataSet.uint16(tags.isSigned) !== 1) {
    const bits = bitsStored(dataSet, dataSet.uint16(tags.bitsAllocated) ?? 16);
    return { low: 0, high: 2 ** bits - 1 };
  }
  return values.reduce(({ low, high }, value) => ({ low: Math.min(low, value), high: Math.max(high, value) }), {
    low: Infinity,
    high: -Infinity,
  } as Levels);
}
