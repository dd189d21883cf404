import { elementGrid, kernel } from "../core/kernel.js";
import { differentiable, transient } from "../core/recording.js";
import { axes, sizeOf, type Tensor } from "../core/tensor.js";

const constants = ["CHANNELS", "ROWS", "COLS", "PATCH"] as const;
const forward = kernel("patches", { reads: ["images"], writes: ["out"], constants });
const backward = kernel("patches-backward", { reads: ["dPatches"], writes: ["dImages"], constants });

/**
 * Cuts images into square patches, row by row: [batch, channels, rows, cols] -> [batch, patches, channels * patch * patch].
 * Pixels beyond the last whole patch are ignored, as by a convolution of stride `patch`. Throws if no patch fits.
 */
export function patches(images: Tensor, patch: number): Tensor {
  const { batch, channels, rows, cols } = axes("patches images", images, "batch", "channels", "rows", "cols");
  const count = Math.floor(rows / patch) * Math.floor(cols / patch);
  if (count === 0) throw new Error(`patches: images of ${rows} x ${cols} hold no whole patch of ${patch}`);
  const sizes = { CHANNELS: channels, ROWS: rows, COLS: cols, PATCH: patch };
  const out = transient([batch, count, channels * patch * patch]);
  forward({ images, out }, sizes, elementGrid(sizeOf(out.shape)));
  return differentiable(out, [images], (dPatches) => {
    const dImages = transient(images.shape);
    backward({ dPatches, dImages }, sizes, elementGrid(sizeOf(images.shape)));
    return [dImages];
  });
}
