/** Opens the images that a command line names, split into training and held-out images. */
import { reportCount } from "../../files/progress.js";
import { builtinImages, heldOutBuiltin, isBuiltin } from "../builtin.js";
import type { Decoding } from "../image-location.js";
import { type Subset, type Splits, splitImages, fullSubset } from "../split.js";
import { openData } from "./open.js";

/**
 * Opens images with `openData` and splits them by `heldOut` and `seed`; the built-in images have a fixed split. Reports
 * progress on stderr if it takes long. Throws where `openData` does.
 */
export async function openSplits(
  data: string,
  { heldOut, seed, maxPixels }: { readonly heldOut: number; readonly seed: number } & Pick<Decoding, "maxPixels">,
): Promise<Splits> {
  if (isBuiltin(data)) {
    const { train, test } = builtinImages();
    return { train: fullSubset(train), test: fullSubset(test) };
  }
  const images = await openData(data, { maxPixels, onFound: reportCount(`${data}: images found`) });
  const { train, test } = splitImages(images.count, { heldOut, seed });
  return { train: { images, indices: train }, test: { images, indices: test } };
}

/** Opens all images of `openData`, or the held-out built-in images. Throws where `openData` does. */
export async function openSubset(data: string): Promise<Subset> {
  const onFound = reportCount(`${data}: images found`);
  return fullSubset(isBuiltin(data) ? heldOutBuiltin() : await openData(data, { onFound }));
}
