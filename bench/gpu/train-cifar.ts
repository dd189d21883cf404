/**
 * Trains on images of CIFAR-10 for a given time, and measures k-NN among the training images before and after. Prints one JSON
 * value.
 */
import { join } from "node:path";
import { resolveConfig } from "../../dino/config/resolve.js";
import type { PartialConfig } from "../../dino/config/settings.js";
import { openData } from "../../dino/images/sources/open.js";
import { firstImages, fullSubset, type Splits } from "../../dino/images/split.js";
import { openDevice } from "../../engine/adapters/node.js";
import { trainOurs } from "../learning/ours.js";
import { runChild } from "./child.js";

/** What the process prints: k-NN accuracies in percent. */
export interface CifarTraining {
  readonly images: number;
  readonly testImages: number;
  readonly steps: number;
  readonly stepsPerSecond: number;
  readonly imagesPerSecond: number;
  readonly before: number;
  readonly after: number;
  readonly loss: number;
}

/** Settings of a training of about a minute: the teacher must move on within a few hundred steps. */
const RECIPE = {
  preset: "small-images",
  heldOut: 0,
  freezeLastLayer: 0,
  momentumTeacher: 0.99,
  momentumTeacherEnd: 0.999,
  lr: 0.001,
} as const satisfies PartialConfig;

/** A network that a CPU trains in seconds. */
const SMALL = { dim: 32, depth: 1, heads: 1, outDim: 64, hiddenDim: 64, bottleneckDim: 32, batch: 8 } as const;

/** Images of each part that the small network takes. */
const FEW = 100;

/** Steps whose speed decides how many fit into the time. */
const TRIAL = { usual: 20, quick: 2 };

async function main([folder, secondsWord, form = "usual"]: readonly string[]): Promise<void> {
  const isQuick = form === "quick";
  const load = async (name: string) => fullSubset(await openData(join(folder!, name)));
  const all: Splits = { train: await load("train.bin"), test: await load("test.bin") };
  const splits = isQuick ? { train: firstImages(all.train, FEW), test: firstImages(all.test, FEW) } : all;
  using device = await openDevice();
  const trainFor = (steps: number) => {
    const config = resolveConfig({ ...RECIPE, ...(isQuick && SMALL), data: folder!, steps });
    let last = performance.now();
    const onStep = (step: number, loss: number) => {
      if (performance.now() - last < 2000) return;
      last = performance.now();
      console.error(`step ${step} of ${steps}, loss ${loss.toFixed(3)}`);
    };
    return trainOurs({ device, config, splits, evaluations: 1, onStep });
  };
  const trial = await trainFor(isQuick ? TRIAL.quick : TRIAL.usual);
  const steps = Math.max(10, Math.floor(trial.stepsPerSecond * Number(secondsWord)));
  const { points, stepsPerSecond, loss } = await trainFor(steps);
  const { batch } = resolveConfig({ ...RECIPE, ...(isQuick && SMALL) });
  const found: CifarTraining = {
    ...{ images: splits.train.indices.length, testImages: splits.test.indices.length },
    ...{ steps, stepsPerSecond, imagesPerSecond: stepsPerSecond * batch },
    ...{ before: points[0]![1], after: points.at(-1)![1], loss },
  };
  console.log(JSON.stringify(found));
}

await runChild(main);
