/** A run in a folder: steps of a trainer, and what is logged, measured, drawn and kept on the way. */
import { existsSync } from "node:fs";
import { rename, statfs } from "node:fs/promises";
import { availableParallelism, cpus } from "node:os";
import { type Device, DeviceLostError, isCausedBy } from "../../engine/index.js";
import { readFirstWhole } from "../weights/checkpoint.js";
import type { Config, SettingName } from "../config/settings.js";
import { startValues } from "./init.js";
import { lengthOf } from "./schedule.js";
import { heedful } from "../mpi/interruptible-world.js";
import { openReporter } from "../mpi/reports.js";
import { toFirst } from "../mpi/sharing.js";
import { alone, type World } from "../mpi/world.js";
import { comparedParts } from "../evaluation/compared-parts.js";
import type { Accuracies, EpochLine, EvaluationLine } from "../run/log.js";
import type { Network } from "../model/network.js";
import {
  featuresOf,
  type KnnAccuracy,
  knnOf,
  linearOf,
  type Looking,
  type OnLooked,
  type OnlineOptions,
} from "../evaluation/online-evaluation.js";
import { checkpointsIn, filesOf, removeRun, takeFolder } from "../run/run-folder.js";
import { noOutput, openRunOutput, type RunOutput } from "./run-output.js";
import { openThreadedBatches } from "../batches/threaded-batches.js";
import { NotFiniteError, openTrainer, type Progress } from "./trainer.js";
import type { TrainingState } from "./training-state.js";
import type { Parts } from "../images/split.js";
import { gatherFeatures, runOf, shareBeginning, verifyStates } from "./shared-state.js";
import type { Checkpoint } from "../weights/checkpoint-bytes.js";
import { flagOf } from "../config/flags.js";
import { changeableOnResume, differenceBetween, fitWarmups } from "../config/resolve.js";

declare global {
  // Merged with the type that Node or a browser has of it.
  // eslint-disable-next-line @typescript-eslint/no-empty-object-type
  interface AbortSignal {}
}

export interface TrainOptions {
  readonly device: Device;
  readonly config: Config;
  /** Images to train on, and those held out for evaluation. */
  readonly parts: Parts;
  /** Settings that the user gave himself: what does not fit them is an error instead of being shortened. */
  readonly given: ReadonlySet<SettingName>;
  /** Goes on from the last whole checkpoint in the folder of the run, whose files are removed otherwise. */
  readonly resume: boolean;
  /** Ends the run, once aborted, after the step under way, with a checkpoint to go on from. */
  readonly stop?: AbortSignal | undefined;
  /** The ranks that train together, of which the first alone writes to the folder of the run: this process if left out. */
  readonly world?: World | undefined;
  /** What student and teacher start from; startValues of `config` if left out. */
  readonly initial?: ReadonlyMap<string, Float32Array> | undefined;
  /** Told after every step. */
  readonly onProgress?: (progress: Progress) => void;
  /** Told what goes wrong, or otherwise than was asked for, without ending the run. */
  readonly onWarning?: (words: string) => void;
  /** Told how many images an evaluation has looked at. */
  readonly onEvaluating?: OnLooked;
  /** Takes the accuracies of an evaluation. */
  readonly onEvaluated?: (line: EpochLine | EvaluationLine) => void;
  /**
   * Looks at the networks before the first step, and so many times in even steps, the last time after the last step. The
   * accuracies that it returns are logged, and take the place of those that --knn-every measures.
   */
  readonly visit?: {
    readonly times: number;
    readonly look: (networks: Networks, onLooked: OnLooked) => Promise<Accuracies | undefined>;
  };
}

/** What is trained, as it is after `step` steps. */
export interface Networks {
  readonly step: number;
  readonly student: Network;
  readonly teacher: Network;
}

export interface TrainSummary {
  readonly checkpoint: string;
  /** Of the whole run. */
  readonly steps: number;
  /** Steps done: fewer than `steps` where it was stopped. */
  readonly done: number;
  /** Loss of the last step; undefined where the run was complete already. */
  readonly loss: number | undefined;
  /** Of the last evaluation, if there was one. */
  readonly knn: KnnAccuracy | undefined;
  readonly warnings: readonly string[];
}

/**
 * Trains a student and its teacher (DINO, algorithm 1) as `config` says, into the folder `config.out`: config.json,
 * log.jsonl and log.txt, checkpoint.safetensors and numbered ones, pictures and profile.json where they are asked for. The
 * same seed on the same adapter gives the same bytes, also when a run is resumed. Throws on a non-finite loss, naming the
 * first bad kernel; in f16 only where a smaller scale of the loss does not help.
 */
export async function train(options: TrainOptions): Promise<TrainSummary> {
  const { parts, resume, visit, stop, onProgress } = options;
  const warnings: string[] = [];
  const warn = (words: string) => {
    warnings.push(words);
    options.onWarning?.(words);
  };
  const { indices } = parts.train;
  const { iterationsPerEpoch, steps } = lengthOf(options.config, indices.length);
  const { config, notes } = fitWarmups(options.config, { iterationsPerEpoch, given: options.given });
  notes.forEach(warn);
  let output: RunOutput = noOutput();
  let isOpen = false;
  const world = heedful(options.world ?? alone(), {
    stop,
    keep: () => keepOfLast(),
  });
  const isFirst = world.rank === 0;
  await using folder = isFirst ? await takeFolder(config.out) : undefined;
  const reporter = openReporter(world);
  const begin = await shareBeginning(world, async () => {
    if (resume) return { checkpoint: await lastCheckpoint(config, { steps, warn }) };
    return { values: options.initial ?? (await startValues(options.device, config, warn)) };
  });
  await using trainer = await openTrainer({
    ...{ config, ...parts.train, device: options.device, begin },
    openBatches: (batches) => openThreadedBatches({ ...batches, ...threadsOf(config, world) }),
    ...(world.size > 1 && { peers: world }),
    onWarning: (words) => {
      reporter.warn(words);
      if (isFirst) warn(words);
    },
  });
  const { device, student, teacher } = trainer;
  isOpen = true;
  if (isFirst) {
    if (!resume) await removeRun(config.out);
    await expectRoom(config.out, trainer);
    const saved = "checkpoint" in begin ? begin.checkpoint.step : undefined;
    output = await openRunOutput(trainer, { config, parts, saved });
  }

  let knn: KnnAccuracy | undefined;
  const onLooked: OnLooked = (done, total) => options.onEvaluating?.(done, total);
  const look = () => visit?.look({ step: trainer.done, student, teacher }, onLooked);
  const draws = config.picturesEvery > 0;
  const profiledStep = trainer.done + PROFILED_STEP;
  await trainer.aside(async () => {
    const accuracies = await look();
    if (accuracies) await logEvaluation({ type: "evaluation", step: trainer.done, epoch: 0, ...accuracies });
    if (draws && trainer.done === 0) await output.draw();
  });
  let loss: number | undefined;
  while (trainer.done < steps && !(await isAsked())) {
    const profiles = draws && trainer.done + 1 === profiledStep;
    const taken = await reporter.measure(() => trainer.takeStep({ profiles })).catch(dumpNotFinite);
    const { step: done, line, epochLine, profile } = taken;
    ({ loss } = taken);
    const ends = done === steps;
    const epochEnds = done % iterationsPerEpoch === 0;
    const epochsDone = taken.epoch + 1;
    onProgress?.(taken);
    if (profile) await output.writeProfile(profile);
    if (line) await output.log(line);
    const isVisited =
      visit && Math.floor((done * visit.times) / steps) > Math.floor(((done - 1) * visit.times) / steps);
    const seen = isVisited ? await trainer.aside(async () => look()) : undefined;
    if (seen && !epochLine) await logEvaluation({ type: "evaluation", step: done, epoch: taken.epoch, ...seen });
    if (line) (await reporter.report()).forEach(warn);
    if (config.verifyRanks > 0 && done % config.verifyRanks === 0 && world.size > 1)
      await verifyStates(world, await trainer.state());
    if (epochLine) await trainer.aside(() => endEpoch(epochLine, { epochsDone, ends }, seen));
    const saves = config.checkpointEvery > 0 ? done % config.checkpointEvery === 0 : epochEnds;
    if (saves || ends) await output.save();
    if (epochEnds && config.saveckpFreq > 0 && epochsDone % config.saveckpFreq === 0)
      await output.saveNumbered(epochsDone);
  }
  await output.save(); // where it was stopped
  return { checkpoint: (folder ?? filesOf(config.out)).checkpoint, steps, done: trainer.done, loss, knn, warnings };

  async function logEvaluation(line: EpochLine | EvaluationLine): Promise<void> {
    await output.log(line);
    knn = line.knn ?? knn;
    if (line.knn ?? line.linear) options.onEvaluated?.(line);
  }

  /** Keeps a checkpoint while others do not answer; where the first rank is dead, another has the same to keep. */
  async function keepOfLast(): Promise<void> {
    warn(`${String(stop!.reason)}: the other ranks do not answer; keeping a checkpoint`);
    if (isFirst) return output.save();
    if (!isOpen || !existsSync(filesOf(config.out).config)) return;
    await using left = await takeFolder(config.out).catch(() => undefined); // which the first rank holds while it lives
    if (left) await (await openRunOutput(trainer, { config, parts, saved: undefined })).save();
  }

  /** Whether an end is asked of any rank; all of them then end after the same step. */
  async function isAsked(): Promise<boolean> {
    const asked = stop?.aborted ?? false;
    if (world.size === 1) return asked;
    const all = new Float32Array(1);
    await world.sum(Float32Array.of(asked ? 1 : 0), all);
    return all[0]! > 0;
  }

  /** Measures and draws what is due at the end of an epoch or of the run. */
  async function endEpoch(means: EpochLine, moment: Moment, seen: Accuracies | undefined): Promise<void> {
    const trainedOn = steps * config.batch;
    const due = { ...{ device, config, parts, world, trainedOn, onLooked, warn }, ...moment };
    await logEvaluation({ ...means, ...(seen ?? (await accuracies(teacher, due))) });
    if (isDue(config.picturesEvery, moment)) await output.draw();
  }

  /** Keeps what a step came to from which no run goes on; all ranks come to it alike, though one may be the cause. */
  async function dumpNotFinite(error: unknown): Promise<never> {
    if (!(error instanceof NotFiniteError)) throw error;
    const { message } = await told(error);
    const path = await output.dump(error.dump);
    throw new Error(`${message}, and ${path} holds the batch of this step and what it left`, { cause: error });
  }

  /** Of the errors that all ranks have come to, the one that names a cause; at rank 0, for which the others wait. */
  async function told(own: NotFiniteError): Promise<{ readonly message: string }> {
    if (world.size === 1) return own;
    const said = await toFirst(world, { message: own.message, isNamed: own.isNamed });
    if (!isFirst) await world.broadcast(undefined); // until rank 0 ends all
    const rank = Math.max(
      0,
      said.findIndex(({ isNamed }) => isNamed),
    );
    return { message: `${said[rank]!.message} on rank ${rank}` };
  }
}

/** The last checkpoint of a run that is whole. Throws where none is, and for one of a run with other settings. */
async function lastCheckpoint(
  config: Config,
  { steps, warn }: { readonly steps: number; readonly warn: (words: string) => void },
): Promise<Checkpoint> {
  const { checkpoint, path, damaged } = await readFirstWhole(await checkpointsIn(config.out));
  for (const { path: broken, message } of damaged) {
    await rename(broken, `${broken}.damaged`); // else it would be kept in the place of the one that is whole
    warn(`${message}; going on from step ${checkpoint.step}, which ${path} holds, and keeping it as ${broken}.damaged`);
  }
  const name = differenceBetween(config, checkpoint.config, mayDiffer);
  if (name === undefined) {
    if (checkpoint.step <= steps) return checkpoint;
    throw new Error(
      `${path}: ${checkpoint.step} steps are done, more than the run's ${steps}; raise --steps or --epochs`,
    );
  }
  const [wanted, has] = [config, checkpoint.config].map((settings) => JSON.stringify(settings[name]));
  throw new Error(
    `${path} is of a run with ${flagOf(name)} ${has}, but ${filesOf(config.out).config} says ${wanted}: it belongs to another run; ` +
      "put this run's own checkpoint back, or begin from its weights with --init in another --out",
  );
}

/** The threads that make crops, where it is not one for each core: as the settings say, or this rank's share of its machine. */
function threadsOf({ threads }: Config, { localSize }: World): { readonly threads?: number } {
  if (threads !== null) return { threads };
  const cores = availableParallelism();
  if (localSize === 1 || cores < cpus().length) return {}; // alone, or bound by the launcher to cores of its own
  return { threads: Math.max(1, Math.floor(cores / localSize)) };
}

/** Besides what may change when a run goes on: what its length decides, and what only chose other settings. */
const mayDiffer: ReadonlySet<SettingName> = new Set([
  ...changeableOnResume,
  ...(["preset", "warmupEpochs", "warmupTeacherTempEpochs"] as const),
]);

/** Throws where the folder has no room for the checkpoints of a run: the last, the one before, the one being written. */
async function expectRoom(out: string, { student, teacher, step }: TrainingState): Promise<void> {
  const held = [
    ...[student, teacher].flatMap(({ params, buffers }) => [params, buffers]),
    ...Object.values(step.optimizer.state),
  ];
  const bytes = held.reduce((sum, params) => sum + 4 * (params?.layout.size ?? 0), 0);
  const there = (await checkpointsIn(out)).length;
  const needed = bytes * Math.max(1, 3 - there);
  const { bavail, bsize } = await statfs(out);
  if (bavail * bsize >= needed) return;
  const mebibytes = (count: number) => `${Math.ceil(count / 2 ** 20)} MiB`;
  throw new Error(
    `--out ${out}: expected room for checkpoints of ${mebibytes(bytes)}, ${mebibytes(needed)} in all, but ${mebibytes(bavail * bsize)} are free; ` +
      "free some, or name another --out",
  );
}

/** The step of those that a process takes whose kernels are timed: by then all are compiled and warm. */
const PROFILED_STEP = 10;

/** The end of an epoch. */
interface Moment {
  readonly epochsDone: number;
  /** Whether this is the end of the run, where all is measured that ever is. */
  readonly ends: boolean;
}

/** Whether it is time for what comes every so many epochs; 0 for never. */
function isDue(every: number, { epochsDone, ends }: Moment): boolean {
  return every > 0 && (epochsDone % every === 0 || ends);
}

interface Due extends OnlineOptions, Moment {
  readonly parts: Parts;
  readonly world: World;
  /** Images that all steps of the run take, each as often as it comes. */
  readonly trainedOn: number;
  readonly onLooked: OnLooked;
  readonly warn: (words: string) => void;
}

/**
 * What is to be measured after so many epochs; of several ranks the first measures. What nobody asked for and fails ends no run
 * of one rank; others would wait for each other.
 */
async function accuracies(network: Network, due: Due): Promise<Accuracies> {
  const { config, warn } = due;
  const linear = isDue(config.linearEvery, due);
  const isAsked = linear || isDue(config.knnEvery ?? 0, due);
  if (!isAsked && !(config.knnEvery === null && due.ends)) return {};
  const knn = config.knnEvery === null ? due.ends : isDue(config.knnEvery, due);
  const compared = comparedParts(due.parts, config, due.trainedOn);
  const parts = linear ? due.parts : compared;
  if (!parts) return {};
  try {
    return await measure(network, { ...due, parts, knn, linear, areTrainedOn: compared?.areTrainedOn ?? false });
  } catch (error) {
    if (isAsked || due.world.size > 1 || isCausedBy(error, DeviceLostError)) throw error;
    warn(`k-NN could not be measured: ${(error as Error).message}`);
    return {};
  }
}

interface Measured extends Due {
  readonly knn: boolean;
  readonly linear: boolean;
  readonly areTrainedOn: boolean;
}

async function measure(network: Network, measured: Measured): Promise<Accuracies> {
  const { world, knn, linear } = measured;
  const looking: Looking | undefined =
    world.size === 1
      ? undefined
      : { shareOf: (indices) => runOf(indices, world), gather: (own) => gatherFeatures(world, own) };
  const features = await featuresOf(network, { ...measured, looking });
  if (world.rank > 0) return {};
  const linearly = linear && { linear: await linearOf(features, measured) }; // before k-NN normalises the features
  return { ...(knn && { knn: await knnOf(features, measured) }), ...linearly };
}
