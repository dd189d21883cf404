/** k-NN accuracy of any feature extractor. */
import type { Device } from "../../engine/index.js";
import type { DecodeFailure } from "../images/image-location.js";
import type { Splits } from "../images/split.js";
import { normalizeRows } from "../math/feature-rows.js";
import { type FindNearest, nearestIn } from "../math/nearest-rows.js";
import { similaritiesOn } from "./device-similarities.js";
import { knnClassify, type KnnResult } from "./knn.js";
import { type Extract, labelledFeatures, type LabelledSplits } from "./labelled.js";

export interface KnnSettings {
  readonly ks: readonly number[];
  readonly temperature?: number;
  /** The device that multiplies the features; default: the CPU. */
  readonly device?: Device;
  /** Called with the number of test images compared with all train images. */
  readonly onCompared?: (done: number, total: number) => void;
}

export interface KnnEvaluation extends KnnSettings {
  readonly splits: Splits;
  readonly extract: Extract;
}

/** Results of a k-NN evaluation. */
export interface KnnReport {
  readonly results: readonly KnnResult[];
  readonly trainImages: number;
  readonly testImages: number;
  readonly classes: readonly string[];
  readonly failures: readonly DecodeFailure[];
}

/** Measures the accuracy of test images classified by the train images. Throws as `labelledFeatures` does. */
export async function evaluateKnn({ splits, extract, ...settings }: KnnEvaluation): Promise<KnnReport> {
  return compareNeighbors(await labelledFeatures(splits, extract), settings);
}

/** Measures k-NN accuracy of features, which it normalises in place. */
export async function compareNeighbors(
  { train, test, classes, failures }: LabelledSplits,
  { ks, temperature = 0.07, device, onCompared }: KnnSettings,
): Promise<KnnReport> {
  const trainRows = normalizeRows(train.features);
  using onDevice = device && similaritiesOn(device, trainRows);
  let compared = 0;
  const find = onDevice?.nearest ?? nearestIn(trainRows);
  const nearest: FindNearest = async (block, k) => {
    const found = await find(block, k);
    onCompared?.((compared += block.rows), test.features.rows);
    return found;
  };
  const results = await knnClassify({
    train: trainRows,
    test: normalizeRows(test.features),
    trainLabels: train.labels,
    testLabels: test.labels,
    classes: classes.length,
    ks,
    temperature,
    nearest,
  });
  return { results, trainImages: trainRows.rows, testImages: test.features.rows, classes, failures };
}
