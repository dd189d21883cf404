/** Where an image lies, as plain data for any thread. */
import type { Size } from "./pixels.js";

/** An image that cannot be had, and why. */
export interface DecodeFailure {
  readonly path: string;
  readonly reason: string;
}

/** Where an image lies and what its bytes are. */
export interface ImageLocation {
  /** What failures call it. */
  readonly name: string;
  readonly bytes: ByteLocation;
  /** Pixels as they are; left out for a file of any format that says itself what it is. */
  readonly raw?: RawForm;
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

/** Pixels: [rows, cols, 3], [rows, cols] gray, or [3, rows, cols] in planes. */
export interface RawForm extends Size {
  readonly layout: "rgb" | "gray" | "planes";
}

/** How files become images. */
export interface Decoding {
  /** Larger pictures are shrunk while they are decoded, so that their shorter side has that many pixels. */
  readonly shortSide?: number | undefined;
  /** What is missing of a file that is cut off becomes gray, instead of a failure. */
  readonly torn?: "shown";
  /** Pictures of more pixels fail before they are decoded; MAX_PIXELS if left out. */
  readonly maxPixels?: number | undefined;
}

/** Did an image fail to decode? */
export function isFailure(decoded: Size | DecodeFailure): decoded is DecodeFailure {
  return "reason" in decoded;
}

/** How pages are packed, as hyparquet has it, whose types need those of a browser. */
export type CompressionCodec = "UNCOMPRESSED" | "SNAPPY" | "GZIP" | "LZO" | "BROTLI" | "LZ4" | "ZSTD" | "LZ4_RAW";

/** A page of a column, as its header says. */
export interface ParquetPage {
  /** Where its bytes begin in the file, behind the header, and how many there are. */
  readonly start: number;
  readonly size: number;
  readonly unpackedSize: number;
  readonly codec: CompressionCodec;
  /** Values in it, missing ones included. */
  readonly values: number;
  readonly encoding: "plain" | "dictionary";
  /** Of the second version of pages: what lies before the values, never compressed. */
  readonly levels?: { readonly size: number; readonly valuesAreCompressed: boolean };
}

/** What all pages of a column share. */
export interface ColumnForm {
  readonly type: "BYTE_ARRAY" | "INT32" | "INT64";
  /** The definition level of a value that is not missing. */
  readonly definition: number;
}

/** A value of a page. */
export interface PageLocation {
  readonly kind: "page";
  readonly path: string;
  readonly column: ColumnForm;
  readonly page: ParquetPage;
  /** The page that those encoded by dictionary refer to. */
  readonly dictionary: ParquetPage | undefined;
  /** Of the page, from 0. */
  readonly row: number;
}
