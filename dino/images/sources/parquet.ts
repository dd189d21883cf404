/** Reader of Parquet image sets as on Hugging Face: a column of encoded images and optionally one of labels. */
import { type ColumnMetaData, type FileMetaData, parquetMetadata, parquetSchema, type SchemaTree } from "hyparquet";
import { parquetHeader } from "hyparquet/src/column.js";
import { z } from "zod";
import { type OpenFile, openFile } from "../../files/files.js";
import { STAND_IN_BYTES, standInOf } from "../../files/stand-ins.js";
import { lowerBound } from "../../math/binary-search.js";
import type { ColumnForm, Decoding, ParquetPage } from "../image-location.js";
import type { ImageSet } from "../image-set.js";
import { isPaged, pagesWithin } from "./file-parts.js";
import { imageSet } from "./folder-images.js";
import { classList, className, LABEL_NAMES, withLabels } from "./labels.js";
import { cachedIndex } from "./list-cache.js";
import { readPage } from "./parquet-page.js";
import { thriftSize } from "./thrift.js";

/** Index of a file. */
interface ParquetIndex {
  readonly column: ColumnForm;
  readonly pages: readonly PlacedPage[];
  readonly count: number;
  /** Row and page of each image, if some rows have several; 0 stands for the whole file. */
  readonly parts: { readonly rows: Uint32Array; readonly pages: Uint32Array } | undefined;
  readonly classes: readonly string[];
  /** Class of each row, -1 for none. */
  readonly labels: Int32Array;
}

interface PlacedPage {
  readonly page: ParquetPage;
  readonly dictionary: ParquetPage | undefined;
  /** Row of its first value in the file. */
  readonly first: number;
}

/** Preferred names of image columns; otherwise the first column that may hold images is used. */
const IMAGE_NAMES = ["image", "img", "jpg", "jpeg", "png", "webp", "picture", "photo"];

/**
 * Opens a Parquet file with a column of images: `image{bytes, path}` or plain bytes; pages of a file are images of their own. Reading an image decodes its page.
 * Throws for other files, and if there is no such column.
 */
export async function openParquet(path: string, decoding: Decoding = {}): Promise<ImageSet> {
  const index = await cachedIndex(path, "parquet", () => indexParquet(path));
  const { column, pages, parts, classes } = index;
  const labels = parts ? Int32Array.from(parts.rows, (row) => index.labels[row]!) : index.labels;
  const firsts = Float64Array.from(pages, ({ first }) => first);
  const nameOf = (image: number): string => {
    const page = parts?.pages[image];
    return `${parts?.rows[image] ?? image}${page ? `#${page}` : ""}`;
  };
  return imageSet({
    title: path,
    decoding,
    count: labels.length,
    shards: [0],
    ...withLabels(classes, labels, `which Parquet has in a column ${LABEL_NAMES.join(", ")}`),
    name: nameOf,
    location: (image) => {
      const row = parts?.rows[image] ?? image;
      const { page, dictionary, first } = pages[lowerBound(firsts, row + 1) - 1]!; // the last that begins there or before
      const part = parts?.pages[image];
      return {
        name: `${path}/${nameOf(image)}`,
        bytes: { kind: "page", path, column, page, dictionary, row: row - first },
        ...(part && { part: { page: part } }),
      };
    },
  });
}

async function indexParquet(path: string): Promise<ParquetIndex> {
  await using file = await openFile(path);
  try {
    const metadata = await readMetadata(file);
    const columns = parquetSchema(metadata).children;
    const images = columnOfImages(columns);
    const pages = await pagesOf(file, metadata, images);
    for (const { page } of pages) whole("images of a page", page.values, Math.max(8 * page.unpackedSize, 2 ** 20));
    const last = pages.at(-1);
    const count = last ? last.first + last.page.values : 0;
    const found = columnOfLabels(columns);
    const labels = found && (await readLabels(file, metadata, found, count));
    return {
      column: images.column,
      pages,
      count,
      parts: await partsOfRows(path, images.column, pages),
      ...(labels ?? { classes: [], labels: new Int32Array(count).fill(-1) }),
    };
  } catch (error) {
    const { message } = error as Error;
    throw new Error(message.startsWith(path) ? message : `${path}: ${message}`, { cause: error });
  }
}

/** Lists the pages of image files in rows; undefined if no file has several. Only looks where the first files may have pages. */
async function partsOfRows(
  path: string,
  column: ColumnForm,
  placed: readonly PlacedPage[],
): Promise<ParquetIndex["parts"]> {
  const rows: number[] = [];
  const pages: number[] = [];
  for (const { page, dictionary, first } of placed) {
    const values = await readPage(path, column, page, dictionary);
    if (first === 0 && !values.some((value) => value instanceof Uint8Array && isPaged(value))) return undefined;
    for (const [i, value] of values.entries())
      for (const number of value instanceof Uint8Array ? await pagesWithin(value) : [undefined]) {
        rows.push(first + i);
        pages.push(number ?? 0);
      }
  }
  return pages.some((page) => page > 0) ? { rows: Uint32Array.from(rows), pages: Uint32Array.from(pages) } : undefined;
}

const MAGIC = "PAR1";
const FOOTER = 8;

async function readMetadata(file: OpenFile): Promise<FileMetaData> {
  const standIn = standInOf(await file.read(0, Math.min(STAND_IN_BYTES, file.size)));
  if (standIn !== undefined) throw new Error(`expected a parquet file, got ${standIn}`);
  const tail = file.size >= 2 * FOOTER ? await file.read(file.size - FOOTER, FOOTER) : new Uint8Array(FOOTER);
  const size = new DataView(tail.buffer).getUint32(0, true);
  if (Buffer.from(tail.subarray(4)).toString("latin1") !== MAGIC || size + FOOTER > file.size)
    throw new Error("expected a parquet file; this is none, or not a whole one");
  const bytes = await file.read(file.size - FOOTER - size, size + FOOTER);
  thriftSize(bytes.subarray(0, size));
  return parquetMetadata(bytes, { geoparquet: false });
}

/** A column of the file. */
interface Column {
  readonly column: ColumnForm;
  readonly path: readonly string[];
}

function columnOfImages(columns: readonly SchemaTree[]): Column {
  const candidates = columns.flatMap((top) => {
    const { name, converted_type, logical_type } = top.element;
    const bytes = top.children.find(({ element }) => element.name === "bytes");
    const levels = bytes ? [top, bytes] : [top];
    const column = formOf(levels);
    const isText = !bytes && (converted_type !== undefined || logical_type !== undefined);
    if (column?.type !== "BYTE_ARRAY" || isText) return [];
    return [{ column, path: levels.map(({ element }) => element.name), name }];
  });
  const named = IMAGE_NAMES.flatMap((name) => candidates.filter((candidate) => candidate.name === name));
  const chosen = named[0] ?? candidates[0];
  if (chosen) return chosen;
  const names = columns.map(({ element }) => element.name);
  throw new Error(`expected a column of images (image{bytes, path}, or bytes), got ${names.join(", ")}`);
}

/** Returns the first column of labels by name; undefined if there is none, or only lists of labels. */
function columnOfLabels(columns: readonly SchemaTree[]): Column | undefined {
  const named = LABEL_NAMES.flatMap((name) => columns.filter(({ element }) => element.name === name));
  const [found] = named.flatMap((top) => {
    const column = formOf([top]);
    return column ? [{ column, path: [top.element.name] }] : [];
  });
  return found;
}

/**
 * Returns the value type of a column, undefined if unsupported. `levels` lead from the top of the schema to the column.
 */
function formOf(levels: readonly SchemaTree[]): ColumnForm | undefined {
  const leaf = levels.at(-1)!;
  const { type } = leaf.element;
  if (leaf.children.length > 0 || levels.some(({ element }) => element.repetition_type === "REPEATED"))
    return undefined;
  if (type === undefined || type === "INT96" || type === "FIXED_LEN_BYTE_ARRAY") return undefined;
  const definition = levels.filter(({ element }) => element.repetition_type !== "REQUIRED").length;
  return { type, definition };
}

/** Maximum compression ratio of a page, that of deflate. */
const MOST_COMPRESSED = 1032;
/** Bytes read for a page header; it may contain the minimum and maximum value. */
const HEADER = 2 ** 16;

/** Lists the pages of a column, each with its dictionary. Throws if they do not match the metadata. */
async function pagesOf(file: OpenFile, metadata: FileMetaData, { path }: Column): Promise<readonly PlacedPage[]> {
  const placed: PlacedPage[] = [];
  let first = 0;
  for (const group of metadata.row_groups) {
    const rows = whole("rows of a group", group.num_rows, 2 ** 31 - 1 - first);
    const chunk = group.columns.find(({ meta_data }) => meta_data?.path_in_schema.join(".") === path.join("."));
    if (chunk?.meta_data === undefined || chunk.file_path !== undefined)
      throw new Error(`parquet: the column ${path.join(".")} is not in the file`);
    const { pages, dictionary } = await pagesOfChunk(file, chunk.meta_data, rows);
    for (const page of pages) {
      placed.push({ page, first, dictionary: page.encoding === "dictionary" ? dictionary : undefined });
      first += page.values;
    }
  }
  return placed;
}

async function pagesOfChunk(
  file: OpenFile,
  chunk: ColumnMetaData,
  rows: number,
): Promise<{ readonly pages: readonly ParquetPage[]; readonly dictionary: ParquetPage | undefined }> {
  const { codec } = chunk;
  let at = whole("offset of pages", chunk.dictionary_page_offset || chunk.data_page_offset, file.size);
  const end = at + whole("bytes of pages", chunk.total_compressed_size, file.size - at);
  const pages: ParquetPage[] = [];
  let dictionary: ParquetPage | undefined;
  for (let found = 0; found < rows;) {
    const bytes = await file.read(at, Math.min(HEADER, end - at));
    const headerSize = thriftSize(bytes);
    const header = parquetHeader({ view: new DataView(bytes.buffer), offset: 0 });
    const start = at + headerSize;
    const size = whole("bytes of a page", header.compressed_page_size, end - start);
    const unpackedSize = whole("bytes of a page", header.uncompressed_page_size, size * MOST_COMPRESSED);
    at = start + size;
    const common = { start, size, unpackedSize, codec };
    const { dictionary_page_header: entries, data_page_header: v1, data_page_header_v2: v2 } = header;
    if (header.type === "DICTIONARY_PAGE" && entries) {
      const values = whole("values of a dictionary", entries.num_values, unpackedSize);
      dictionary = { ...common, values, encoding: "plain" };
    } else if (header.type === "DATA_PAGE" && v1) {
      const values = whole("values of a page", v1.num_values, rows - found);
      pages.push({ ...common, values, encoding: encodingOf(v1.encoding) });
      found += values;
    } else if (header.type === "DATA_PAGE_V2" && v2) {
      const values = whole("values of a page", v2.num_values, rows - found);
      whole("repetitions of a page", v2.repetition_levels_byte_length, 0);
      const levels = whole("levels of a page", v2.definition_levels_byte_length, Math.min(size, unpackedSize));
      const levelled = { size: levels, valuesAreCompressed: v2.is_compressed !== false };
      pages.push({ ...common, values, encoding: encodingOf(v2.encoding), levels: levelled });
      found += values;
    }
  }
  return { pages, dictionary };
}

function encodingOf(encoding: string | undefined): ParquetPage["encoding"] {
  if (encoding === "PLAIN") return "plain";
  if (encoding === "PLAIN_DICTIONARY" || encoding === "RLE_DICTIONARY") return "dictionary";
  if (encoding === "RLE") return "runs"; // only truth values are
  throw new Error(`parquet: expected values encoded plainly or by dictionary, got ${encoding ?? "no known encoding"}`);
}

/** Checks a number read from the file. Throws unless it is an integer from 0 to `most`. */
function whole(what: string, number: number | bigint | undefined, most: number): number {
  const value = Number(number);
  if (Number.isSafeInteger(value) && value >= 0 && value <= most) return value;
  throw new Error(`parquet: ${what}: expected 0 to ${most}, got ${String(number)}`);
}

/** Reads the class of every row. Throws if the number of labels differs from that of images. */
async function readLabels(
  file: OpenFile,
  metadata: FileMetaData,
  found: Column,
  count: number,
): Promise<Pick<ParquetIndex, "classes" | "labels">> {
  const pages = await pagesOf(file, metadata, found);
  const rows = pages.reduce((sum, { page }) => sum + page.values, 0);
  if (rows !== count) throw new Error(`parquet: expected a label for each of ${count} images, got ${rows}`);
  const names = classNames(metadata, found.path[0]!);
  const classes = classList();
  const labels = new Int32Array(count).fill(-1);
  for (const { page, dictionary, first } of pages) {
    for (const [i, value] of (await readPage(file.path, found.column, page, dictionary)).entries()) {
      const name = className(value, names);
      if (name !== undefined) labels[first + i] = classes.numberOf(name);
    }
  }
  return { classes: classes.names(), labels };
}

const featuresSchema = z.object({
  info: z.object({ features: z.record(z.string(), z.unknown()) }),
});
const classLabelSchema = z.object({ names: z.array(z.string()) });

/** Returns the class names that Hugging Face stores in the metadata of the file. */
function classNames({ key_value_metadata }: FileMetaData, column: string): readonly string[] {
  const written = key_value_metadata?.find(({ key }) => key === "huggingface")?.value;
  try {
    const { info } = featuresSchema.parse(JSON.parse(written ?? ""));
    return classLabelSchema.parse(info.features[column]).names;
  } catch {
    return []; // numbers will do
  }
}
