/** Cropping images to whole patches, the input size of a network. */
import { centerCrop, type Image, resize, shortSideSize, type Size } from "./pixels.js";

/** Sizes for fitting an image to whole patches. */
export interface PatchFit {
  /** Length of the shorter side after resizing, or the whole size. */
  readonly size: number | Size;
  /** Side of a patch in pixels; the rest that fills no patch is cut off evenly on both sides. */
  readonly patch: number;
}

/** Maximum number of patches: attention takes time and memory by its square. */
export const MAX_PATCHES = 2 ** 15;

/** Resizes an image and crops its center to whole patches. Throws if not one patch fits, or more than MAX_PATCHES do. */
export function fitToPatches(image: Image, fit: PatchFit): Image {
  const whole = fittedSize(image, fit);
  return centerCrop(resize(image, shownSize(image, fit)), whole);
}

function shownSize(image: Size, { size }: PatchFit): Size {
  return typeof size === "number" ? shortSideSize(image, size) : size;
}

/** Returns the size of the result of `fitToPatches`. */
export function fittedSize(image: Size, fit: PatchFit): Size {
  const { patch } = fit;
  const shown = shownSize(image, fit);
  const rows = Math.floor(shown.rows / patch) * patch;
  const cols = Math.floor(shown.cols / patch) * patch;
  if (rows === 0 || cols === 0) {
    throw new Error(`an image of ${shown.cols} x ${shown.rows} holds no patch of ${patch}; make it larger`);
  }
  const count = (rows / patch) * (cols / patch);
  if (count > MAX_PATCHES) {
    throw new Error(
      `an image of ${image.cols} x ${image.rows}, shown at ${shown.cols} x ${shown.rows}, holds ${count} patches of ` +
        `${patch}; expected at most ${MAX_PATCHES}; lower --image-size, set it to ROWSxCOLS, or crop the image`,
    );
  }
  return { rows, cols };
}
