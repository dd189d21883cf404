/** Labelled images to measure features with, and the k-NN accuracy of whatever makes features. */
import type { Device } from "../engine/index.js";
import { builtinImages, isBuiltin } from "./builtin.js";
import { type Extracted, similaritiesOn } from "./features.js";
import { type DecodeFailure, type ImageSet, openImages, splitImages } from "./images.js";
import { dotProducts, knnClassify, type KnnResult, normalizeRows, type Similarities } from "./knn.js";

/** Some images of a set. */
export interface Part {
  readonly images: ImageSet;
  readonly indices: Int32Array;
}

/** Images to train on, and those that are kept from it. */
export interface Parts {
  readonly train: Part;
  /** Empty if nothing is held out. */
  readonly test: Part;
}

/**
 * A folder of images, split by `heldOut` and `seed`, or a built-in set, which has a split of its own.
 * Throws where openImages does.
 */
export async function openParts(
  folder: string,
  split: { readonly heldOut: number; readonly seed: number },
): Promise<Parts> {
  if (isBuiltin(folder)) {
    const { train, test } = builtinImages(folder);
    return { train: wholeOf(train), test: wholeOf(test) };
  }
  const images = await openImages(folder);
  const { train, test } = splitImages(images.count, split);
  return { train: { images, indices: train }, test: { images, indices: test } };
}

/** All images of a folder, or the held-out ones of a built-in set. Throws where openImages does. */
export async function openWhole(folder: string): Promise<Part> {
  return wholeOf(isBuiltin(folder) ? builtinImages(folder).test : await openImages(folder));
}

/** All images of a set. */
export function wholeOf(images: ImageSet): Part {
  return { images, indices: Int32Array.from({ length: images.count }, (_, index) => index) };
}

export interface KnnEvaluation {
  readonly parts: Parts;
  /** Makes the features of a part. */
  readonly extract: (part: Part, title: string) => Promise<Extracted>;
  readonly ks: readonly number[];
  readonly temperature?: number;
  /** What multiplies the features; the CPU if left out. */
  readonly device?: Device;
  /** Test images that have been compared with all train images. */
  readonly onCompared?: (done: number, total: number) => void;
}

/** How well neighbours tell classes apart. */
export interface KnnReport {
  readonly results: readonly KnnResult[];
  readonly trainImages: number;
  readonly testImages: number;
  readonly classes: readonly string[];
  readonly failures: readonly DecodeFailure[];
}

/** k-NN accuracy of the test images among the train images. Throws if either has no labels, or no image. */
export async function evaluateKnn(evaluation: KnnEvaluation): Promise<KnnReport> {
  const { parts, extract, ks, temperature = 0.07, device } = evaluation;
  const { classes } = parts.train.images;
  checkLabels("train", parts.train);
  checkLabels("test", parts.test);
  const numbers = parts.test.images.classes.map((name) => classes.indexOf(name));
  const strange = numbers.indexOf(-1);
  if (strange >= 0) {
    const name = parts.test.images.classes[strange]!;
    throw new Error(`k-NN: the test images have a class ${name}, which the train images lack (${classes.join(", ")})`);
  }
  const train = await extract(parts.train, "train images");
  const test = await extract(parts.test, "test images");
  const trainRows = normalizeRows(train.features);
  using multiplied = device && similaritiesOn(device, trainRows);
  let compared = 0;
  const similarities: Similarities = async (block, others) => {
    const products = await (multiplied?.similarities ?? dotProducts)(block, others);
    evaluation.onCompared?.((compared += block.rows), test.features.rows);
    return products;
  };
  const results = await knnClassify({
    train: trainRows,
    test: normalizeRows(test.features),
    trainLabels: train.indices.map((index) => parts.train.images.labels![index]!),
    testLabels: test.indices.map((index) => numbers[parts.test.images.labels![index]!]!),
    classes: classes.length,
    ks,
    temperature,
    similarities,
  });
  return {
    results,
    trainImages: train.indices.length,
    testImages: test.indices.length,
    classes,
    failures: [...train.failures, ...test.failures],
  };
}

function checkLabels(what: string, { images, indices }: Part): void {
  if (images.labels === undefined) {
    throw new Error(
      `k-NN: the ${what} images have no classes; put the images of each class into a subfolder of its name`,
    );
  }
  if (indices.length === 0) throw new Error(`k-NN: there are no ${what} images; hold out a larger share`);
}
