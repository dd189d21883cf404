/** What linear layers learn from: features of the same images in every epoch, or of new crops of them. */
import { probeCrop, type ProbeCropOptions } from "../images/augment.js";
import type { DecodeFailure } from "../images/image-location.js";
import { type Subset, type Splits, splitImages } from "../images/split.js";
import { takeRows } from "../math/feature-rows.js";
import { rng } from "../math/random.js";
import type { Backbone } from "../model/backbone.js";
import type { Descriptor } from "../model/descriptors.js";
import { type ExtractOptions, featureBatches } from "../model/extract.js";
import { checkSplits, type Extract, labelled, type Labelled, type LabelledSplits } from "./labelled.js";

/** The batches of an epoch, in the order they are learnt from; each is for use until the next. */
export type EpochBatches = (epoch: number) => AsyncIterable<Labelled> | Iterable<Labelled>;

/** The same features in every epoch, in an order of its own. */
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
  return { features: takeRows(features, rows), labels: rows.map((row) => labels[row]!) };
}

export interface AugmentedOptions extends Pick<ExtractOptions, "descriptor" | "view"> {
  readonly crop: Pick<ProbeCropOptions, "scale" | "flipProbability">;
  readonly batch: number;
  readonly seed: number;
}

/** Features of other random crops of the images in every epoch, in an order of its own; images that cannot be decoded are left out. */
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

/** All that a linear evaluation looks at. */
export interface ProbeDataset {
  readonly batches: EpochBatches;
  /** Images of an epoch; with those that cannot be decoded, where they are decoded anew. */
  readonly images: number;
  /** Numbers of a row of features. */
  readonly dim: number;
  readonly classes: readonly string[];
  readonly test: Labelled;
  /** Kept from learning, to pick a learning rate by. */
  readonly validation: Labelled | undefined;
  /** What could not be decoded so far. */
  readonly failures: () => readonly DecodeFailure[];
}

export interface ProbeDatasetOptions {
  /** Rows of a step. */
  readonly batch: number;
  readonly seed: number;
  /** Share of the train images that picks the learning rate; none if left out. */
  readonly validation?: number | undefined;
}

/** Features that stay the same in every epoch. Throws where divide does. */
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
 * Features of new crops in every epoch; those of images that are only measured are made here, as `extract` makes them. Throws
 * where checkParts or divide does.
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
  const kept = division && subsetOf(division.validation);
  const validation = kept && labelled(kept, await extract(kept, "validation images"));
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

/** Places of the train images: those to learn from, and those that pick. Throws where nothing is left on one side. */
function splitValidation(count: number, { validation, seed }: ProbeDatasetOptions) {
  if (validation === undefined) return undefined;
  const { train, test } = splitImages(count, { heldOut: validation, seed, purpose: "linear validation" });
  if (train.length > 0 && test.length > 0) return { learning: train, validation: test };
  throw new Error(
    `linear: of ${count} train images a share of ${validation} leaves ${train.length} to learn from and ` +
      `${test.length} to pick the learning rate by; take another share, or more images`,
  );
}
