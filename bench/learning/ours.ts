/** Our code as a learner. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Config } from "../../dino/config/settings.js";
import { featuresOf, type KnnAccuracy, knnOf } from "../../dino/evaluation/online-evaluation.js";
import type { Splits } from "../../dino/images/split.js";
import { Interrupted } from "../../dino/training/interrupt.js";
import { train } from "../../dino/training/train.js";
import type { Device } from "../../engine/index.js";
import type { LearningCurve, Point } from "./curves.js";

/** Options of `trainOurs`. */
export interface OurTraining {
  readonly device: Device;
  /** Settings, with the seed; `out` and evaluation settings are ignored. */
  readonly config: Config;
  readonly splits: Splits;
  /** Evaluations at even intervals, besides the one before the first step. */
  readonly evaluations: number;
  /** Aborts the training; the reason is the name of a signal. */
  readonly stop?: AbortSignal | undefined;
  readonly onStep?: (step: number, loss: number) => void;
  readonly onWarning?: (message: string) => void;
}

/** Returns the steps after which `train` evaluates the networks. */
export function stepsAt(steps: number, evaluations: number): readonly number[] {
  return [...new Set(Array.from({ length: evaluations + 1 }, (_, i) => Math.ceil((i * steps) / evaluations)))];
}

/** Trains like `dino train`, in a temporary folder. Throws Interrupted if `stop` is aborted. */
export async function trainOurs({
  device,
  config,
  splits,
  evaluations,
  stop,
  ...listener
}: OurTraining): Promise<LearningCurve> {
  const out = await mkdtemp(join(tmpdir(), "dino-learning-"));
  const quiet = { knnEvery: 0, linearEvery: 0, picturesEvery: 0, saveckpFreq: 0, tensorboard: false };
  const points: Point[] = [];
  let ms = 0;
  let began: number | undefined;
  const evaluate = async (step: number, measure: () => Promise<KnnAccuracy>) => {
    await device.gpu.queue.onSubmittedWorkDone();
    if (began !== undefined) ms += performance.now() - began;
    const knn = await measure();
    points.push([step, knn.top1]);
    began = performance.now();
    return { knn };
  };
  try {
    const { loss, done, steps } = await train({
      device,
      splits,
      config: { ...config, ...quiet, out: join(out, "run") },
      explicit: new Set(),
      resume: false,
      stop,
      visit: {
        times: evaluations,
        look: ({ step, teacher }) =>
          evaluate(step, async () => knnOf(await featuresOf(teacher, { device, config, splits }), { device, config })),
      },
      onProgress: ({ step, loss }) => listener.onStep?.(step, loss),
      ...(listener.onWarning && { onWarning: listener.onWarning }),
    });
    if (done < steps) {
      const signal = stop!.reason as NodeJS.Signals;
      throw new Interrupted(signal, `stopped after step ${done} of ${steps}; the same command begins this seed again`);
    }
    return { seed: config.seed, points, stepsPerSecond: (1000 * steps) / ms, loss: loss!, device: device.name };
  } finally {
    await rm(out, { recursive: true, force: true });
  }
}
