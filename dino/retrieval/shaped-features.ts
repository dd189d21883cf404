/** Features of images in their own aspect ratio, at one or several scales, for retrieval. */
import { add, reshape, scale, slice } from "../../engine/index.js";
import type { DecodeFailure } from "../images/image-location.js";
import type { ImageSet } from "../images/image-set.js";
import { type Image, normalize, normalizeTable, type Normalization, resizedCrop, type Size } from "../images/pixels.js";
import type { Backbone } from "../model/backbone.js";
import type { Descriptor } from "../model/descriptors.js";
import { type Extracted, featureBatches } from "../model/extract.js";
import { vit } from "../model/vit.js";
import { groupByShape, scaled, type ShapeOptions } from "./shapes.js";
import { shrinkBilinear } from "./shrink.js";

/** The scales of the official `--multiscale`. */
export const SCALES = [1, 1 / Math.sqrt(2), 1 / 2] as const;

export interface ShapedOptions extends ShapeOptions {
  readonly normalization: Normalization;
  /** Throws for an image that cannot be read, before extraction if its header tells, instead of leaving it out. */
  readonly needsAll?: boolean;
  /** Maximum number of images per forward pass; default 64. */
  readonly batch?: number;
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Extracts cls features of images that keep their aspect ratio, averaged over the scales, not normalised, in the order
 * of the set. An image is shrunk (Lanczos), and shrunk again (bilinear) for a scale below 1; its whole patches are the
 * input. Images of one shape are processed together, one program at a time. Throws as `groupByShape` does.
 *
 * Follows the official eval_image_retrieval.py, with two differences: Pillow's `thumbnail` there first averages blocks
 * of pixels when it shrinks four times or more, and images that are oblong by less than a patch have their position
 * embedding resampled there.
 */
export async function shapedFeatures(backbone: Backbone, images: ImageSet, options: ShapedOptions): Promise<Extracted> {
  const { normalization, scales, needsAll = false, batch = 64, onProgress } = options;
  const { groups, boxes, failures: unmeasured } = await groupByShape(images, backbone.vit.patch, options);
  if (needsAll) throwFirst(unmeasured);
  const failures = [...unmeasured];
  const table = normalizeTable(normalization);
  const { dim } = backbone.vit;
  const rows = new Map<number, Float32Array>();
  let done = unmeasured.length;
  for (const { sizes, indices } of groups) {
    const preprocess = (image: Image, index: number): Float32Array => {
      const { box, size } = boxes.get(index)!;
      return atScales(normalize(resizedCrop(image, box, size, "lanczos"), table), size, scales, sizes);
    };
    const before = done;
    const batches = featureBatches(backbone, images, {
      view: { ...normalization, resize: options.side, crop: { rows: 1, cols: pixelsOf(sizes) } },
      preprocess,
      indices,
      descriptor: meanDescriptor(backbone, sizes),
      batch: Math.min(indices.length, imagesAtOnce(batch, tokensOf(sizes, backbone.vit.patch))),
      onProgress: (count) => onProgress?.((done = before + count), images.count),
    });
    for await (const { features, indices: extracted, failures: broken } of batches) {
      if (needsAll) throwFirst(broken);
      failures.push(...broken);
      for (const [row, index] of extracted.entries())
        rows.set(index, features.values.slice(row * dim, (row + 1) * dim));
    }
  }
  const indices = Int32Array.from(rows.keys()).sort();
  const values = new Float32Array(indices.length * dim);
  for (const [row, index] of indices.entries()) values.set(rows.get(index)!, row * dim);
  return { features: { values, rows: indices.length, dim }, indices, failures };
}

function throwFirst([first]: readonly DecodeFailure[]): void {
  if (first !== undefined) throw new Error(`${first.path}: expected an image: ${first.reason}`);
}

/** Tokens of 64 images of 224 pixels with patches of 16. */
const MAX_TOKENS = 64 * 197;

/** Returns `batch`, or fewer images if each has many tokens, to bound memory. */
export function imagesAtOnce(batch: number, tokens: number): number {
  return Math.max(1, Math.min(batch, Math.floor(MAX_TOKENS / tokens)));
}

/**
 * Concatenates the top left whole patches of an image at each scale: [channels, size.rows, size.cols] -> [channels, pixels of all
 * sizes].
 */
function atScales(planes: Float32Array, size: Size, scales: readonly number[], sizes: readonly Size[]): Float32Array {
  const pixels = pixelsOf(sizes);
  const channels = planes.length / (size.rows * size.cols);
  const out = new Float32Array(channels * pixels);
  let start = 0;
  for (const [i, { rows, cols }] of sizes.entries()) {
    const factor = scales[i]!;
    const shrunk = factor === 1 ? planes : shrinkBilinear(planes, size, factor);
    const whole = scaled(size, factor);
    for (let plane = 0; plane < channels; plane++) {
      for (let row = 0; row < rows; row++) {
        const from = (plane * whole.rows + row) * whole.cols;
        out.set(shrunk.subarray(from, from + cols), plane * pixels + start + row * cols);
      }
    }
    start += rows * cols;
  }
  return out;
}

/** Averages the cls features of concatenated images: [batch, channels, 1, pixels of all sizes] -> [batch, dim]. */
function meanDescriptor({ vit: shape, params }: Backbone, sizes: readonly Size[]): Descriptor {
  return {
    dim: shape.dim,
    apply: (packed) => {
      const [batch, channels] = packed.shape as readonly [number, number];
      let start = 0;
      const features = sizes.map(({ rows, cols }) => {
        const part = slice(packed, 3, start, rows * cols); // [batch, channels, 1, rows * cols]
        start += rows * cols;
        return vit(shape, params, reshape(part, [batch, channels, rows, cols])); // [batch, dim]
      });
      const sum = features.reduce((total, one) => add(total, one));
      return scale(sum, 1 / sizes.length);
    },
  };
}

function pixelsOf(sizes: readonly Size[]): number {
  return sizes.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
}

function tokensOf(sizes: readonly Size[], patch: number): number {
  return sizes.reduce((sum, { rows, cols }) => sum + 1 + (rows / patch) * (cols / patch), 0);
}
