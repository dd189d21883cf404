/** Feature extraction: features of image sets for evaluation and search. */
import { input, record } from "../../engine/index.js";
import { evalCrop } from "../images/augment.js";
import { type DecodeFailure, isFailure } from "../images/image-location.js";
import type { ImageSet } from "../images/image-set.js";
import { type Image, normalize, normalizeTable, resizedCenterCrop } from "../images/pixels.js";
import type { FeatureRows } from "../math/feature-rows.js";
import type { Backbone, View } from "./backbone.js";
import { clsDescriptor, type Descriptor, tokensDescriptor } from "./descriptors.js";

export interface ExtractOptions {
  readonly view: View;
  /** Turns an image into the input [channels, view.crop.rows, view.crop.cols]; default: as `view` says. */
  readonly preprocess?: (image: Image, index: number) => Float32Array;
  /** Default `clsDescriptor`. */
  readonly descriptor?: Descriptor;
  /** The images to process, in this order; default: all. */
  readonly indices?: ArrayLike<number>;
  /** Images per forward pass; default 64. */
  readonly batch?: number;
  readonly onProgress?: (done: number, total: number) => void;
}

/** Features of the images of a set that could be decoded. */
export interface Extracted {
  /** One row per decoded image, not normalised: [indices.length, dim]. */
  readonly features: FeatureRows;
  /** The image of each row. */
  readonly indices: Int32Array;
  readonly failures: readonly DecodeFailure[];
}

/** Extracts the features of a set of images. Throws if no image can be decoded. */
export async function extractFeatures(
  backbone: Backbone,
  images: ImageSet,
  options: ExtractOptions,
): Promise<Extracted> {
  return joinBatches(featureBatches(backbone, images, options), options.indices?.length ?? images.count);
}

/** Extracts features one batch at a time; each batch is valid until the next. */
export async function* featureBatches(
  backbone: Backbone,
  images: ImageSet,
  options: ExtractOptions,
): AsyncGenerator<Extracted> {
  const { view, descriptor = clsDescriptor(backbone), batch = 64 } = options;
  const { rows, cols } = view.crop;
  using pixels = input(backbone.device, [batch, backbone.vit.channels, rows, cols], { label: "images" });
  using program = await record(backbone.device, () => ({ features: descriptor.apply(pixels) }));
  yield* runBatches(images, options, {
    batch,
    dim: descriptor.dim,
    preprocess: options.preprocess ?? ((image) => evalCrop(image, view)),
    compute: async (values) => {
      pixels.write(values);
      await program.run();
      return program.read("features");
    },
  });
}

/** Features of cls tokens, and of the patches of each image. */
export interface ExtractedTokens extends Extracted {
  /** For each row, the patch tokens after the final norm: [rows of patches, cols of patches, dim]. */
  readonly patches: readonly Float32Array[];
}

/** Extracts the features of images and of their patches one batch at a time; each batch is valid until the next. */
export async function* tokenBatches(
  backbone: Backbone,
  images: ImageSet,
  options: Omit<ExtractOptions, "descriptor">,
): AsyncGenerator<ExtractedTokens> {
  const { dim } = backbone.vit;
  const descriptor = tokensDescriptor(backbone, options.view.crop);
  for await (const { features: tokens, ...found } of featureBatches(backbone, images, { ...options, descriptor })) {
    const { rows } = tokens;
    const rowOf = (row: number) => tokens.values.subarray(row * tokens.dim, (row + 1) * tokens.dim);
    const features = { values: new Float32Array(rows * dim), rows, dim };
    for (let row = 0; row < rows; row++) features.values.set(rowOf(row).subarray(0, dim), row * dim);
    yield { ...found, features, patches: Array.from({ length: rows }, (_, row) => rowOf(row).subarray(dim)) };
  }
}

/**
 * Returns pixels as features, in the same view: the baseline for a network. Colors that are grey give one channel, which points
 * in the same direction as three equal ones.
 */
export async function pixelFeatures(images: ImageSet, options: ExtractOptions): Promise<Extracted> {
  const { resize, crop } = options.view;
  const { mean } = options.view;
  const table = normalizeTable({ mean: mean.map(() => 0), std: mean.map(() => 1) });
  const plane = crop.rows * crop.cols;
  const isGray = mean.length === 3 && (await allGray(images, options.indices));
  const run: BatchRun = {
    batch: 256,
    dim: isGray ? plane : mean.length * plane,
    preprocess: (image) => {
      const channels = normalize(resizedCenterCrop(image, resize, crop), table); // [channels, rows, cols]
      return isGray ? channels.subarray(0, plane) : channels;
    },
    compute: (values) => Promise.resolve(values),
  };
  return joinBatches(runBatches(images, options, run), options.indices?.length ?? images.count);
}

/** Whether all images that can be decoded have three equal channels. */
async function allGray(images: ImageSet, indices: ArrayLike<number> | undefined): Promise<boolean> {
  const wanted = indices ?? Array.from({ length: images.count }, (_, index) => index);
  for (let i = 0; i < wanted.length; i++) {
    const image = await images.decode(wanted[i]!);
    if (isFailure(image)) continue;
    const { pixels } = image;
    for (let at = 0; at < pixels.length; at += 3) {
      if (pixels[at] !== pixels[at + 1] || pixels[at] !== pixels[at + 2]) return false;
    }
  }
  return true;
}

/** The work on a batch. */
interface BatchRun {
  readonly batch: number;
  readonly dim: number;
  /** Turns an image into input values. */
  readonly preprocess: (image: Image, index: number) => Float32Array;
  /** Computes features from the input of a batch: -> [batch, dim]. */
  readonly compute: (values: Float32Array) => Promise<Float32Array>;
}

/** Processes the images in batches; decodes the next batch while one is computed. */
async function* runBatches(images: ImageSet, options: ExtractOptions, run: BatchRun): AsyncGenerator<Extracted> {
  const { batch, dim, preprocess, compute } = run;
  const wanted = Int32Array.from(options.indices ?? Array.from({ length: images.count }, (_, index) => index));

  const decodeBatch = (from: number): Promise<(Float32Array | DecodeFailure)[]> =>
    Promise.all(
      Array.from(wanted.subarray(from, from + batch), async (index) => {
        const image = await images.decode(index);
        return isFailure(image) ? image : preprocess(image, index);
      }),
    );

  let upcoming = decodeBatch(0);
  let values: Float32Array | undefined;
  for (let from = 0; from < wanted.length; from += batch) {
    const decoded = await upcoming;
    const next = decodeBatch(from + batch);
    next.catch(() => undefined); // thrown when it is awaited
    upcoming = next;

    const indices: number[] = [];
    const failures: DecodeFailure[] = [];
    for (const [i, one] of decoded.entries()) {
      if (!(one instanceof Float32Array)) {
        failures.push(one);
        continue;
      }
      values ??= new Float32Array(batch * one.length);
      values.set(one, indices.length * one.length);
      indices.push(wanted[from + i]!);
    }
    const rows = indices.length;
    const computed = rows > 0 ? await compute(values!) : new Float32Array(0); // later rows belong to earlier images
    const features = { values: computed.subarray(0, rows * dim), rows, dim };
    yield { features, indices: Int32Array.from(indices), failures };
    options.onProgress?.(Math.min(from + batch, wanted.length), wanted.length);
  }
}

/** Joins the batches of `count` images. Throws if no image could be decoded. */
export async function joinBatches(batches: AsyncIterable<Extracted>, count: number): Promise<Extracted> {
  let features: FeatureRows = { values: new Float32Array(0), rows: 0, dim: 0 };
  const indices: number[] = [];
  const failures: DecodeFailure[] = [];
  for await (const batch of batches) {
    const { values, dim } = batch.features;
    if (features.dim !== dim) features = { values: new Float32Array(count * dim), rows: 0, dim };
    features.values.set(values, indices.length * dim);
    indices.push(...batch.indices);
    failures.push(...batch.failures);
  }
  const rows = indices.length;
  if (rows === 0) {
    const reason = failures.length === 0 ? "there are none" : `not one of ${failures.length} could be decoded`;
    throw new Error(`features: expected images, but ${reason}`);
  }
  const { values, dim } = features;
  return {
    features: { values: rows === count ? values : values.slice(0, rows * dim), rows, dim },
    indices: Int32Array.from(indices),
    failures,
  };
}
