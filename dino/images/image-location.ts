/** Locations of images, as plain data that any thread can use. */
import type { Box, Size } from "./pixels.js";

/** An image that cannot be read or decoded, and the reason. */
export interface DecodeFailure {
  readonly path: string;
  readonly reason: string;
}

/** Location and encoding of an image. */
export interface ImageLocation {
  /** Name of the image in failures. */
  readonly name: string;
  readonly bytes: ByteLocation;
  /** Layout of raw pixels; left out for an encoded file of any format. */
  readonly raw?: RawForm;
  /** The part of the file that is the image; the whole file, or its first page, if left out. */
  readonly part?: ImagePart;
}

/** A page of a file, or a tile of it. */
export interface ImagePart {
  /** From 1, or all pages as channels; the first if left out. */
  readonly page?: number | "channels";
  readonly tile?: Box;
  /** Levels of each page that a tile is cut from; if left out, found anew from the whole page. */
  readonly levels?: readonly Levels[];
}

/** The values that become black and white. */
export interface Levels {
  readonly low: number;
  readonly high: number;
}

export type ByteLocation =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "range"; readonly path: string; readonly start: number; readonly size: number }
  | {
      readonly kind: "memory";
      readonly memory: Uint8Array;
      readonly start: number;
      readonly size: number;
    }
  | PageLocation;

/** Raw values of 8 bits: pixels [rows, cols, channels], or planes [channels, rows, cols]. */
export interface RawForm extends Size {
  readonly layout: "pixels" | "planes";
}

/** What transparent pixels are drawn on. */
export type Background = "white" | "gray" | "black";

/** The channels, from 0, that pictures show as red, green and blue, where images have as many; else the first three. */
export type ShownChannels = readonly [red: number, green: number, blue: number];

export const FIRST_CHANNELS: ShownChannels = [0, 1, 2];

/** Options of decoding. */
export interface Decoding {
  /** Larger images are shrunk while decoding, so that their shorter side has this many pixels. */
  readonly shortSide?: number | undefined;
  /** Fills the missing part of a truncated file with gray instead of failing. */
  readonly torn?: "shown";
  /** Number of channels, or those for a picture; 3 if left out. */
  readonly channels?: number | ShownChannels | undefined;
  /**
   * The values of black and white in files: two numbers for all channels or two for each. If left out, those of the bit depth,
   * or of the format.
   */
  readonly range?: readonly number[] | undefined;
  /** What shows through transparent pixels; if left out, alpha is dropped, which shows the colors that they hide. */
  readonly background?: Background | undefined;
  /** Images with more pixels fail before they are decoded; MAX_PIXELS if left out. */
  readonly maxPixels?: number | undefined;
}

/** Returns whether decoding failed. */
export function isFailure(decoded: Size | DecodeFailure): decoded is DecodeFailure {
  return "reason" in decoded;
}

/** Compression codecs of pages: hyparquet's type, repeated here because its types need those of a browser. */
export type CompressionCodec = "UNCOMPRESSED" | "SNAPPY" | "GZIP" | "LZO" | "BROTLI" | "LZ4" | "ZSTD" | "LZ4_RAW";

/** A page of a Parquet column, as described by its header. */
export interface ParquetPage {
  /** Offset in the file, after the header, and size in bytes. */
  readonly start: number;
  readonly size: number;
  readonly unpackedSize: number;
  readonly codec: CompressionCodec;
  /** Number of values, including missing ones. */
  readonly values: number;
  readonly encoding: "plain" | "dictionary" | "runs";
  /** Levels before the values in version 2 pages; never compressed. */
  readonly levels?: { readonly size: number; readonly valuesAreCompressed: boolean };
}

/** Properties shared by all pages of a column. */
export interface ColumnForm {
  readonly type: "BYTE_ARRAY" | "BOOLEAN" | "INT32" | "INT64" | "FLOAT" | "DOUBLE";
  /** Definition level of a present value. */
  readonly definition: number;
}

/** Location of a value in a page. */
export interface PageLocation {
  readonly kind: "page";
  readonly path: string;
  readonly column: ColumnForm;
  readonly page: ParquetPage;
  /** The dictionary page that dictionary-encoded pages refer to. */
  readonly dictionary: ParquetPage | undefined;
  /** Row within the page, from 0. */
  readonly row: number;
}
