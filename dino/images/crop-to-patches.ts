/** Images cut to whole patches, as a network sees them. */
import { centerCrop, type Image, resize, shortSideSize, type Size } from "./pixels.js";

/** How an image is fitted to whole patches. */
export interface PatchFit {
  /** Shorter side to resize an image to, or its whole size. */
  readonly size: number | Size;
  /** Side of a patch: what makes no whole one is cut off evenly on both sides. */
  readonly patch: number;
}

/** The image as the network sees it: resized, then its middle cut to whole patches. Throws if not one patch fits. */
export function fitToPatches(image: Image, fit: PatchFit): Image {
  const whole = fittedSize(image, fit);
  return centerCrop(resize(image, shownSize(image, fit)), whole);
}

function shownSize(image: Size, { size }: PatchFit): Size {
  return typeof size === "number" ? shortSideSize(image, size) : size;
}

/** The size that fitToPatches gives. */
export function fittedSize(image: Size, fit: PatchFit): Size {
  const { patch } = fit;
  const shown = shownSize(image, fit);
  const rows = Math.floor(shown.rows / patch) * patch;
  const cols = Math.floor(shown.cols / patch) * patch;
  if (rows === 0 || cols === 0) {
    throw new Error(`an image of ${shown.cols} x ${shown.rows} holds no patch of ${patch}; make it larger`);
  }
  return { rows, cols };
}
