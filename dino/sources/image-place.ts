/** Where an image lies, as plain data for any thread. */
import type { Size } from "../pixels.js";
import type { PagePlace } from "./parquet-page.js";

/** An image that cannot be had, and why. */
export interface DecodeFailure {
  readonly path: string;
  readonly reason: string;
}

/** Where an image lies and what its bytes are. */
export interface ImagePlace {
  /** What failures call it. */
  readonly name: string;
  readonly bytes: PlacedBytes;
  /** Pixels as they are; left out for a file of any format that says itself what it is. */
  readonly raw?: RawForm;
}

export type PlacedBytes =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "range"; readonly path: string; readonly start: number; readonly size: number }
  | {
      readonly kind: "memory";
      readonly memory: Uint8Array;
      readonly start: number;
      readonly size: number;
    }
  | PagePlace;

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
