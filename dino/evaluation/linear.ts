/**
 * Linear evaluation: trains linear classifiers on frozen features.
 * https://github.com/facebookresearch/dino/blob/main/eval_linear.py
 */
import type { Device } from "../../engine/index.js";
import { cosineSchedule } from "../math/schedules.js";
import type { Labelled } from "./labelled.js";
import type { EpochBatches } from "./linear-batches.js";
import { type Accuracy, createLinearProbe, type LinearLayer } from "./linear-probe.js";

export interface LinearOptions {
  readonly device: Device;
  /** Dimension of the features. */
  readonly dim: number;
  readonly classes: number;
  readonly batches: EpochBatches;
  /** Maximum rows of a batch; learning rates are scaled by batch / 256. */
  readonly batch: number;
  readonly test: Labelled;
  /** Rows that select the learning rate; default: the test rows. */
  readonly validation?: Labelled | undefined;
  /** Learning rates for batches of 256 rows; each trains its own layer. */
  readonly lrs: readonly number[];
  readonly epochs: number;
  /** Epochs between measurements; default 1. The last epoch is always measured. */
  readonly measureEvery?: number;
  /** Default 0. */
  readonly weightDecay?: number;
  readonly seed: number;
  /** Called after every batch with the number of batches done; `latest` is the best top-1 of the latest measurement. */
  readonly onBatch?: (done: number, latest: number | undefined) => void;
}

/** The accuracy of a layer after some epochs. */
export interface LinearMeasurement {
  /** Epochs done. */
  readonly epoch: number;
  /** Mean cross-entropy of the epoch's batches, each before its step. */
  readonly trainLoss: number;
  readonly test: Accuracy;
  readonly validation?: Accuracy;
}

export interface LinearResult {
  /** Learning rate for batches of 256 rows. */
  readonly lr: number;
  readonly history: readonly LinearMeasurement[];
  readonly last: LinearMeasurement;
  /** The earliest measurement with the best top-1 on the validation rows. */
  readonly best: LinearMeasurement;
}

export interface LinearReport {
  readonly results: readonly LinearResult[];
  /** The result with the best final top-1 on the validation rows; ties go to the lower loss. */
  readonly picked: LinearResult;
  /** The final layer of `picked`. */
  readonly layer: LinearLayer;
}

/**
 * Trains a layer per learning rate by SGD with momentum 0.9, and measures the layers on the way. The rates fall per
 * epoch along half a cosine, to 0 after the last epoch (CosineAnnealingLR). Throws without training rows, for a single
 * class, and if every layer diverges.
 */
export async function trainLinear(options: LinearOptions): Promise<LinearReport> {
  const { device, dim, classes, batches, batch, test, validation, lrs, epochs, seed, onBatch } = options;
  const { measureEvery = 1, weightDecay = 0 } = options;
  if (classes < 2) throw new Error(`linear: expected at least two classes, got ${classes}`);
  const rates = lrs.map((lr) => (lr * batch) / 256);
  using probe = await createLinearProbe(device, { dim, classes, rates, batch, weightDecay, seed });
  const decay = cosineSchedule({ base: 1, final: 0, epochs, iterationsPerEpoch: 1 });
  const histories = lrs.map((): LinearMeasurement[] => []);
  let done = 0;
  let latest: number | undefined;

  for (let epoch = 0; epoch < epochs; epoch++) {
    const losses = new Float64Array(lrs.length);
    let steps = 0;
    for await (const rows of batches(epoch)) {
      if (rows.labels.length === 0) continue;
      (await probe.step(rows, decay(epoch))).forEach((loss, layer) => (losses[layer]! += loss));
      steps++;
      onBatch?.(++done, latest);
    }
    if (steps === 0) throw new Error("linear: expected training images, got none");
    if ((epoch + 1) % measureEvery !== 0 && epoch + 1 < epochs) continue;
    const tested = await probe.measure(test);
    const validated = validation && (await probe.measure(validation));
    histories.forEach((history, layer) =>
      history.push({
        epoch: epoch + 1,
        trainLoss: losses[layer]! / steps,
        test: tested[layer]!,
        ...(validated && { validation: validated[layer]! }),
      }),
    );
    latest = Math.max(...(validated ?? tested).map(({ top1 }) => top1));
  }

  const results = lrs.map((lr, layer) => {
    const history = histories[layer]!;
    const best = history.reduce((best, entry) =>
      selectionAccuracy(entry).top1 > selectionAccuracy(best).top1 ? entry : best,
    );
    return { lr, history, last: history.at(-1)!, best };
  });
  const picked = results.reduce((best, one) =>
    isBetter(selectionAccuracy(one.last), selectionAccuracy(best.last)) ? one : best,
  );
  if (!Number.isFinite(picked.last.test.loss)) {
    throw new Error(`linear: every layer diverged; use a smaller --lr or --weight-decay`);
  }
  return { results, picked, layer: await probe.read(results.indexOf(picked)) };
}

/** Returns the accuracy that selects the learning rate. */
function selectionAccuracy({ validation, test }: LinearMeasurement): Accuracy {
  return validation ?? test;
}

function isBetter(a: Accuracy, b: Accuracy): boolean {
  if (a.top1 !== b.top1) return a.top1 > b.top1;
  return a.loss < b.loss || (Number.isFinite(a.loss) && !Number.isFinite(b.loss));
}
