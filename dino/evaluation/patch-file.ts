/** Features of patches on disk: a NumPy file [images, rows of patches, cols of patches, dim]. */
import { dirname } from "node:path";
import { makeFolder } from "../files/files.js";
import { writeNpyPieces } from "../files/npy-pieces.js";
import type { ImageSet } from "../images/image-set.js";
import type { Size } from "../images/pixels.js";
import type { Backbone } from "../model/backbone.js";
import {
  type Extracted,
  type ExtractedTokens,
  type ExtractOptions,
  joinBatches,
  tokenBatches,
} from "../model/extract.js";
import { patchGrid } from "../model/positions.js";

export type PatchOptions = Omit<ExtractOptions, "descriptor">;

/** Features of images, and the size in patches of those on disk. */
export interface WrittenPatches {
  readonly extracted: Extracted;
  readonly grid: Size;
}

/**
 * Extracts the features of images, and writes those of their patches, an image after another and a batch in memory at a time.
 * The rows of both are the same images. Creates the folder if needed. Throws, and leaves no file, if no image can be decoded.
 */
export async function writePatches(
  path: string,
  backbone: Backbone,
  images: ImageSet,
  options: PatchOptions,
): Promise<WrittenPatches> {
  const { dim } = backbone.vit;
  const { crop } = options.view;
  const grid = patchGrid(backbone.vit, crop.rows, crop.cols);
  await makeFolder(dirname(path));
  const extracted = await writeNpyPieces(path, [grid.rows, grid.cols, dim], (append) =>
    joinBatches(appended(tokenBatches(backbone, images, options), append), options.indices?.length ?? images.count),
  );
  return { extracted, grid };
}

/** Appends the patches of each batch before it yields the batch. */
async function* appended(
  batches: AsyncIterable<ExtractedTokens>,
  append: (values: Float32Array) => Promise<void>,
): AsyncGenerator<Extracted> {
  for await (const batch of batches) {
    for (const patches of batch.patches) await append(patches);
    yield batch;
  }
}
