/** Linear evaluation: layers learn the classes from frozen features. https://github.com/facebookresearch/dino/blob/main/eval_linear.py */
import type { Device } from "../../engine/index.js";
import { cosineSchedule } from "../math/schedules.js";
import type { Labelled } from "./labelled.js";
import type { EpochBatches } from "./linear-batches.js";
import { type Accuracy, createLinearProbe, type LinearLayer } from "./linear-probe.js";

export interface LinearOptions {
  readonly device: Device;
  /** Numbers of a row of features. */
  readonly dim: number;
  readonly classes: number;
  readonly batches: EpochBatches;
  /** The most rows of a batch; learning rates are scaled by batch / 256. */
  readonly batch: number;
  readonly test: Labelled;
  /** Rows to pick the learning rate by; the test rows if left out. */
  readonly validation?: Labelled | undefined;
  /** Learning rates for batches of 256 rows; each has a layer of its own. */
  readonly lrs: readonly number[];
  readonly epochs: number;
  /** Epochs from one measurement to the next: 1 if left out. The last is always measured. */
  readonly measureEvery?: number;
  /** 0 if left out. */
  readonly weightDecay?: number;
  readonly seed: number;
  /** After every batch, with the batches that are done; `latest` is the best top-1 of the latest measurement. */
  readonly onBatch?: (done: number, latest: number | undefined) => void;
}

/** A layer after some epochs. */
export interface LinearMeasurement {
  /** Epochs done. */
  readonly epoch: number;
  /** Mean cross-entropy of the epoch's batches, each before its step. */
  readonly trainLoss: number;
  readonly test: Accuracy;
  readonly validation?: Accuracy;
}

export interface LinearResult {
  /** For batches of 256 rows. */
  readonly lr: number;
  readonly history: readonly LinearMeasurement[];
  readonly last: LinearMeasurement;
  /** The first of those of the best top-1, on the rows that pick. */
  readonly best: LinearMeasurement;
}

export interface LinearReport {
  readonly results: readonly LinearResult[];
  /** The result of the best top-1 in the end, on the rows that pick; of equal ones that of the lower loss. */
  readonly picked: LinearResult;
  /** Its layer in the end. */
  readonly layer: LinearLayer;
}

/**
 * Trains a layer for each learning rate by SGD of momentum 0.9, the rate falling from epoch to epoch along half a cosine, to 0
 * after the last (CosineAnnealingLR), and measures them on the way. Throws where there is nothing to learn from, for a single
 * class, and where a loss is no number for every rate.
 */
export async function trainLinear(options: LinearOptions): Promise<LinearReport> {
  const { device, dim, classes, batches, batch, test, validation, lrs, epochs, seed, onBatch } = options;
  const { measureEvery = 1, weightDecay = 0 } = options;
  if (classes < 2) throw new Error(`linear: expected at least two classes to tell apart, got ${classes}`);
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
    if (steps === 0) throw new Error("linear: expected images to learn from, got none");
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
    const best = history.reduce((best, moment) =>
      selectionAccuracy(moment).top1 > selectionAccuracy(best).top1 ? moment : best,
    );
    return { lr, history, last: history.at(-1)!, best };
  });
  const picked = results.reduce((best, one) =>
    isBetter(selectionAccuracy(one.last), selectionAccuracy(best.last)) ? one : best,
  );
  if (!Number.isFinite(picked.last.test.loss)) {
    throw new Error(`linear: every layer diverged; take a smaller --lr or --weight-decay`);
  }
  return { results, picked, layer: await probe.read(results.indexOf(picked)) };
}

/** The accuracy that picks. */
function selectionAccuracy({ validation, test }: LinearMeasurement): Accuracy {
  return validation ?? test;
}

function isBetter(a: Accuracy, b: Accuracy): boolean {
  if (a.top1 !== b.top1) return a.top1 > b.top1;
  return a.loss < b.loss || (Number.isFinite(a.loss) && !Number.isFinite(b.loss));
}
