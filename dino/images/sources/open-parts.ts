/** Images as commands name them, split into what is trained on and what is held out. */
import { builtinImages, heldOutBuiltin, isBuiltin } from "../builtin.js";
import { reportCount } from "../../files/progress.js";
import type { Decoding } from "../image-location.js";
import { openData } from "./open.js";
import { type Part, type Parts, splitImages, wholeOf } from "../split.js";

/**
 * Images as openData finds them, split by `heldOut` and `seed`, or the built-in images, which have a split of their own. What takes a
 * while is told on stderr. Throws where openData does.
 */
export async function openParts(
  data: string,
  { heldOut, seed, maxPixels }: { readonly heldOut: number; readonly seed: number } & Pick<Decoding, "maxPixels">,
): Promise<Parts> {
  if (isBuiltin(data)) {
    const { train, test } = builtinImages();
    return { train: wholeOf(train), test: wholeOf(test) };
  }
  const images = await openData(data, { maxPixels, onFound: reportCount(`${data}: images found`) });
  const { train, test } = splitImages(images.count, { heldOut, seed });
  return { train: { images, indices: train }, test: { images, indices: test } };
}

/** All images that openData finds, or the held-out ones of the built-in images. Throws where openData does. */
export async function openWhole(data: string): Promise<Part> {
  const onFound = reportCount(`${data}: images found`);
  return wholeOf(isBuiltin(data) ? heldOutBuiltin() : await openData(data, { onFound }));
}
