/** Training batches of linear classifiers: features of the same images in every epoch, or of new crops. */
import { probeCrop, type ProbeCropOptions } from "../images/augment.js";
import type { DecodeFailure } from "../images/image-location.js";
import { type Subset, type Splits, splitImages } from "../images/split.js";
import { selectRows } from "../math/feature-rows.js";
import { rng } from "../math/random.js";
import type { Backbone } from "../model/backbone.js";
import type { Descriptor } from "../model/descriptors.js";
import { type ExtractOptions, featureBatches } from "../model/extract.js";
import { checkSplits, type Extract, labelled, type Labelled, type LabelledSplits } from "./labelled.js";

/** Returns the batches of an epoch, in order; each is valid until the next. */
export type EpochBatches = (epoch: number) => AsyncIterable<Labelled> | Iterable<Labelled>;

/** Batches of the same features, shuffled anew in every epoch. */
export function cachedBatches(
  all: Labelled,
  { batch, seed }: { readonly batch: number; readonly seed: number },
): EpochBatches {
  return function* (epoch) {
    const order = orderOf(all.features.rows, seed, epoch);
    for (let from = 0; from < order.length; from += batch) yield take(all, order.subarray(from, from + batch));
  };
}

function take({ features, labels }: Labelled, rows: Int32Array): Labelled {
  return { features: selectRows(features, rows), labels: rows.map((row) => labels[row]!) };
}

export interface AugmentedOptions extends Pick<ExtractOptions, "descriptor" | "view"> {
  readonly crop: Pick<ProbeCropOptions, "scale" | "flipProbability">;
  readonly batch: number;
  readonly seed: number;
}

/**
 * Batches of features of new random crops, shuffled anew in every epoch; images that cannot be decoded are left out.
 */
export function augmentedBatches(backbone: Backbone, subset: Subset, options: AugmentedOptions): EpochBatches {
  const { crop, seed, ...extracting } = options;
  const { images, indices } = subset;
  const { view } = options;
  return async function* (epoch) {
    const order = orderOf(indices.length, seed, epoch).map((i) => indices[i]!);
    const batches = featureBatches(backbone, images, {
      ...extracting,
      indices: order,
      preprocess: (image, index) =>
        probeCrop(image, { ...view, ...crop, size: view.crop }, rng({ seed, epoch, index, purpose: "linear crop" })),
    });
    for await (const batch of batches) yield labelled(subset, batch);
  };
}

function orderOf(count: number, seed: number, epoch: number): Int32Array {
  return rng({ seed, epoch, purpose: "linear order" }).permutation(count);
}

/** The features and labels of a linear evaluation. */
export interface ProbeDataset {
  readonly batches: EpochBatches;
  /** Images of an epoch; includes images that cannot be decoded if crops are decoded anew. */
  readonly images: number;
  /** Dimension of the features. */
  readonly dim: number;
  readonly classes: readonly string[];
  readonly test: Labelled;
  /** Train images held out to select the learning rate. */
  readonly validation: Labelled | undefined;
  /** Images that could not be decoded so far. */
  readonly failures: () => readonly DecodeFailure[];
}

export interface ProbeDatasetOptions {
  /** Rows per step. */
  readonly batch: number;
  readonly seed: number;
  /** Share of the train images that selects the learning rate; none by default. */
  readonly validation?: number | undefined;
}

/** Returns the same features for every epoch. Throws as `splitValidation` does. */
export function cachedDataset(
  { train, test, classes, failures }: LabelledSplits,
  options: ProbeDatasetOptions,
): ProbeDataset {
  const { rows, dim } = train.features;
  const division = splitValidation(rows, options);
  const learning = division ? take(train, division.learning) : train;
  return {
    batches: cachedBatches(learning, options),
    images: learning.features.rows,
    dim,
    classes,
    test,
    validation: division && take(train, division.validation),
    failures: () => failures,
  };
}

/**
 * Returns features of new crops for every epoch; features of validation and test images are extracted once, by
 * `extract`. Throws as `checkSplits` and `splitValidation` do.
 */
export async function augmentedDataset(
  backbone: Backbone,
  splits: Splits,
  options: ProbeDatasetOptions & AugmentedOptions & { readonly descriptor: Descriptor; readonly extract: Extract },
): Promise<ProbeDataset> {
  const { descriptor, extract } = options;
  const { images, indices } = splits.train;
  const numbers = checkSplits(splits);
  const division = splitValidation(indices.length, options);
  const subsetOf = (places: Int32Array): Subset => ({ images, indices: places.map((place) => indices[place]!) });
  const learning = division ? subsetOf(division.learning) : splits.train;
  const heldOut = division && subsetOf(division.validation);
  const validation = heldOut && labelled(heldOut, await extract(heldOut, "validation images"));
  const test = labelled(splits.test, await extract(splits.test, "test images"), numbers);
  return {
    batches: augmentedBatches(backbone, learning, options),
    images: learning.indices.length,
    dim: descriptor.dim,
    classes: images.classes,
    test,
    validation,
    failures: () => [...new Set([images, splits.test.images].flatMap(({ failures }) => [...failures.values()]))],
  };
}

/** Splits the places of the train images into training and validation. Throws if one side is empty. */
function splitValidation(count: number, { validation, seed }: ProbeDatasetOptions) {
  if (validation === undefined) return undefined;
  const { train, test } = splitImages(count, { heldOut: validation, seed, purpose: "linear validation" });
  if (train.length > 0 && test.length > 0) return { learning: train, validation: test };
  throw new Error(
    `linear: a validation share of ${validation} of ${count} train images leaves ${train.length} for training and ` +
      `${test.length} for validation; use another share, or more images`,
  );
}
