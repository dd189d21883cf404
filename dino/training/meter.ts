/** Measurements for the log: mean losses, rates, and statistics of the networks. */
import type { Batch } from "../batches/batches.js";
import { maskedCrops } from "../batches/block-masks.js";
import { GLOBAL_CROPS } from "../batches/crop-layout.js";
import { dataWatch } from "../batches/data-watch.js";
import type { Config } from "../config/settings.js";
import type { EpochLine, StepLine } from "../run/log.js";
import type { Losses } from "../weights/checkpoint-bytes.js";
import { collapseWatch } from "./collapse.js";
import { readLossScale } from "./not-finite.js";
import { meansOver, type RunLength, type Schedules } from "./schedule.js";
import type { StepOutput, TrainingStep } from "./step-inputs.js";

export interface MeterOptions {
  readonly config: Config;
  readonly length: RunLength;
  readonly schedule: Schedules;
  readonly step: TrainingStep;
  /** Losses of the resumed run that no line has reported yet. */
  readonly unlogged: Unlogged | undefined;
  /** Whether images are read from shards in random order. */
  readonly readsShards: boolean;
  /** Whether the run has several ranks. */
  readonly hasPeers: boolean;
  readonly onWarning: (words: string) => void;
}

/** Losses since the last line of the log and since the last end of an epoch. */
export interface Unlogged {
  readonly interval: Losses;
  readonly epoch: Losses;
}

/** A completed step, for the log. */
interface CompletedStep {
  /** Steps done, this one included. */
  readonly done: number;
  readonly epoch: number;
}

/** Collects measurements from one log line to the next. */
export interface Meter {
  readonly unlogged: Unlogged;
  addLoss(loss: number): void;
  /** Counts a submitted step. */
  count(batch: Pick<Batch, "waitedMs" | "ready">): void;
  /** Images per second since the last line. */
  imagesPerSecond(): number;
  /** Whether a line ends with step `done`. */
  isLineDue(done: number): boolean;
  /**
   * Returns the log line, if an interval ends with this step, and the epoch line, if an epoch or the run ends, without
   * accuracies. Expects that the losses of all steps were added. Throws if the loss scale has become too small for
   * training.
   */
  lines(completed: CompletedStep): Promise<{
    readonly line: StepLine | undefined;
    readonly epochLine: EpochLine | undefined;
  }>;
  /** Runs work whose time is excluded from the rate. */
  exclude<T>(work: () => Promise<T>): Promise<T>;
}

export function openMeter({
  config,
  length,
  schedule,
  step,
  readsShards,
  hasPeers,
  onWarning,
  ...options
}: MeterOptions): Meter {
  const { iterationsPerEpoch, steps } = length;
  const watchCollapse = collapseWatch(config.outDim, config.centering);
  const watchData = dataWatch(readsShards);
  const newInterval = () => ({
    steps: 0,
    startMs: performance.now(),
    waitedMs: 0,
    ready: 0,
    peersMs: step.program.waitedMs(),
  });
  let unlogged = options.unlogged ?? { interval: NO_LOSSES, epoch: NO_LOSSES };
  let interval = newInterval();

  const imagesPerSecond = (): number =>
    (interval.steps * config.batch) / ((performance.now() - interval.startMs) / 1000);
  const endsInterval = (done: number): boolean => done % config.logEvery === 0 || done === steps;
  const endsEpoch = (done: number): boolean => done % iterationsPerEpoch === 0 || done === steps;

  async function endInterval({ done, epoch }: CompletedStep): Promise<StepLine> {
    const { lr, weightDecay, momentum, teacherTemperature } = schedule(done - 1);
    const line: StepLine = {
      step: done,
      epoch,
      loss: mean(unlogged.interval),
      ...(await observe(step, config)),
      lr,
      weightDecay,
      momentum,
      teacherTemperature,
      ...(step.lossScale && { lossScale: await readLossScale(step.lossScale, done) }),
      imagesPerSecond: imagesPerSecond(),
      dataWaitMs: interval.waitedMs,
      batchesReady: interval.ready / interval.steps,
      ...(hasPeers && { peersWaitMs: step.program.waitedMs() - interval.peersMs }),
    };
    for (const warning of [watchCollapse(line), watchData(interval)]) if (warning !== undefined) onWarning(warning);
    unlogged = { ...unlogged, interval: NO_LOSSES };
    interval = newInterval();
    return line;
  }

  function endEpoch({ done, epoch }: CompletedStep): EpochLine {
    const means = meansOver(schedule, { from: epoch * iterationsPerEpoch, to: done });
    const line: EpochLine = { type: "epoch", step: done, epoch, loss: mean(unlogged.epoch), ...means };
    if (done % iterationsPerEpoch === 0) unlogged = { ...unlogged, epoch: NO_LOSSES };
    return line;
  }

  return {
    get unlogged() {
      return unlogged;
    },
    addLoss(loss) {
      unlogged = { interval: plus(unlogged.interval, loss), epoch: plus(unlogged.epoch, loss) };
    },
    count({ waitedMs, ready }) {
      interval.steps++;
      interval.waitedMs += waitedMs;
      interval.ready += ready;
    },
    imagesPerSecond,
    isLineDue: (done) => endsInterval(done) || endsEpoch(done),
    async lines(completed) {
      const line = endsInterval(completed.done) ? await endInterval(completed) : undefined;
      return { line, epochLine: endsEpoch(completed.done) ? endEpoch(completed) : undefined };
    },
    async exclude(work) {
      const beganMs = performance.now();
      const result = await work();
      interval.startMs += performance.now() - beganMs;
      return result;
    },
  };
}

/** Returns the part of a log line that covers the last step only. */
async function observe({ program }: TrainingStep, config: Config) {
  const scalar = (name: StepOutput) => program.readScalar(name);
  const { crossEntropy, parts } = await lossesOf(scalar, config);
  const teacherEntropy = await scalar("teacherEntropy");
  return {
    ...parts,
    ...(config.koleo > 0 && { koleo: await scalar("koleo") }),
    teacherEntropy,
    klDivergence: crossEntropy - teacherEntropy,
    meanTargetEntropy: entropy(await program.read("meanTargets")),
    studentSpread: 1 - (await scalar("studentCoherence")),
    teacherSpread: 1 - (await scalar("teacherCoherence")),
    gradientNorm: Math.hypot(...(await program.read("norms"))),
  };
}

/** Returns the cross-entropy of CLS tokens, and the parts of the loss of DINOv2. */
async function lossesOf(
  scalar: (name: StepOutput) => Promise<number>,
  { method, localCropsNumber, batch, maskProbability }: Config,
): Promise<{ readonly crossEntropy: number; readonly parts: Pick<StepLine, "clsLoss" | "patchLoss"> }> {
  if (method === "dino") return { crossEntropy: await scalar("loss"), parts: {} };
  const local = localCropsNumber > 0 ? await scalar("localLoss") : 0;
  const clsLoss = local + (await scalar("globalLoss"));
  const maskedShare = maskedCrops({ images: batch, probability: maskProbability }) / (GLOBAL_CROPS * batch);
  return { crossEntropy: clsLoss, parts: { clsLoss, patchLoss: (await scalar("ibot")) / maskedShare } };
}

const NO_LOSSES: Losses = { sum: 0, count: 0 };

function plus({ sum, count }: Losses, loss: number): Losses {
  return { sum: sum + loss, count: count + 1 };
}

function mean({ sum, count }: Losses): number {
  return sum / count;
}

/** Entropy of a distribution, in nats. */
function entropy(distribution: Float32Array): number {
  return distribution.reduce((sum, p) => (p > 0 ? sum - p * Math.log(p) : sum), 0);
}
