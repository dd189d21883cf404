/** Estimates the time of a training and its evaluations from a few timed steps and images. */
import type { Device } from "../../engine/index.js";
import { openThreadedBatches } from "../batches/threaded-batches.js";
import type { Config } from "../config/settings.js";
import { similaritiesOn } from "../evaluation/device-similarities.js";
import type { Splits } from "../images/split.js";
import { type FeatureRows, sliceRows } from "../math/feature-rows.js";
import { viewOf } from "../model/backbone.js";
import { networkConfig } from "../model/configure.js";
import { extractFeatures } from "../model/extract.js";
import { backboneOf, initialValues } from "../model/network.js";
import { batchOptions, openTrainer } from "../training/trainer.js";

export interface TimedOptions {
  readonly device: Device;
  readonly config: Config;
  readonly splits: Splits;
}

/** Times in milliseconds. */
export interface Times {
  readonly step: number;
  /** Time to extract the features of one image. */
  readonly image: number;
}

/** Maximum number of timed steps; timing stops after a second. */
const STEPS = 3;
const IMAGES = 64;

/** Times steps and images. Also compiles the kernels, which the device caches. */
export async function timeTraining({ device, config: timed, splits: { train } }: TimedOptions): Promise<Times> {
  const config = { ...timed, steps: 1 + STEPS, warmupEpochs: 0, warmupTeacherTempEpochs: 0 }; // for any length of the run
  const values = initialValues(networkConfig(config), config);
  const setup = { config, ...train, device, initialState: { values } };
  const batches = openThreadedBatches(batchOptions(setup));
  await using trainer = await openTrainer({ ...setup, batches, onWarning: () => undefined });
  const runStep = async (): Promise<void> => {
    await trainer.runStep();
    await trainer.settle();
  };
  await runStep();
  let steps = 0;
  let stepsMs = 0;
  for (; steps < STEPS && stepsMs < 1000; steps++) stepsMs += await timeOf(runStep);
  const indices = train.indices.subarray(0, IMAGES);
  const extract = () => extractFeatures(backboneOf(trainer.teacher), train.images, { view: viewOf(config), indices });
  await extract();
  return { step: stepsMs / steps, image: (await timeOf(extract)) / indices.length };
}

/** Estimates the milliseconds to find the `k` nearest of `others` to each of `rows` rows on a device, from a block of them. */
export async function timeComparison(
  device: Device,
  others: FeatureRows,
  { rows, k }: { readonly rows: number; readonly k: number },
): Promise<number> {
  const block = sliceRows(others, 0, Math.min(others.rows, 64));
  using onDevice = similaritiesOn(device, others);
  const find = () => onDevice.nearest(block, Math.min(k, others.rows));
  await find();
  return ((await timeOf(find)) * rows) / block.rows;
}

async function timeOf(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}
