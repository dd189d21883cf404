/** Maps over the patches of an image: attention and similarity. */
import type { Size } from "../../images/pixels.js";
import { heatColor } from "../../pictures/drawing.js";
import { meanOfHeads, toUnitRange } from "../../pictures/visualize.js";
import type { ImageView } from "./viewer-model.js";

/** A patch of an image, row by row from 0; undefined for the cls token. */
export type Focus = number | undefined;

/** Returns the attention from the cls token or a patch, per head and averaged: heads times [patches], [patches]. */
export function attentionOf(
  { attention, heads, rows, cols }: ImageView,
  focus: Focus,
): { readonly ofHeads: readonly Float32Array[]; readonly mean: Float32Array } {
  const patches = rows * cols;
  const query = focus === undefined ? 0 : 1 + focus;
  const all = new Float32Array(heads * patches);
  for (let head = 0; head < heads; head++) {
    const from = (head * (1 + patches) + query) * patches;
    all.set(attention.subarray(from, from + patches), head * patches);
  }
  return {
    ofHeads: Array.from({ length: heads }, (_, head) => all.subarray(head * patches, (head + 1) * patches)),
    mean: meanOfHeads(all, heads),
  };
}

/** Returns the cosine between the features of a patch and those of every patch: [patches]. */
export function similarityTo({ features, rows, cols }: ImageView, focus: number): Float32Array {
  const patches = rows * cols;
  const dim = features.length / patches;
  const own = features.subarray(focus * dim, (focus + 1) * dim);
  return Float32Array.from({ length: patches }, (_, patch) =>
    own.reduce((sum, value, c) => sum + value * features[patch * dim + c]!, 0),
  );
}

/** A picture with opacity. */
export interface Painting extends Size {
  /** Red, green, blue and opacity: [rows, cols, 4]. */
  readonly rgba: Uint8ClampedArray<ArrayBuffer>;
}

/** Adds full opacity to the colours of pixels or patches, [rows, cols, 3]. */
export function opaque(rgb: ArrayLike<number>, { rows, cols }: Size): Painting {
  const rgba = new Uint8ClampedArray(rows * cols * 4).fill(255);
  for (let i = 0; i < rows * cols; i++) {
    for (let channel = 0; channel < 3; channel++) rgba[4 * i + channel] = rgb[3 * i + channel]!;
  }
  return { rows, cols, rgba };
}

/** Colours a map, dark at its minimum, as an overlay of an image. */
export function heat(map: Float32Array, { rows, cols }: ImageView): Painting {
  const rgba = new Uint8ClampedArray(rows * cols * 4);
  for (const [i, value] of toUnitRange(map).entries()) rgba.set([...heatColor(value), OPACITY], 4 * i);
  return { rows, cols, rgba };
}

const OPACITY = 190;
