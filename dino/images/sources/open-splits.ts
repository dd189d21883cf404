/** Opens the images that a command line names, split into training and held-out images. */
import { reportCount } from "../../files/progress.js";
import { builtinImages, heldOutBuiltin, isBuiltin } from "../builtin.js";
import { conversion, isForeign } from "../formats/kind.js";
import type { ImageSet } from "../image-set.js";
import type { Reading } from "../reading.js";
import { type Subset, type Splits, splitImages, fullSubset } from "../split.js";
import type { LeftOut, ListReports } from "./folder-list.js";
import { measureRange } from "./measure-range.js";
import { openData } from "./open.js";

/** Share and seed of a split, and how images are read. */
export interface SplitOptions extends Reading {
  readonly heldOut: number;
  readonly seed: number;
}

/**
 * Opens images with `openData` and splits them by `heldOut` and `seed`; the built-in images have a fixed split. Reports
 * progress on stderr if it takes long, and files that are no images. Throws where `openData` does.
 */
export async function openSplits(data: string, { heldOut, seed, ...reading }: SplitOptions): Promise<Splits> {
  if (isBuiltin(data)) {
    checkBuiltin(data, reading);
    const { train, test } = builtinImages();
    return { train: fullSubset(train), test: fullSubset(test) };
  }
  const images = await openAll(data, reading);
  const { train, test } = splitImages(images.count, { heldOut, seed });
  return { train: { images, indices: train }, test: { images, indices: test } };
}

/** Opens all images of `openData`, or the held-out built-in images. Throws where `openData` does. */
export async function openSubset(data: string, reading: Reading = {}): Promise<Subset> {
  if (!isBuiltin(data)) return fullSubset(await openAll(data, reading));
  checkBuiltin(data, reading);
  return fullSubset(heldOutBuiltin());
}

async function openAll(
  data: string,
  { channels, maxPixels, pages, tile, range = "depth", background = "none", shortSide = 0 }: Reading,
): Promise<ImageSet> {
  const options = {
    ...{ channels, maxPixels, pages, tile },
    ...(shortSide > 0 && { shortSide }),
    ...(background !== "none" && { background }),
  };
  if (range === "depth") return openData(data, { ...options, ...reports(data) });
  if (range !== "auto") return openData(data, { ...options, range, ...reports(data) });
  const measured = await measureRange(fullSubset(await openData(data, { ...options, ...reports(data) })));
  return openData(data, { ...options, range: measured });
}

/** Throws for options that are for image files. */
function checkBuiltin(data: string, { channels = 3, tile = 0, range = "depth" }: Reading): void {
  const flag = tile > 0 ? "--tile" : channels !== 3 ? "--channels" : range !== "depth" ? "--range" : undefined;
  if (flag === undefined) return;
  throw new Error(`--data ${data}: expected image files, since ${flag} is for these; leave it out`);
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
