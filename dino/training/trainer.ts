/** A training under way, wherever it runs: batches in, steps on the GPU, lines for a log and states to go on from out. */
import { type Device, download, type LossScale, type NonFinite, sizeOf, withChoices } from "../../engine/index.js";
import { type Sharer, shareOfRows } from "../batches/batch-share.js";
import type { Batch, Batches, BatchOptions } from "../batches/batches.js";
import type { Checkpoint, Losses } from "../weights/checkpoint-bytes.js";
import { collapseWatch } from "./collapse.js";
import type { Config } from "../config/settings.js";
import { createCropMaker, type CropMaker } from "../batches/crop-maker.js";
import { dataWatch } from "../batches/data-watch.js";
import type { ImageSet } from "../images/image-set.js";
import { lengthOf, meansOver, schedules } from "./schedule.js";
import type { EpochLine, StepLine } from "../run/log.js";
import { createNetwork, type Network, writeNetwork } from "../model/network.js";
import type { Peers } from "./collectives.js";
import { type RandomKey, rng } from "../math/random.js";
import type { StepProfile } from "../run/step-profile.js";
import { createStep, type StepOutput, type TrainingStep } from "./step.js";
import { batchOf, restore, stateOf, type TrainingState } from "./training-state.js";
import { GLOBAL_CROPS } from "../batches/crop-layout.js";
import { runProfiled } from "./profiled-step.js";
import { augmentOptions, networkConfig, stepConfig } from "../config/derive.js";

export interface TrainerOptions {
  readonly device: Device;
  /** With warm-ups that fit into the run, see fitWarmups. */
  readonly config: Config;
  readonly images: ImageSet;
  /** The images to train on, in ascending order. */
  readonly indices: Int32Array;
  readonly begin: Beginning;
  /** Devices that have a share of every batch each; this one has all of it if left out. */
  readonly peers?: Peers | undefined;
  readonly openBatches: (options: BatchOptions) => Batches;
  /** Told what goes wrong without ending the training. */
  readonly onWarning: (words: string) => void;
}

/** What student and teacher start from, both from the same, or the state that a training goes on from. */
export type Beginning = { readonly values: ReadonlyMap<string, Float32Array> } | { readonly checkpoint: Checkpoint };

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

/** A step that was done. */
export interface StepTaken extends Progress {
  /** Where an interval of the log ends with it. */
  readonly line: StepLine | undefined;
  /** Where an epoch or the run ends with it; without accuracies. */
  readonly epochLine: EpochLine | undefined;
  /** Where it was asked for. */
  readonly profile: StepProfile | undefined;
}

/** A student and its teacher in training. Dispose of it to free its memory and to end its batches. */
export interface Trainer extends TrainingState, AsyncDisposable {
  /** With the kernels that the training was begun with. */
  readonly device: Device;
  readonly iterationsPerEpoch: number;
  /** Of the whole run. */
  readonly steps: number;
  /** Steps done. */
  readonly done: number;
  /**
   * Does the next step; `profiles` times its kernels, with the same result. Throws NotFiniteError on a loss that is not
   * finite; in f16 only where a smaller scale of the loss does not help.
   */
  takeStep(options?: { readonly profiles?: boolean }): Promise<StepTaken>;
  /** Does what is no training between two steps: it counts in no rate. */
  aside<T>(work: () => Promise<T>): Promise<T>;
  /** All that a training needs to go on from here, to the byte. */
  state(): Promise<Checkpoint>;
}

/** A loss that is not finite. */
export class NotFiniteError extends Error {
  constructor(
    message: string,
    /** What the step left, and the batch and the knobs that it was given. */
    readonly dump: Checkpoint,
    /** Whether the message names the tensor that it began with. */
    readonly isNamed: boolean,
  ) {
    super(message);
  }
}

/**
 * Makes a student and its teacher ready to be trained (DINO, algorithm 1) as `config` says. The same seed on the same adapter
 * gives the same bytes, also where a training goes on from a state. Throws where state or images do not fit the settings.
 */
export async function openTrainer(options: TrainerOptions): Promise<Trainer> {
  const { config, images, indices, begin, peers, onWarning: warn } = options;
  const share = peers ?? { rank: 0, size: 1 };
  const checkpoint = "checkpoint" in begin ? begin.checkpoint : undefined;
  const device = checkpoint ? withChoices(options.device, checkpoint.choices) : options.device;
  const length = lengthOf(config, indices.length);
  const { iterationsPerEpoch, steps } = length;
  const schedule = schedules(config, length);
  let done = checkpoint?.step ?? 0;
  let unlogged = checkpoint?.unlogged ?? { interval: NO_LOSSES, epoch: NO_LOSSES };

  const cropsOnDevice = config.cropsOn === "gpu" || (config.cropsOn === "auto" && device.kernels === "gpu");
  const batches = options.openBatches({
    images,
    indices,
    batch: config.batch,
    parts: config.accumulate,
    ...{ seed: config.seed, shuffleBuffer: config.shuffleBuffer },
    augment: augmentOptions(config),
    onDevice: cropsOnDevice,
    share,
    start: { epoch: Math.floor(done / iterationsPerEpoch), iteration: done % iterationsPerEpoch },
  });
  const opened = await openOnDevice(device, {
    config,
    begin,
    peers,
    batches: cropsOnDevice ? batches : undefined,
  }).catch(async (error: unknown) => {
    await batches.close();
    throw error;
  });
  const { student, teacher, step } = opened;

  const skipped = new Set<number>();
  const watch = collapseWatch(config.outDim, config.centering);
  const watchData = dataWatch(images.shards !== undefined && config.shuffleBuffer === 0);
  const nothingYet = () => ({
    ...{ steps: 0, startMs: performance.now(), waitedMs: 0, ready: 0 },
    peersMs: step.program.waitedMs(),
  });
  let interval = nothingYet();

  async function state(): Promise<Checkpoint> {
    return { config, step: done, unlogged, choices: device.choices, tensors: await stateOf(opened) };
  }

  async function takeStep({ profiles = false }: { readonly profiles?: boolean } = {}): Promise<StepTaken> {
    const batch = await batches.next();
    for (const [index, { path, reason }] of images.failures) {
      if (skipped.size < skipped.add(index).size) warn(`${path}: skipped: ${reason}`);
    }
    const knobs = schedule(done);
    await writeCrops(opened, batch);
    step.knobs.write(knobs);
    writeDrops(step, config, share, { seed: config.seed, epoch: batch.epoch, index: batch.iteration });
    const profile = profiles ? await runProfiled(step, device, done + 1) : undefined;
    if (!profile) await step.program.run();
    const loss = await step.program.readScalar("loss");
    if (Number.isFinite(loss))
      unlogged = { interval: plus(unlogged.interval, loss), epoch: plus(unlogged.epoch, loss) };
    else if (!(await wasSkipped(step, student))) {
      const { tensors, ...rest } = await state();
      const dump = { ...rest, tensors: new Map([...tensors, ...(await batchOf(step, knobs))]) };
      const finding = await step.program.check();
      throw new NotFiniteError(describeNotFinite(finding, { loss, step: done }), dump, finding !== undefined);
    }
    done++;
    interval.steps++;
    interval.waitedMs += batch.waitedMs;
    interval.ready += batch.ready;
    const seconds = (performance.now() - interval.startMs) / 1000;
    const imagesPerSecond = (interval.steps * config.batch) / seconds;
    const { epoch } = batch;

    let line: StepLine | undefined;
    if (done % config.logEvery === 0 || done === steps) {
      line = {
        ...{ step: done, epoch, loss: mean(unlogged.interval) },
        ...(await observe(step, { loss, hasKoleo: config.koleo > 0 })),
        ...{ lr: knobs.lr, weightDecay: knobs.weightDecay, momentum: knobs.momentum },
        teacherTemperature: knobs.teacherTemperature,
        ...(step.lossScale && { lossScale: await expectLossScale(step.lossScale, done) }),
        imagesPerSecond,
        dataWaitMs: interval.waitedMs,
        batchesReady: interval.ready / interval.steps,
        ...(peers && { peersWaitMs: step.program.waitedMs() - interval.peersMs }),
      };
      for (const warning of [watch(line), watchData(interval)]) if (warning !== undefined) warn(warning);
      unlogged = { ...unlogged, interval: NO_LOSSES };
      interval = nothingYet();
    }
    let epochLine: EpochLine | undefined;
    const epochEnds = done % iterationsPerEpoch === 0;
    if (epochEnds || done === steps) {
      const means = meansOver(schedule, { from: epoch * iterationsPerEpoch, to: done });
      epochLine = { type: "epoch", step: done, epoch, loss: mean(unlogged.epoch), ...means };
      if (epochEnds) unlogged = { ...unlogged, epoch: NO_LOSSES };
    }
    return { step: done, steps, epoch, loss, lr: knobs.lr, imagesPerSecond, line, epochLine, profile };
  }

  return {
    ...{ device, student, teacher, step, iterationsPerEpoch, steps, takeStep, state },
    get done() {
      return done;
    },
    async aside(work) {
      const beganMs = performance.now();
      const result = await work();
      interval.startMs += performance.now() - beganMs;
      return result;
    },
    async [Symbol.asyncDispose]() {
      opened[Symbol.dispose]();
      await batches.close();
    },
  };
}

interface OnDevice extends TrainingState, Disposable {
  /** Where the device makes the crops. */
  readonly maker: CropMaker | undefined;
}

/** All that a training has on a device; `batches` are those that it makes crops of. */
async function openOnDevice(
  device: Device,
  {
    config,
    begin,
    peers,
    batches,
  }: Pick<TrainerOptions, "config" | "begin" | "peers"> & { readonly batches: Batches | undefined },
): Promise<OnDevice> {
  const owned: Disposable[] = [];
  const own = <T extends Disposable>(x: T): T => {
    owned.push(x);
    return x;
  };
  const dispose = () => {
    for (const x of owned.reverse()) x[Symbol.dispose]();
  };
  try {
    const network = networkConfig(config);
    const student = own(createNetwork(device, network, "student"));
    const teacher = own(createNetwork(device, network, "teacher"));
    const batch = config.batch / (peers?.size ?? 1);
    const step = own(await createStep(device, { student, teacher, ...stepConfig(config), batch, peers }));
    if ("checkpoint" in begin) restore({ student, teacher, step }, begin.checkpoint);
    else for (const network of [student, teacher]) writeNetwork(network, begin.values);
    const maker = batches && own(await openCropMaker(device, { step, config, batch, batches }));
    return { student, teacher, step, maker, [Symbol.dispose]: dispose };
  } catch (error) {
    dispose();
    throw error;
  }
}

/** Crops made on the device, right where the step reads them. */
function openCropMaker(
  device: Device,
  {
    step,
    config,
    batch,
    batches,
  }: {
    readonly step: TrainingStep;
    readonly config: Config;
    /** Images on this device. */
    readonly batch: number;
    readonly batches: Batches;
  },
): Promise<CropMaker> {
  const { mean, std } = config;
  const locals = step.locals ? [{ crops: config.localCropsNumber, out: step.locals }] : [];
  return createCropMaker(device, {
    pictures: batch,
    parts: config.accumulate,
    pixelsPerPicture: batches.pixelsPerPicture,
    groups: [{ crops: GLOBAL_CROPS, out: step.globals }, ...locals],
    ...{ mean, std },
  });
}

/** Brings the crops of a batch to the step, or makes them there. */
async function writeCrops({ step, maker }: OnDevice, batch: Batch): Promise<void> {
  if (maker) {
    maker.write(batch.pixels, batch.pictures);
    await maker.run();
    return;
  }
  step.globals.write(batch.globals);
  step.locals?.write(batch.locals);
}

/** Draws what drop path drops in a step, for the whole batch, of which this device has a share. */
function writeDrops(
  { drops }: TrainingStep,
  { batch, accumulate }: Config,
  share: Sharer,
  key: Omit<RandomKey, "purpose">,
): void {
  const images = batch / accumulate / share.size;
  drops.forEach((drop, use) => {
    const random = rng({ ...key, purpose: `drop path ${use}` });
    const all = Float32Array.from({ length: sizeOf(drop.shape) * share.size }, () => random.uniform());
    drop.write(shareOfRows(all, images, share));
  });
}

/** What a line of the log says of the last step alone. */
async function observe(
  { program }: TrainingStep,
  { loss, hasKoleo }: { readonly loss: number; readonly hasKoleo: boolean },
) {
  const scalar = (name: StepOutput) => program.readScalar(name);
  const teacherEntropy = await scalar("teacherEntropy");
  return {
    ...(hasKoleo && { koleo: await scalar("koleo") }),
    teacherEntropy,
    klDivergence: loss - teacherEntropy,
    meanTargetEntropy: entropy(await program.read("meanTargets")),
    studentSpread: 1 - (await scalar("studentCoherence")),
    teacherSpread: 1 - (await scalar("teacherCoherence")),
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

function describeNotFinite(
  finding: NonFinite | undefined,
  at: { readonly loss: number; readonly step: number },
): string {
  const culprit = finding
    ? `the first tensor that is not finite is ${finding.where} [${finding.shape.join(", ")}]`
    : "it does not recur";
  return `train: loss is ${at.loss} at step ${at.step}; ${culprit}. Lower --lr or --clip-grad; the last checkpoint is intact`;
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
