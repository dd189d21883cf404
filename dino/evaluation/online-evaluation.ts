/** How well the features of a network under training tell the classes of the held-out images apart, in percent. */
import type { Device } from "../../engine/index.js";
import type { Config } from "../config.js";
import { compareNeighbors, type Parts } from "./evaluate.js";
import { type Extracted, extractFeatures, viewOf } from "../features.js";
import { labelledFeatures, type LabelledParts } from "./labelled.js";
import { keptBatches } from "./linear-batches.js";
import { trainLinear } from "./linear.js";
import { backboneOf, type Network } from "../network.js";

export interface OnlineOptions {
  readonly device: Device;
  readonly config: Config;
}

/** Of the number of neighbours that a run asks for. */
export interface KnnAccuracy {
  readonly k: number;
  readonly top1: number;
  readonly top5: number;
}

/** Of the best of a few learning rates, which the held-out images themselves picked. */
export interface LinearAccuracy {
  readonly lr: number;
  readonly top1: number;
  readonly top5: number;
}

/** A linear evaluation that takes seconds: fewer epochs than `dino linear` has, on the features that k-NN compares. */
const QUICK = { batch: 128, epochs: 20, measureEvery: 20, lrs: [0.003, 0.01, 0.03, 0.1, 0.3, 1] };

/** How several ranks look at images: each at its share, the first having the features of all. */
export interface Looking {
  readonly shareOf: (indices: ArrayLike<number>) => ArrayLike<number>;
  readonly gather: (own: Extracted) => Promise<Extracted>;
}

/**
 * The cls tokens of the images trained on and of those held out, at which this process alone looks unless it is said how several
 * do. Throws where labelledFeatures does.
 */
export function featuresOf(
  network: Network,
  { config, parts, looking }: OnlineOptions & { readonly parts: Parts; readonly looking?: Looking | undefined },
): Promise<LabelledParts> {
  const backbone = backboneOf(network);
  const view = viewOf(config);
  return labelledFeatures(parts, async ({ images, indices: all }) => {
    if (!looking) return extractFeatures(backbone, images, { view, indices: all });
    const indices = looking.shareOf(all);
    return looking.gather(indices.length > 0 ? await extractFeatures(backbone, images, { view, indices }) : NOTHING);
  });
}

const NOTHING: Extracted = {
  features: { values: new Float32Array(0), rows: 0, dim: 0 },
  indices: new Int32Array(0),
  failures: [],
};

/** k-NN accuracy; normalises the features in place. */
export async function knnOf(labelled: LabelledParts, { device, config }: OnlineOptions): Promise<KnnAccuracy> {
  const { results } = await compareNeighbors(labelled, { ks: [config.knnK], device });
  const { neighbors, top1, top5 } = results[0]!;
  return { k: neighbors, top1, top5 };
}

/** Accuracy of linear classifiers. */
export async function linearOf(
  { train, test, classes }: LabelledParts,
  { device, config: { seed } }: OnlineOptions,
): Promise<LinearAccuracy> {
  const { picked } = await trainLinear({
    ...{ ...QUICK, device, test, seed, dim: train.features.dim, classes: classes.length },
    batches: keptBatches(train, { batch: QUICK.batch, seed }),
  });
  const { top1, top5 } = picked.last.test;
  return { lr: picked.lr, top1, top5 };
}
