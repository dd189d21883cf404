/** Opens the images that a command line names, split into training and held-out images. */
import { reportCount } from "../../files/progress.js";
import { builtinImages, heldOutBuiltin, isBuiltin } from "../builtin.js";
import { conversion, isForeign } from "../formats/kind.js";
import type { Decoding } from "../image-location.js";
import { type Subset, type Splits, splitImages, fullSubset } from "../split.js";
import type { Cutting } from "./file-parts.js";
import type { LeftOut, ListReports } from "./folder-list.js";
import { openData } from "./open.js";

/** Share and seed of a split, and how images are read. */
export interface SplitOptions extends Pick<Decoding, "maxPixels">, Cutting {
  readonly heldOut: number;
  readonly seed: number;
}

/**
 * Opens images with `openData` and splits them by `heldOut` and `seed`; the built-in images have a fixed split. Reports
 * progress on stderr if it takes long, and files that are no images. Throws where `openData` does.
 */
export async function openSplits(
  data: string,
  { heldOut, seed, maxPixels, pages, tile }: SplitOptions,
): Promise<Splits> {
  if (isBuiltin(data)) {
    if (tile) throw new Error(`--data ${data}: expected image files, since --tile is for these; leave it out`);
    const { train, test } = builtinImages();
    return { train: fullSubset(train), test: fullSubset(test) };
  }
  const images = await openData(data, { maxPixels, pages, tile, ...reports(data) });
  const { train, test } = splitImages(images.count, { heldOut, seed });
  return { train: { images, indices: train }, test: { images, indices: test } };
}

/** Opens all images of `openData`, or the held-out built-in images. Throws where `openData` does. */
export async function openSubset(data: string, { pages, tile }: Cutting = {}): Promise<Subset> {
  return fullSubset(isBuiltin(data) ? heldOutBuiltin() : await openData(data, { pages, tile, ...reports(data) }));
}

/** Prints on stderr how many images were found, and which files are none. */
function reports(data: string): ListReports {
  return {
    onFound: reportCount(`${data}: images found`),
    onLeftOut: (folder, leftOut) => process.stderr.write(`${folder}: left out ${describeLeftOut(leftOut)}\n`),
  };
}

function describeLeftOut(leftOut: readonly LeftOut[]): string {
  const kinds = leftOut.map(({ kind, count }) => `${count} ${kind}`).join(", ");
  const canBeConverted = leftOut.some(({ kind }) => isForeign(kind));
  return canBeConverted ? `${kinds}; to use an image of another format, ${conversion}` : kinds;
}
