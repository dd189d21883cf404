/** Opening a run: folder, initial state, batches, networks and logs. */
import { existsSync } from "node:fs";
import { rename, statfs } from "node:fs/promises";
import { availableParallelism, cpus } from "node:os";
import type { Device } from "../../engine/index.js";
import { openThreadedBatches } from "../batches/threaded-batches.js";
import { flagOf } from "../config/flags.js";
import { changeableOnResume, differenceBetween, fitWarmups } from "../config/resolve.js";
import type { Config, SettingName } from "../config/settings.js";
import type { OnLooked } from "../evaluation/online-evaluation.js";
import { formatMiB } from "../files/text.js";
import type { Splits } from "../images/split.js";
import type { Network } from "../model/network.js";
import { interruptible } from "../mpi/interruptible-world.js";
import { openReporter, type Reporter } from "../mpi/reports.js";
import { gather } from "../mpi/sharing.js";
import { singleWorld, type World } from "../mpi/world.js";
import type { Accuracies, EpochLine, EvaluationLine } from "../run/log.js";
import { checkpointsIn, runFiles, removeRun, lockRunFolder } from "../run/run-folder.js";
import type { Checkpoint } from "../weights/checkpoint-bytes.js";
import { readFirstWhole } from "../weights/checkpoint.js";
import { startValues } from "./init.js";
import { NotFiniteError } from "./not-finite.js";
import { noOutput, openRunOutput, type RunOutput } from "./run-output.js";
import { lengthOf } from "./schedule.js";
import { shareInitialState } from "./shared-state.js";
import { batchOptions, type InitialState, openTrainer, type Progress, type Trainer } from "./trainer.js";
import type { TrainingState } from "./training-state.js";

declare global {
  // Merged with the type that Node or a browser has of it.
  // eslint-disable-next-line @typescript-eslint/no-empty-object-type
  interface AbortSignal {}
}

export interface TrainOptions {
  readonly device: Device;
  readonly config: Config;
  /** Training and held-out images. */
  readonly splits: Splits;
  /** Settings given by the user: if they do not fit the run, it throws instead of shortening them. */
  readonly explicit: ReadonlySet<SettingName>;
  /** Resumes from the last complete checkpoint in the folder; otherwise the files of an earlier run are removed. */
  readonly resume: boolean;
  /** Once aborted, ends the run after the step that runs then, with a checkpoint. */
  readonly stop?: AbortSignal | undefined;
  /** The ranks of a distributed training; only rank 0 writes to the folder. A world of one if left out. */
  readonly world?: World | undefined;
  /** Initial values of student and teacher; `startValues` of `config` if left out. */
  readonly initial?: ReadonlyMap<string, Float32Array> | undefined;
  /** Called once for each step, when its loss is known. */
  readonly onProgress?: (progress: Progress) => void;
  /** Called with problems, and deviations from the settings, that do not end the run. */
  readonly onWarning?: (words: string) => void;
  /** Called with the number of images that an evaluation has processed. */
  readonly onEvaluating?: OnLooked;
  /** Called with the accuracies of an evaluation. */
  readonly onEvaluated?: (line: EpochLine | EvaluationLine) => void;
  /**
   * Evaluates the networks before the first step, and then `times` times at even intervals, the last time after the
   * last step. The returned accuracies are logged and replace those of --knn-every.
   */
  readonly visit?: {
    readonly times: number;
    readonly look: (networks: Networks, onEvaluating: OnLooked) => Promise<Accuracies | undefined>;
  };
}

/** Student and teacher after `step` steps. */
export interface Networks {
  readonly step: number;
  readonly student: Network;
  readonly teacher: Network;
}

/** An open run. Dispose of it to free the memory and unlock the folder. */
export interface Run extends AsyncDisposable {
  /** Settings with warm-ups that fit the run. */
  readonly config: Config;
  readonly splits: Splits;
  readonly world: World;
  readonly trainer: Trainer;
  /** Output to the folder; writes nothing at ranks above 0. */
  readonly output: RunOutput;
  readonly reporter: Reporter;
  readonly onEvaluating: OnLooked;
  readonly warn: (words: string) => void;
  /** All warnings so far. */
  readonly warnings: readonly string[];
}

/**
 * Locks the folder, opens networks and batches at the first step of the run, and truncates the logs to it. Throws if
 * another process trains there, if the folder has no room for checkpoints, and if it holds another run.
 */
export async function openRun(options: TrainOptions): Promise<Run> {
  const { splits, stop } = options;
  const warnings: string[] = [];
  const warn = (words: string): void => {
    warnings.push(words);
    options.onWarning?.(words);
  };
  const length = lengthOf(options.config, splits.train.indices.length);
  const { config, notes } = fitWarmups(options.config, { ...length, explicit: options.explicit });
  notes.forEach(warn);
  let saveState = (): Promise<void> => Promise.resolve(); // nothing to save yet
  const world = interruptible(options.world ?? singleWorld(), {
    stop,
    saveState: () => {
      warn(`${String(stop!.reason)}: the other ranks do not answer; keeping a checkpoint`);
      return saveState();
    },
  });
  const reporter = openReporter(world);
  const lock = world.rank === 0 ? await lockRunFolder(config.out) : undefined;
  try {
    const initialState = await shareInitialState(world, () =>
      initialStateOf(options, { config, steps: length.steps, warn }),
    );
    const trainer = await openTrainerOn(world, initialState, { ...options, config }, (words) => {
      reporter.warn(words);
      if (world.rank === 0) warn(words);
    });
    const output = await outputOf(trainer, world, { ...options, config, initialState });
    saveState = () => (world.rank === 0 ? output.save() : saveInPlaceOfFirst(trainer, { config, splits }));
    return {
      config,
      splits,
      world,
      trainer,
      output,
      reporter,
      warn,
      warnings,
      onEvaluating: (done, total) => options.onEvaluating?.(done, total),
      async [Symbol.asyncDispose]() {
        await trainer[Symbol.asyncDispose]();
        await lock?.[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await lock?.[Symbol.asyncDispose]();
    throw error;
  }
}

/** Loads the last complete checkpoint of a resumed run, or initial values. */
async function initialStateOf(
  { device, splits, resume, initial }: TrainOptions,
  { config, steps, warn }: Pick<Run, "config" | "warn"> & { readonly steps: number },
): Promise<InitialState> {
  if (resume) {
    const checkpoint = await lastCheckpoint(config, { steps, warn });
    warnOfOtherImages(checkpoint, splits.train.indices.length, warn);
    return { checkpoint };
  }
  return { values: initial ?? (await startValues(device, config, warn)) };
}

/** Warns if the number of training images has changed, by which steps are counted as epochs. */
function warnOfOtherImages({ images, step }: Checkpoint, now: number, warn: (words: string) => void): void {
  if (images === undefined || images === now) return;
  warn(
    `${now} training images instead of the ${images} up to step ${step}: epochs have another number of steps from now on, ` +
      "and the steps done are counted as epochs of the new length",
  );
}

/** Opens batches and networks for this rank's shard of every batch. */
function openTrainerOn(
  world: World,
  initialState: InitialState,
  { device, config, splits, onProgress }: TrainOptions,
  onWarning: (words: string) => void,
): Promise<Trainer> {
  const setup = { config, ...splits.train, device, initialState, peers: world.size > 1 ? world : undefined };
  const batches = openThreadedBatches({ ...batchOptions(setup), ...threadsOf(config, world) });
  return openTrainer({ ...setup, batches, onWarning, onProgress });
}

/** Opens the output of rank 0; other ranks write nothing. Disposes of the trainer if it throws. */
async function outputOf(
  trainer: Trainer,
  { rank }: World,
  { config, splits, resume, initialState }: TrainOptions & { readonly initialState: InitialState },
): Promise<RunOutput> {
  if (rank > 0) return noOutput();
  try {
    if (!resume) await removeRun(config.out);
    await expectRoom(config.out, trainer);
    const saved = "checkpoint" in initialState ? initialState.checkpoint.step : undefined;
    return await openRunOutput(trainer, { config, splits, saved });
  } catch (error) {
    await trainer[Symbol.asyncDispose]();
    throw error;
  }
}

/** Saves a checkpoint in place of rank 0, if that no longer holds the lock of the folder. */
async function saveInPlaceOfFirst(
  trainer: Trainer,
  { config, splits }: Pick<TrainOptions, "config" | "splits">,
): Promise<void> {
  if (!existsSync(runFiles(config.out).config)) return;
  await using lock = await lockRunFolder(config.out).catch(() => undefined);
  if (lock) await (await openRunOutput(trainer, { config, splits, saved: undefined })).save();
}

/**
 * Returns the number of threads that make crops: by settings, or this rank's share of its machine; one per core if left
 * out.
 */
function threadsOf({ threads }: Config, { localSize }: World): { readonly threads?: number } {
  if (threads !== null) return { threads };
  const cores = availableParallelism();
  if (localSize === 1 || cores < cpus().length) return {}; // alone, or bound to some cores by the launcher
  return { threads: Math.max(1, Math.floor(cores / localSize)) };
}

/** Returns whether any rank received a stop request, so that all stop after the same step. */
export async function isStopRequested(world: World, stop: AbortSignal | undefined): Promise<boolean> {
  const asked = stop?.aborted ?? false;
  if (world.size === 1) return asked;
  const all = new Float32Array(1);
  await world.sum(Float32Array.of(asked ? 1 : 0), all);
  return all[0]! > 0;
}

/**
 * Dumps the state after a step with a non-finite loss. All ranks call this, though only one may have caused it. Throws.
 */
export async function dumpNotFinite({ world, output }: Run, error: unknown): Promise<never> {
  if (!(error instanceof NotFiniteError)) throw error;
  const message = await namedCause(world, error);
  const path = await output.dump(error.dump);
  throw new Error(`${message}, and ${path} holds the batch of step ${error.dump.step} and what it left`, {
    cause: error,
  });
}

/** Returns the message of a rank that names a cause, or else of rank 0, at rank 0; other ranks wait for it. */
async function namedCause(world: World, own: NotFiniteError): Promise<string> {
  if (world.size === 1) return own.message;
  const messages = await gather(world, { message: own.message, isNamed: own.isNamed });
  if (world.rank > 0) await world.broadcast(undefined); // until rank 0 ends all processes
  const named = messages.findIndex(({ isNamed }) => isNamed);
  const rank = Math.max(0, named);
  return `${messages[rank]!.message} on rank ${rank}`;
}

/** Loads the last complete checkpoint. Throws if there is none, or if it is of a run with other settings. */
async function lastCheckpoint(
  config: Config,
  { steps, warn }: { readonly steps: number; readonly warn: (words: string) => void },
): Promise<Checkpoint> {
  const { checkpoint, path, damaged } = await readFirstWhole(await checkpointsIn(config.out));
  for (const { path: broken, message } of damaged) {
    await rename(broken, `${broken}.damaged`); // otherwise it would become the previous checkpoint
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
    `${path} is of a run with ${flagOf(name)} ${has}, but ${runFiles(config.out).config} says ${wanted}: it belongs to another run; ` +
      "put this run's own checkpoint back, or begin from its weights with --init in another --out",
  );
}

/**
 * Settings that may differ from the checkpoint: those changeable on resume, those that depend on the length, and those
 * that only select others.
 */
const mayDiffer: ReadonlySet<SettingName> = new Set([
  ...changeableOnResume,
  ...(["preset", "warmupEpochs", "warmupTeacherTempEpochs"] as const),
]);

/**
 * Throws if the folder has no room for the checkpoints of a run: the latest, the previous, and the one being written.
 */
async function expectRoom(out: string, { student, teacher, step }: TrainingState): Promise<void> {
  const held = [
    ...[student, teacher].flatMap(({ params, buffers }) => [params, buffers]),
    ...Object.values(step.optimizer.state),
  ];
  const bytes = held.reduce((sum, params) => sum + 4 * (params?.layout.size ?? 0), 0);
  const existing = (await checkpointsIn(out)).length;
  const needed = bytes * Math.max(1, 3 - existing);
  const { bavail, bsize } = await statfs(out);
  if (bavail * bsize >= needed) return;
  throw new Error(
    `--out ${out}: expected room for checkpoints of ${formatMiB(bytes)}, ${formatMiB(needed)} in all, but ${formatMiB(bavail * bsize)} are free; ` +
      "free some, or name another --out",
  );
}
