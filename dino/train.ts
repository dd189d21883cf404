/** The training loop: batches in, steps on the GPU, log lines and checkpoints out. */
import { rename, statfs } from "node:fs/promises";
import { join } from "node:path";
import { type Device, download, type LossScale, sizeOf, withChoices } from "../engine/index.js";
import { type Batches, openBatches } from "./batches.js";
import { type Checkpoint, type Losses, readFirstWhole, writeCheckpoint } from "./checkpoint.js";
import { writeFileAtomically, writeJson } from "./checkpoint-file.js";
import { collapseWatch } from "./collapse.js";
import {
  augmentOptions,
  changeableOnResume,
  type Config,
  differenceBetween,
  fitWarmups,
  flagOf,
  formatConfig,
  networkConfig,
  type SettingName,
  stepConfig,
} from "./config.js";
import type { Parts } from "./evaluate.js";
import { createCropMaker, type CropMaker } from "./crop-maker.js";
import { dataWatch } from "./data-watch.js";
import type { EpochLine, LogLine, StepLine } from "./log.js";
import { startValues } from "./init.js";
import { lengthOf, meansOver, schedules } from "./knobs.js";
import { createNetwork, type Network, writeNetwork } from "./network.js";
import { featuresOf, knnOf, linearOf, type OnlineOptions } from "./online-evaluation.js";
import { rng } from "./random.js";
import { checkpointsIn, cutPictures, filesOf, removeRun, takeFolder } from "./run-folder.js";
import { openLog } from "./run-log.js";
import { drawRunPictures } from "./run-pictures.js";
import { runProfiled } from "./step-profile.js";
import { createStep, GLOBAL_CROPS, type TrainingStep } from "./step.js";
import { batchOf, restore, stateOf, type TrainingState } from "./training-state.js";

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
  /** What student and teacher start from; startValues of `config` if left out. */
  readonly initial?: ReadonlyMap<string, Float32Array> | undefined;
  /** Told after every step. */
  readonly onProgress?: (progress: Progress) => void;
  /** Told what goes wrong, or otherwise than was asked for, without ending the run. */
  readonly onWarning?: (words: string) => void;
  /** Takes the accuracies of an epoch where they were due. */
  readonly onEvaluated?: (line: EpochLine) => void;
  /** Looks at the networks before the first step, and so many times in even steps, the last time after the last step. */
  readonly visit?: { readonly times: number; readonly look: (networks: Networks) => Promise<void> };
}

/** What is trained, as it is after `step` steps. */
export interface Networks {
  readonly step: number;
  readonly student: Network;
  readonly teacher: Network;
}

/** How far a training is. */
export interface Progress {
  /** Steps done. */
  readonly step: number;
  /** Steps of the whole run. */
  readonly steps: number;
  readonly epoch: number;
  readonly loss: number;
  readonly lr: number;
  readonly imagesPerSecond: number;
}

export interface TrainSummary {
  readonly checkpoint: string;
  /** Of the whole run. */
  readonly steps: number;
  /** Steps done: fewer than `steps` where it was stopped. */
  readonly done: number;
  /** Loss of the last step; undefined where the run was complete already. */
  readonly loss: number | undefined;
  readonly warnings: readonly string[];
}

/**
 * Trains a student and its teacher (DINO, algorithm 1) as `config` says, into the folder `config.out`: config.json,
 * log.jsonl and log.txt, checkpoint.safetensors and numbered ones, pictures and profile.json where they are asked for. The
 * same seed on the same adapter gives the same bytes, also when a run is resumed. Throws on a non-finite loss, naming the
 * first bad kernel; in f16 only where a smaller scale of the loss does not help.
 */
export async function train(options: TrainOptions): Promise<TrainSummary> {
  const { parts, given, resume, visit, onProgress = () => undefined } = options;
  const warnings: string[] = [];
  const warn = (words: string) => {
    warnings.push(words);
    options.onWarning?.(words);
  };
  const { indices, images } = parts.train;
  const { iterationsPerEpoch, steps } = lengthOf(options.config, indices.length);
  const { config, notes } = fitWarmups(options.config, { iterationsPerEpoch, given });
  notes.forEach(warn);
  const schedule = schedules(config, { steps, iterationsPerEpoch });
  await using paths = await takeFolder(config.out);

  const checkpoint = resume ? await lastCheckpoint(config, warn) : undefined;
  const device = checkpoint ? withChoices(options.device, checkpoint.choices) : options.device;
  const network = networkConfig(config);
  using student = createNetwork(device, network, "student");
  using teacher = createNetwork(device, network, "teacher");
  using step = await createStep(device, { student, teacher, ...stepConfig(config) });
  let done = 0;
  let unlogged: Checkpoint["unlogged"] = { interval: NO_LOSSES, epoch: NO_LOSSES };
  if (checkpoint) {
    restore({ student, teacher, step }, checkpoint);
    ({ step: done, unlogged } = checkpoint);
    if (done > steps)
      throw new Error(
        `${paths.checkpoint}: ${done} steps are done, more than the run's ${steps}; raise --steps or --epochs`,
      );
  } else {
    const values = options.initial ?? (await startValues(device, config, warn));
    writeNetwork(student, values);
    writeNetwork(teacher, values);
  }
  if (!resume) await removeRun(config.out);
  await expectRoom(config.out, { student, teacher, step });
  await writeFileAtomically(paths.config, formatConfig(config));
  let saved = checkpoint?.step;
  /** What fails as it writes to the folder of the run leaves its last checkpoint whole: says so. */
  const written = (writing: Promise<void>): Promise<void> =>
    writing.catch((error: unknown) => {
      const whole = saved === undefined ? "there is no checkpoint yet" : `the checkpoint of step ${saved} is whole`;
      throw new Error(
        `${config.out}: expected to write there, but ${(error as Error).message}; ${whole}: see to the disk, then go on with --resume`,
        { cause: error },
      );
    });
  const append = await openLog(config, done);
  const log = (line: LogLine) => written(append(line));
  const state = async (): Promise<Checkpoint> => ({
    config,
    step: done,
    unlogged,
    choices: device.choices,
    tensors: await stateOf({ student, teacher, step }),
  });
  const save = async () => {
    if (saved === done) return;
    await written(writeCheckpoint(paths.checkpoint, await state(), { keep: paths.previous }));
    saved = done;
  };

  const cropsOnDevice = config.cropsOn === "gpu" || (config.cropsOn === "auto" && device.kernels === "gpu");
  await using batches = openBatches({
    images,
    indices,
    batch: config.batch,
    parts: config.accumulate,
    ...{ seed: config.seed, shuffleBuffer: config.shuffleBuffer },
    augment: augmentOptions(config),
    onDevice: cropsOnDevice,
    ...(config.threads !== null && { threads: config.threads }),
    start: { epoch: Math.floor(done / iterationsPerEpoch), iteration: done % iterationsPerEpoch },
  });
  using maker = cropsOnDevice ? await openCropMaker(device, { step, config, batches }) : undefined;
  const watch = collapseWatch(config.outDim, config.centering);
  const watchData = dataWatch(images.shards !== undefined && config.shuffleBuffer === 0);
  const corrupt = new Set<number>();
  const nothingYet = () => ({ steps: 0, startMs: performance.now(), waitedMs: 0, ready: 0 });
  let loss: number | undefined;
  await cutPictures(config.out, done);
  const write = (path: string, content: Uint8Array) => written(writeFileAtomically(path, content));
  const draw = () => drawRunPictures(teacher, done, { config, parts, write });
  const draws = config.picturesEvery > 0;
  const profiledStep = done + PROFILED_STEP;
  await visit?.look({ step: done, student, teacher });
  if (draws && done === 0) await draw();
  let interval = nothingYet();

  while (done < steps && !options.stop?.aborted) {
    const epoch = Math.floor(done / iterationsPerEpoch);
    const batch = await batches.next();
    for (const [index, { path, reason }] of images.failures) {
      if (corrupt.size < corrupt.add(index).size) warn(`${path}: skipped: ${reason}`);
    }
    const knobs = schedule(done);
    if (maker) {
      maker.write(batch.pixels, batch.pictures);
      await maker.run();
    } else {
      step.globals.write(batch.globals);
      step.locals?.write(batch.locals);
    }
    step.knobs.write(knobs);
    step.drops.forEach((drop, use) => {
      const random = rng({ seed: config.seed, epoch, index: done % iterationsPerEpoch, purpose: `drop path ${use}` });
      drop.write(Float32Array.from({ length: sizeOf(drop.shape) }, () => random.uniform()));
    });
    if (draws && done + 1 === profiledStep)
      await written(writeJson(paths.profile, await runProfiled(step, device, profiledStep)));
    else await step.program.run();
    loss = await step.program.readScalar("loss");
    if (Number.isFinite(loss))
      unlogged = { interval: plus(unlogged.interval, loss), epoch: plus(unlogged.epoch, loss) };
    else if (!(await wasSkipped(step, student))) {
      const dump = join(config.out, `not-finite-${done}.safetensors`);
      const { tensors, ...rest } = await state();
      await written(
        writeCheckpoint(dump, { ...rest, tensors: new Map([...tensors, ...(await batchOf(step, knobs))]) }),
      );
      throw await nonFinite(step, { loss, step: done, dump });
    }
    done++;
    if (visit && Math.floor((done * visit.times) / steps) > Math.floor(((done - 1) * visit.times) / steps)) {
      await visit.look({ step: done, student, teacher });
    }
    interval.steps++;
    interval.waitedMs += batch.waitedMs;
    interval.ready += batch.ready;
    const seconds = (performance.now() - interval.startMs) / 1000;
    const imagesPerSecond = (interval.steps * config.batch) / seconds;
    onProgress({ step: done, steps, epoch, loss, lr: knobs.lr, imagesPerSecond });

    if (done % config.logEvery === 0 || done === steps) {
      const seen = await observe(step);
      const line: StepLine = {
        ...{ step: done, epoch, loss: mean(unlogged.interval) },
        ...(config.koleo > 0 && { koleo: await step.program.readScalar("koleo") }),
        teacherEntropy: seen.teacherEntropy,
        klDivergence: loss - seen.teacherEntropy,
        meanTargetEntropy: seen.meanTargetEntropy,
        studentSpread: 1 - seen.studentCoherence,
        teacherSpread: 1 - seen.teacherCoherence,
        gradientNorm: seen.gradientNorm,
        ...{ lr: knobs.lr, weightDecay: knobs.weightDecay, momentum: knobs.momentum },
        teacherTemperature: knobs.teacherTemperature,
        ...(step.lossScale && { lossScale: await expectLossScale(step.lossScale, done) }),
        imagesPerSecond,
        dataWaitMs: interval.waitedMs,
        batchesReady: interval.ready / interval.steps,
      };
      await log(line);
      for (const warning of [watch(line), watchData(interval)]) if (warning !== undefined) warn(warning);
      unlogged = { ...unlogged, interval: NO_LOSSES };
      interval = nothingYet();
    }
    const epochEnds = done % iterationsPerEpoch === 0;
    const epochsDone = epoch + 1;
    if (epochEnds || done === steps) {
      const beganMs = performance.now();
      const due = { epochsDone, ends: done === steps };
      const line: EpochLine = {
        ...{ type: "epoch", step: done, epoch, loss: mean(unlogged.epoch) },
        ...meansOver(schedule, { from: epoch * iterationsPerEpoch, to: done }),
        ...(await accuracies(teacher, { device, config, parts, ...due })),
      };
      await log(line);
      if (line.knn ?? line.linear) options.onEvaluated?.(line);
      if (isDue(config.picturesEvery, due)) await draw();
      if (epochEnds) unlogged = { ...unlogged, epoch: NO_LOSSES };
      interval.startMs += performance.now() - beganMs; // which were no training
    }
    const everyStep = config.checkpointEvery > 0;
    if (done === steps || (everyStep ? done % config.checkpointEvery === 0 : epochEnds)) await save();
    if (epochEnds && config.saveckpFreq > 0 && epochsDone % config.saveckpFreq === 0) {
      const numbered = join(config.out, `checkpoint${String(epochsDone).padStart(4, "0")}.safetensors`);
      await written(writeCheckpoint(numbered, await state()));
    }
  }
  await save(); // where it was stopped
  return { checkpoint: paths.checkpoint, steps, done, loss, warnings };
}

/** The last checkpoint of a run that is whole. Throws where none is, and for one of a run with other settings. */
async function lastCheckpoint(config: Config, warn: (words: string) => void): Promise<Checkpoint> {
  const { checkpoint, path, damaged } = await readFirstWhole(await checkpointsIn(config.out));
  for (const { path: broken, message } of damaged) {
    await rename(broken, `${broken}.damaged`); // else it would be kept in the place of the one that is whole
    warn(`${message}; going on from step ${checkpoint.step}, which ${path} holds, and keeping it as ${broken}.damaged`);
  }
  const name = differenceBetween(config, checkpoint.config, mayDiffer);
  if (name === undefined) return checkpoint;
  const [wanted, has] = [config, checkpoint.config].map((settings) => JSON.stringify(settings[name]));
  throw new Error(
    `${path} is of a run with ${flagOf(name)} ${has}, but ${filesOf(config.out).config} says ${wanted}: it belongs to another run; ` +
      "put this run's own checkpoint back, or begin from its weights with --init in another --out",
  );
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

/** Crops made on the device, right where the step reads them. */
function openCropMaker(
  device: Device,
  { step, config, batches }: { readonly step: TrainingStep; readonly config: Config; readonly batches: Batches },
): Promise<CropMaker> {
  const { mean, std } = config;
  const locals = step.locals ? [{ crops: config.localCropsNumber, out: step.locals }] : [];
  return createCropMaker(device, {
    pictures: config.batch,
    parts: config.accumulate,
    pixelsPerPicture: batches.pixelsPerPicture,
    groups: [{ crops: GLOBAL_CROPS, out: step.globals }, ...locals],
    ...{ mean, std },
  });
}

async function observe({ program }: TrainingStep) {
  const scalar = (name: "teacherEntropy" | "studentCoherence" | "teacherCoherence") => program.readScalar(name);
  return {
    teacherEntropy: await scalar("teacherEntropy"),
    studentCoherence: await scalar("studentCoherence"),
    teacherCoherence: await scalar("teacherCoherence"),
    meanTargetEntropy: entropy(await program.read("meanTargets")),
    gradientNorm: Math.hypot(...(await program.read("norms"))),
  };
}

/** Below it the scaled gradients are smaller than the loss's own, so that f16 overflows for another reason than the scale. */
const LEAST_LOSS_SCALE = 1;

/** The scale of the loss. Throws where it has fallen too low to train on. */
async function expectLossScale({ state }: LossScale, step: number): Promise<number> {
  const scale = (await download(state))[0]!;
  if (scale >= LEAST_LOSS_SCALE) return scale;
  throw new Error(
    `train: the loss scale fell to ${scale} by step ${step}: the gradients overflow f16 at any scale. ` +
      "Lower --lr, or take --precision f32; the last checkpoint is intact",
  );
}

/**
 * Whether a loss that is not finite did no harm: the student alone overflowed f16, so that the optimizer skipped the step, and
 * nothing else keeps what it computed.
 */
async function wasSkipped({ program, lossScale }: TrainingStep, { buffers }: Network): Promise<boolean> {
  if (!lossScale || buffers) return false;
  const scale = (await download(lossScale.state))[0]!;
  return scale >= LEAST_LOSS_SCALE && Number.isFinite(await program.readScalar("teacherEntropy"));
}

async function nonFinite(
  { program }: TrainingStep,
  at: { readonly loss: number; readonly step: number; readonly dump: string },
): Promise<Error> {
  const finding = await program.check();
  const culprit = finding
    ? `the first tensor that is not finite is ${finding.where} [${finding.shape.join(", ")}]`
    : "it does not recur";
  return new Error(
    `train: loss is ${at.loss} at step ${at.step}; ${culprit}. Lower --lr or --clip-grad; the last checkpoint is intact, ` +
      `and ${at.dump} holds the batch of this step and what it left`,
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
}

/** What is to be measured after so many epochs. */
async function accuracies(network: Network, due: Due): Promise<Pick<EpochLine, "knn" | "linear">> {
  const { config } = due;
  const [knn, linear] = [isDue(config.knnEvery, due), isDue(config.linearEvery, due)];
  if (!knn && !linear) return {};
  const features = await featuresOf(network, due);
  const linearly = linear && { linear: await linearOf(features, due) }; // before k-NN normalises the features
  return { ...(knn && { knn: await knnOf(features, due) }), ...linearly };
}

const NO_LOSSES: Losses = { sum: 0, count: 0 };

function plus({ sum, count }: Losses, loss: number): Losses {
  return { sum: sum + loss, count: count + 1 };
}

function mean({ sum, count }: Losses): number {
  return sum / count;
}

function entropy(distribution: Float32Array): number {
  return distribution.reduce((sum, p) => (p > 0 ? sum - p * Math.log(p) : sum), 0);
}
