/** How images are read, as flags and models say. */
import type { Background, Decoding } from "./image-location.js";

/** What becomes of the pages of a file, and of images larger than a tile. */
export interface Cutting {
  /** Each page is an image, or all pages are channels of one; "images" if left out. */
  readonly pages?: "images" | "channels" | undefined;
  /** Side of a tile in pixels; images are not cut if it is 0 or left out. */
  readonly tile?: number | undefined;
}

/** How images are read: with which channels and range, and what becomes of pages and large images. */
export interface Reading extends Pick<Decoding, "maxPixels">, Cutting {
  /** Larger images are shrunk to this shorter side; not if it is 0 or left out. */
  readonly shortSide?: number | undefined;
  /** Number of channels; 3 if left out. */
  readonly channels?: number | undefined;
  /** What transparent pixels are drawn on; alpha is dropped if it is "none" or left out. */
  readonly background?: Background | "none" | undefined;
  /** As the setting: "depth" if left out. "auto" measures numbers, which are then in `images.decoding`. */
  readonly range?: "depth" | "auto" | readonly number[] | undefined;
}

/** Returns how single images are decoded where files are read like this. Throws for a range still to be measured. */
export function decodingOf({ channels, range = "depth", background = "none", maxPixels }: Reading): Decoding {
  if (range === "auto")
    throw new Error("range: expected numbers or depth, got auto, which is measured on a set of images");
  return {
    channels,
    maxPixels,
    ...(range !== "depth" && { range }),
    ...(background !== "none" && { background }),
  };
}
