import { concat, reshape, resizeGrid, slice, type Tensor } from "../../engine/index.js";
import type { VitConfig } from "./vit-config.js";

/** Returns the number of whole patches of an image. Throws if it holds none. */
export function patchGrid(
  config: VitConfig,
  imageRows: number,
  imageCols: number,
): { readonly rows: number; readonly cols: number } {
  const rows = Math.floor(imageRows / config.patch);
  const cols = Math.floor(imageCols / config.patch);
  if (rows < 1 || cols < 1)
    throw new Error(`vit: an image of ${imageRows} x ${imageCols} holds no whole patch of ${config.patch}`);
  return { rows, cols };
}

/**
 * Returns the position embedding of an image of rows x cols pixels: [1, 1 + base patches, dim] -> [1 + patches, dim].
 * Other grids than the one of the embedding are resampled bicubically with the official scale (grid + 0.1) / base. The
 * official code skips this only for square images of the same patch count; this code also skips it for the training
 * size.
 */
export function positionEmbedding(config: VitConfig, embedding: Tensor, imageRows: number, imageCols: number): Tensor {
  const [, tokens, dim] = embedding.shape as readonly [number, number, number];
  const flat = reshape(embedding, [tokens, dim]);
  const base = patchGrid(config, config.imageRows, config.imageCols);
  const wanted = patchGrid(config, imageRows, imageCols);
  const sameGrid = wanted.rows === base.rows && wanted.cols === base.cols;
  const trainingSize = imageRows === config.imageRows && imageCols === config.imageCols;
  if (sameGrid && (imageRows === imageCols || trainingSize)) return flat;
  const scale = { rows: (wanted.rows + 0.1) / base.rows, cols: (wanted.cols + 0.1) / base.cols };
  const resized = resizeGrid(slice(flat, 0, 1, tokens - 1), base, wanted, { scale });
  return concat([slice(flat, 0, 0, 1), resized], 0);
}
