/** Maps over the patches of an image: attention and similarity. */
import type { Size } from "../../images/pixels.js";
import { heatColor } from "../../pictures/drawing.js";
import { meanOfHeads, toUnitRange } from "../../pictures/visualize.js";
import type { ImageView } from "./viewer-model.js";

/** A patch of an image, row by row from 0; undefined for the cls token. */
export type Focus = number | undefined;

/** Returns the attention from the cls token or a patch, per head and averaged: heads times [patches], [patches]. */
export function attentionOf(
  view: ImageView,
  focus: Focus,
): { readonly ofHeads: readonly Float32Array[]; readonly mean: Float32Array } {
  const { heads, rows, cols } = view;
  const patches = rows * cols;
  const all = new Float32Array(heads * patches);
  const ofHeads = Array.from({ length: heads }, (_, head) => all.subarray(head * patches, (head + 1) * patches));
  for (const [head, map] of ofHeads.entries()) attendInto(map, view, { head, focus });
  return { ofHeads, mean: meanOfHeads(all, heads) };
}

/** Computes softmax(q kᵀ / sqrt(headDim)) of one token over all tokens, and keeps the patches: -> [patches]. */
function attendInto(
  map: Float32Array,
  { queriesAndKeys, features, heads }: ImageView,
  { head, focus }: { readonly head: number; readonly focus: Focus },
): void {
  const dim = features.length / map.length;
  const tokens = queriesAndKeys.length / (2 * dim);
  const extras = tokens - map.length; // the cls token and the registers
  const headDim = dim / heads;
  const query = (focus === undefined ? 0 : extras + focus) * 2 * dim + head * headDim;
  const scores = new Float64Array(tokens);
  for (let token = 0; token < tokens; token++) {
    const key = (2 * token + 1) * dim + head * headDim;
    let sum = 0;
    for (let c = 0; c < headDim; c++) sum += queriesAndKeys[query + c]! * queriesAndKeys[key + c]!;
    scores[token] = sum / Math.sqrt(headDim);
  }
  const largest = scores.reduce((most, score) => Math.max(most, score));
  const weights = scores.map((score) => Math.exp(score - largest));
  const whole = weights.reduce((sum, weight) => sum + weight);
  for (let patch = 0; patch < map.length; patch++) map[patch] = weights[extras + patch]! / whole;
}

/** Returns the cosine between the features of a patch and those of every patch: [patches]. */
export function similarityTo({ features, rows, cols }: ImageView, focus: number): Float32Array {
  const patches = rows * cols;
  const dim = features.length / patches;
  const cosines = new Float32Array(patches);
  for (let patch = 0; patch < patches; patch++) {
    let sum = 0;
    for (let c = 0; c < dim; c++) sum += features[focus * dim + c]! * features[patch * dim + c]!;
    cosines[patch] = sum;
  }
  return cosines;
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
