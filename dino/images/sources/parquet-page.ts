/**
 * Decoder of Parquet pages with plain or dictionary encoding, as used by image sets. All counts are checked before
 * anything is allocated.
 * https://parquet.apache.org/docs/file-format/data-pages/encodings/
 */
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import { readRange } from "../../files/files.js";
import type { ColumnForm, CompressionCodec, ParquetPage, PageLocation } from "../image-location.js";

export type Value = Uint8Array | boolean | number | undefined;

/** Reads the bytes of a value. Throws if it is missing or the page is damaged. */
export async function readPageValue({ path, column, page, dictionary, row }: PageLocation): Promise<Uint8Array> {
  const value = (await readPage(path, column, page, dictionary))[row];
  if (!(value instanceof Uint8Array)) throw new Error("the row has no image");
  return value;
}

/** Reads all values of a page: [page.values], undefined for missing ones. Throws if the page is damaged. */
export async function readPage(
  path: string,
  column: ColumnForm,
  page: ParquetPage,
  dictionary: ParquetPage | undefined,
): Promise<readonly Value[]> {
  const { levels, values } = page;
  const bytes = await readRange(path, page.start, page.size);
  let present: Uint32Array | undefined;
  let data: Uint8Array;
  if (levels) {
    const rest = bytes.subarray(levels.size);
    data = levels.valuesAreCompressed ? await unpack(rest, page.unpackedSize - levels.size, page.codec) : rest;
    if (column.definition > 0) present = runs(bytes.subarray(0, levels.size), widthOf(column.definition), values);
  } else {
    data = await unpack(bytes, page.unpackedSize, page.codec);
    if (column.definition > 0) {
      const size = viewOf(data).getUint32(0, true);
      present = runs(data.subarray(4, 4 + size), widthOf(column.definition), values);
      data = data.subarray(4 + size);
    }
  }
  const count = present ? present.reduce((sum, level) => sum + (level === column.definition ? 1 : 0), 0) : values;
  const stored = await valuesOf();
  if (count === values) return stored;
  let next = 0;
  return Array.from(present!, (level) => (level === column.definition ? stored[next++] : undefined));

  async function valuesOf(): Promise<readonly Value[]> {
    switch (page.encoding) {
      case "plain":
        return plain(data, column.type, count);
      case "dictionary":
        return referred(data, count);
      case "runs":
        if (column.type !== "BOOLEAN") throw new Error(`parquet: expected truth values in runs, got ${column.type}`);
        return Array.from(runs(data.subarray(4), 1, count), (bit) => bit === 1); // the size of all comes first
      default:
        return page.encoding satisfies never;
    }
  }

  async function referred(numbers: Uint8Array, most: number): Promise<readonly Value[]> {
    if (dictionary === undefined) throw new Error("parquet: a page refers to a dictionary that is not there");
    const packed = await readRange(path, dictionary.start, dictionary.size);
    const entries = plain(
      await unpack(packed, dictionary.unpackedSize, dictionary.codec),
      column.type,
      dictionary.values,
    );
    const width = numbers[0] ?? 0;
    if (width > 32) throw new Error(`parquet: expected at most 32 bits a number, got ${width}`);
    return Array.from(runs(numbers.subarray(1), width, most), (number) => {
      if (number >= entries.length) throw new Error("parquet: a page refers beyond its dictionary");
      return entries[number];
    });
  }
}

/** Least size of a plain value. */
const leastBytes: Readonly<Record<ColumnForm["type"], number>> = {
  BOOLEAN: 1 / 8,
  INT32: 4,
  INT64: 8,
  FLOAT: 4,
  DOUBLE: 8,
  BYTE_ARRAY: 4,
};

/** Decodes plain values. */
function plain(bytes: Uint8Array, type: ColumnForm["type"], count: number): readonly Value[] {
  const view = viewOf(bytes);
  if (Math.ceil(count * leastBytes[type]) > bytes.length)
    throw new Error(`parquet: ${count} values cannot lie in ${bytes.length} bytes`);
  const each = (read: (i: number) => Value): readonly Value[] => Array.from({ length: count }, (_, i) => read(i));
  if (type === "BOOLEAN") return each((i) => ((bytes[i >> 3]! >> (i & 7)) & 1) === 1);
  if (type === "INT32") return each((i) => view.getInt32(4 * i, true));
  if (type === "INT64") return each((i) => Number(view.getBigInt64(8 * i, true)));
  if (type === "FLOAT") return each((i) => view.getFloat32(4 * i, true));
  if (type === "DOUBLE") return each((i) => view.getFloat64(8 * i, true));
  const values: Uint8Array[] = [];
  for (let i = 0, at = 0; i < count; i++) {
    const size = view.getUint32(at, true);
    at += 4;
    if (at + size > bytes.length) throw new Error("parquet: a value ends behind its page");
    values.push(bytes.subarray(at, (at += size)));
  }
  return values;
}

/** Decodes the RLE / bit-packing hybrid of integers of `width` bits. */
function runs(bytes: Uint8Array, width: number, count: number): Uint32Array {
  const numbers = new Uint32Array(count);
  const ends = () => new Error("parquet: numbers end too early");
  let at = 0;
  for (let filled = 0; filled < count;) {
    let head = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      if (byte === undefined || shift > 28) throw ends();
      head += (byte & 127) * 2 ** shift;
      if (byte < 128) break;
    }
    const length = Math.floor(head / 2);
    if (length === 0) throw ends();
    if (head % 2 === 0) {
      let number = 0;
      for (let i = 0; i < Math.ceil(width / 8); i++) number += (bytes[at++] ?? NaN) * 2 ** (8 * i);
      if (Number.isNaN(number)) throw ends();
      numbers.fill(number, filled, filled + length);
      filled += length;
      continue;
    }
    const here = Math.min(8 * length, count - filled);
    if (at + Math.ceil((here * width) / 8) > bytes.length) throw ends();
    for (let i = 0, bit = 8 * at; i < here; i++, bit += width) {
      let number = 0;
      for (let done = 0; done < width;) {
        const within = (bit + done) % 8;
        const bits = Math.min(8 - within, width - done);
        number += ((bytes[Math.floor((bit + done) / 8)]! >> within) & (2 ** bits - 1)) * 2 ** done;
        done += bits;
      }
      numbers[filled + i] = number;
    }
    filled += here;
    at += length * width;
  }
  return numbers;
}

/** Decompresses a page. Throws if its size differs from its header. */
async function unpack(bytes: Uint8Array, size: number, codec: CompressionCodec): Promise<Uint8Array> {
  const unpacked = await decompress(bytes, size, codec);
  if (unpacked.length !== size) throw new Error(`parquet: expected a page of ${size} bytes, got ${unpacked.length}`);
  return unpacked;
}

async function decompress(bytes: Uint8Array, size: number, codec: CompressionCodec): Promise<Uint8Array> {
  if (codec === "UNCOMPRESSED") return bytes;
  if (size === 0) return new Uint8Array(0); // some codecs have a byte for nothing
  if (codec === "GZIP") return gunzipSync(bytes, { maxOutputLength: size });
  if (codec === "BROTLI") return brotliDecompressSync(bytes, { maxOutputLength: size });
  const { compressors, decompressZstd } = await import("hyparquet-compressors"); // which few images need
  if (codec === "ZSTD") return decompressZstd(bytes, new Uint8Array(size));
  const decompressor = compressors[codec];
  if (decompressor === undefined) throw new Error(`parquet: pages are compressed by ${codec}, which is not supported`);
  return decompressor(bytes, size);
}

function widthOf(most: number): number {
  return 32 - Math.clz32(most);
}

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}
