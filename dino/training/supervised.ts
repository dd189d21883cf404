/** Training on a terminal: shows progress, handles signals and replaces lost devices. */
import { openDevice } from "../../engine/adapters/node.js";
import { type Device, DeviceLostError, isCausedBy, OutOfMemoryError } from "../../engine/index.js";
import type { Config, SettingName } from "../config/settings.js";
import { describeKnn } from "../evaluation/online-evaluation.js";
import { startProgress, lazyProgress } from "../files/progress.js";
import { quoted } from "../files/text.js";
import type { Splits } from "../images/split.js";
import type { EpochLine, EvaluationLine } from "../run/log.js";
import { checkpointsIn } from "../run/run-folder.js";
import { catchSignals, Interrupted } from "./interrupt.js";
import { adviseOnMemory } from "./memory-advice.js";
import type { TrainOptions } from "./run.js";
import { train, type TrainSummary } from "./train.js";

export interface SupervisedTraining extends Pick<TrainOptions, "visit" | "initial" | "world"> {
  readonly device: Device;
  readonly config: Config;
  readonly splits: Splits;
  /** Settings given by the user. */
  readonly explicit: ReadonlySet<SettingName>;
  readonly resume: boolean;
  /** The command that resumes a stopped run, for messages; `dino train --resume` if left out. */
  readonly resumeCommand?: string;
  /** Opens a replacement for a lost device; on the best adapter if left out. */
  readonly reopen?: () => Promise<Device>;
}

/**
 * Trains and shows loss, rate and remaining time on stderr. Replaces a lost device and resumes from the last
 * checkpoint. The first Ctrl-C, SIGTERM or SIGHUP ends the run after the current step: throws Interrupted, whose
 * message says how to resume.
 */
export async function trainWithProgress(training: SupervisedTraining): Promise<TrainSummary> {
  const { config, resumeCommand = `npx dino train --out ${quoted(config.out)} --resume` } = training;
  const isRank = training.world !== undefined && training.world.size > 1; // ranks stop and resume together
  using terminal = openTerminal();
  terminal.log(describeRun(training));
  using interruption = catchSignals(
    (signal) => terminal.log(`${signal}: ending after this step, with a checkpoint; once more ends at once`),
    { isRank },
  );
  let { device, resume } = training;
  const losses = { inSuccession: 0, atStep: -1 };
  try {
    for (;;) {
      try {
        const stop = interruption.signal;
        const summary = await train({ ...training, ...terminal.listener, device, resume, stop });
        const { done, steps, checkpoint } = summary;
        if (done === steps) return summary;
        throw interruptedBy(
          stop,
          `stopped after step ${done} of ${steps}, which ${checkpoint} holds; ${resumeCommand} goes on`,
        );
      } catch (error) {
        if (isCausedBy(error, OutOfMemoryError)) {
          throw new Error(`${(error as Error).message}; ${await adviseOnMemory(device, config)}`, { cause: error });
        }
        if (!isCausedBy(error, DeviceLostError) || training.visit || isRank) throw error;
        losses.inSuccession = terminal.step() > losses.atStep ? 1 : losses.inSuccession + 1;
        losses.atStep = terminal.step();
        if (losses.inSuccession > MOST_LOSSES) throw error;
        resume = (await checkpointsIn(config.out)).length > 0;
        const from = resume ? "the last checkpoint" : "the first step";
        terminal.log(`${(error as Error).message}; going on from ${from} on a new one`);
        if (device !== training.device) device[Symbol.dispose]();
        device = await anotherDevice(training);
      }
    }
  } finally {
    if (device !== training.device) device[Symbol.dispose]();
  }
}

/** Trains at ranks above 0, without progress. Throws Interrupted if rank 0 does. */
export async function trainSilently(training: SupervisedTraining): Promise<TrainSummary> {
  using interruption = catchSignals(() => undefined, { isRank: true });
  const stop = interruption.signal;
  const summary = await train({ ...training, stop });
  if (summary.done === summary.steps) return summary;
  throw interruptedBy(stop, `stopped after step ${summary.done} of ${summary.steps}`);
}

/** Creates the error for the signal that this process or another rank received. */
function interruptedBy({ aborted, reason }: AbortSignal, message: string): Interrupted {
  return new Interrupted(aborted ? (reason as NodeJS.Signals) : "SIGTERM", message);
}

/** Output of a training on stderr. */
interface Terminal extends Disposable {
  readonly log: (line: string) => void;
  /** The last step shown. */
  readonly step: () => number;
  readonly listener: Pick<TrainOptions, "onProgress" | "onWarning" | "onEvaluating" | "onEvaluated">;
}

function openTerminal(): Terminal {
  let progress: ReturnType<typeof startProgress> | undefined;
  const firstEvaluation = lazyProgress("k-NN before the first step, images");
  let lastStep = 0;
  const log = (line: string): void => {
    if (progress) progress.log(line);
    else process.stderr.write(`${line}\n`);
  };
  return {
    log,
    step: () => lastStep,
    listener: {
      onProgress: ({ step, steps, loss, lr, imagesPerSecond }) => {
        lastStep = step;
        progress ??= startProgress({ title: "training", total: steps, start: step - 1, unit: "steps" });
        const message = `loss ${loss.toFixed(3)}, lr ${lr.toExponential(1)}, ${imagesPerSecond.toFixed(0)} images/s`;
        progress.update(step, message);
      },
      onWarning: log,
      onEvaluating: (done, images) => {
        if (progress) progress.update(lastStep, `k-NN looks at image ${Math.round(done)} of ${images}`);
        else firstEvaluation.report(Math.round(done), images);
      },
      onEvaluated: (line) => log(describeAccuracies(line)),
    },
    [Symbol.dispose]() {
      progress?.stop();
      firstEvaluation[Symbol.dispose]();
    },
  };
}

function describeRun({ config: { steps, epochs, batch }, splits, device, world }: SupervisedTraining): string {
  const length = steps === null ? `${epochs} epochs` : `${steps} steps`;
  const ranks = world && world.size > 1 ? `, ${world.size} ranks with ${world.library}` : "";
  const images = splits.train.indices.length;
  return `training on ${images} images for ${length} of batch ${batch}, on ${device.name}${ranks}`;
}

function describeAccuracies({ step, knn, linear }: EpochLine | EvaluationLine): string {
  const ofLinear = linear ? [`linear ${linear.top1.toFixed(1)} % of the held-out images right`] : [];
  return `step ${step}: ${[...(knn ? [describeKnn(knn)] : []), ...ofLinear].join("; ")}`;
}

/** Maximum number of devices lost in succession at the same step. */
const MOST_LOSSES = 3;

/**
 * Opens a device on the adapter of the lost one. Throws if only another adapter is left, which would round differently.
 */
async function anotherDevice({ device: lost, reopen = openDevice }: SupervisedTraining): Promise<Device> {
  const device = await reopen();
  if (device.name === lost.name) return device;
  device[Symbol.dispose]();
  throw new Error(
    `${lost.name}: the device was lost, and in its place there is only ${device.name}, which rounds otherwise; ` +
      "the last checkpoint is intact: go on with --resume once the adapter is back",
  );
}
