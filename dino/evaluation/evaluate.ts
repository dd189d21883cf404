/** Labelled images to measure features with, and the k-NN accuracy of whatever makes features. */
import type { Device } from "../../engine/index.js";
import { similaritiesOn } from "../features.js";
import type { ImageSet } from "../image-set.js";
import { dotProducts, knnClassify, type KnnResult, normalizeRows, type Similarities } from "./knn.js";
import { type Extract, labelledFeatures, type LabelledParts } from "./labelled.js";
import type { DecodeFailure } from "../sources/image-place.js";

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

/** All images of a set. */
export function wholeOf(images: ImageSet): Part {
  return { images, indices: new Int32Array(images.count).map((_, index) => index) };
}

/** The first images of a part, so many at most. */
export function firstOf({ images, indices }: Part, count: number): Part {
  return { images, indices: indices.slice(0, count) };
}

/** The first images of each class, so many if it has them. Throws for images without labels. */
export function firstOfEach({ images, indices }: Part, count = 1): readonly number[] {
  const { labels } = images;
  if (labels === undefined) throw new Error("first images of each class: expected images with classes");
  const found = images.classes.map((): number[] => []);
  for (const index of indices) {
    const ofClass = found[labels[index]!]!;
    if (ofClass.length < count) ofClass.push(index);
  }
  return found.flat();
}

export interface KnnSettings {
  readonly ks: readonly number[];
  readonly temperature?: number;
  /** What multiplies the features; the CPU if left out. */
  readonly device?: Device;
  /** Test images that have been compared with all train images. */
  readonly onCompared?: (done: number, total: number) => void;
}

export interface KnnEvaluation extends KnnSettings {
  readonly parts: Parts;
  readonly extract: Extract;
}

/** How well neighbours tell classes apart. */
export interface KnnReport {
  readonly results: readonly KnnResult[];
  readonly trainImages: number;
  readonly testImages: number;
  readonly classes: readonly string[];
  readonly failures: readonly DecodeFailure[];
}

/** k-NN accuracy of the test images among the train images. Throws where labelledFeatures does. */
export async function evaluateKnn({ parts, extract, ...settings }: KnnEvaluation): Promise<KnnReport> {
  return compareNeighbors(await labelledFeatures(parts, extract), settings);
}

/** k-NN accuracy of features; they are normalised in place. */
export async function compareNeighbors(
  { train, test, classes, failures }: LabelledParts,
  { ks, temperature = 0.07, device, onCompared }: KnnSettings,
): Promise<KnnReport> {
  const trainRows = normalizeRows(train.features);
  using multiplied = device && similaritiesOn(device, trainRows);
  let compared = 0;
  const similarities: Similarities = async (block, others) => {
    const products = await (multiplied?.similarities ?? dotProducts)(block, others);
    onCompared?.((compared += block.rows), test.features.rows);
    return products;
  };
  const results = await knnClassify({
    train: trainRows,
    test: normalizeRows(test.features),
    trainLabels: train.labels,
    testLabels: test.labels,
    classes: classes.length,
    ...{ ks, temperature, similarities },
  });
  return { results, trainImages: trainRows.rows, testImages: test.features.rows, classes, failures };
}
