/** Evaluation of a network during training: accuracy of k-NN and linear classifiers, in percent. */
import type { Device } from "../../engine/index.js";
import type { Config } from "../config/settings.js";
import type { Splits } from "../images/split.js";
import { viewOf } from "../model/backbone.js";
import { type Extracted, extractFeatures } from "../model/extract.js";
import { backboneOf, type Network } from "../model/network.js";
import { compareNeighbors } from "./evaluate.js";
import type { KnnSplits } from "./knn-splits.js";
import { labelledFeatures, type LabelledSplits } from "./labelled.js";
import { cachedBatches } from "./linear-batches.js";
import { trainLinear } from "./linear.js";

export interface OnlineOptions {
  readonly device: Device;
  readonly config: Config;
}

/** k-NN accuracy with the number of neighbours of the run. */
export interface KnnAccuracy {
  readonly k: number;
  readonly top1: number;
  readonly top5: number;
  /** Number of classified images. Logs of earlier versions lack this and the following fields. */
  readonly images?: number;
  /** Number of training images that voted. */
  readonly among?: number;
  /** Whether the classified images are training images too, without their labels. */
  readonly areTrainedOn?: boolean;
}

/** Linear accuracy with the best of a few learning rates, selected by the held-out images themselves. */
export interface LinearAccuracy {
  readonly lr: number;
  readonly top1: number;
  readonly top5: number;
}

/** Settings of a linear evaluation that takes seconds: fewer epochs than `dino linear`, on the features of k-NN. */
const QUICK = { batch: 128, epochs: 20, measureEvery: 20, lrs: [0.003, 0.01, 0.03, 0.1, 0.3, 1] };

/** Distributes feature extraction over ranks: each processes its share, and rank 0 receives the features of all. */
export interface Looking {
  readonly shareOf: (indices: ArrayLike<number>) => ArrayLike<number>;
  readonly gather: (own: Extracted) => Promise<Extracted>;
}

/**
 * Extracts the cls tokens of training and held-out images, on all ranks if `looking` is given. Throws as
 * `labelledFeatures` does.
 */
export function featuresOf(
  network: Network,
  {
    config,
    splits,
    looking,
    onLooked = () => undefined,
  }: OnlineOptions & { readonly splits: Splits; readonly looking?: Looking | undefined; readonly onLooked?: OnLooked },
): Promise<LabelledSplits> {
  const backbone = backboneOf(network);
  const view = viewOf(config);
  const total = splits.train.indices.length + splits.test.indices.length;
  let before = 0;
  return labelledFeatures(splits, async ({ images, indices: all }) => {
    const start = before;
    before += all.length;
    const indices = looking ? looking.shareOf(all) : all;
    const onProgress = (done: number, of: number) => onLooked(start + (done * all.length) / of, total);
    const look = () => extractFeatures(backbone, images, { view, indices, onProgress });
    return looking ? looking.gather(indices.length > 0 ? await look() : NOTHING) : look();
  });
}

/** Called with the number of images processed. */
export type OnLooked = (done: number, total: number) => void;

const NOTHING: Extracted = {
  features: { values: new Float32Array(0), rows: 0, dim: 0 },
  indices: new Int32Array(0),
  failures: [],
};

/** Measures k-NN accuracy; normalises the features in place. */
export async function knnOf(
  labelled: LabelledSplits,
  { device, config, areTrainedOn = false }: OnlineOptions & Partial<Pick<KnnSplits, "areTrainedOn">>,
): Promise<KnnAccuracy> {
  const { results, testImages, trainImages } = await compareNeighbors(labelled, { ks: [config.knnK], device });
  const { neighbors, top1, top5 } = results[0]!;
  return { k: neighbors, top1, top5, images: testImages, among: trainImages, areTrainedOn };
}

/** Describes a k-NN accuracy in one line. */
export function describeKnn({ top1, images, among, areTrainedOn = false }: KnnAccuracy): string {
  const accuracy = `k-NN ${top1.toFixed(1)} %`;
  if (images === undefined || among === undefined) return accuracy;
  return areTrainedOn
    ? `${accuracy} of ${images} images right by ${among} others, all of them trained on without labels`
    : `${accuracy} of ${images} held-out images right, by neighbours among ${among} training images`;
}

/** Measures the accuracy of linear classifiers. */
export async function linearOf(
  { train, test, classes }: LabelledSplits,
  { device, config: { seed } }: OnlineOptions,
): Promise<LinearAccuracy> {
  const { picked } = await trainLinear({
    ...QUICK,
    device,
    test,
    seed,
    dim: train.features.dim,
    classes: classes.length,
    batches: cachedBatches(train, { batch: QUICK.batch, seed }),
  });
  const { top1, top5 } = picked.last.test;
  return { lr: picked.lr, top1, top5 };
}
