/** Images as commands name them, split into what is trained on and what is held out. */
import { reportCount } from "../../files/progress.js";
import { builtinImages, heldOutBuiltin, isBuiltin } from "../builtin.js";
import type { Decoding } from "../image-location.js";
import { type Subset, type Splits, splitImages, fullSubset } from "../split.js";
import { openData } from "./open.js";

/**
 * Images as openData finds them, split by `heldOut` and `seed`, or the built-in images, which have a split of their own. What takes a
 * while is told on stderr. Throws where openData does.
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

/** All images that openData finds, or the held-out ones of the built-in images. Throws where openData does. */
export async function openSubset(data: string): Promise<Subset> {
  const onFound = reportCount(`${data}: images found`);
  return fullSubset(isBuiltin(data) ? heldOutBuiltin() : await openData(data, { onFound }));
}
