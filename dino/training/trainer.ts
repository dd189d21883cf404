/** A student and its teacher in training on one device, step by step. */
import { type Device, sizeOf, withChoices } from "../../engine/index.js";
import { type Shard, shardRows, WHOLE_BATCH } from "../batches/batch-shard.js";
import type { Batch, Batches, BatchOptions } from "../batches/batches.js";
import { GLOBAL_CROPS } from "../batches/crop-layout.js";
import { createCropMaker, type CropMaker } from "../batches/crop-maker.js";
import { augmentOptions } from "../config/derive.js";
import type { Config } from "../config/settings.js";
import type { ImageSet } from "../images/image-set.js";
import { type RandomKey, rng } from "../math/random.js";
import { writeNetwork } from "../model/network.js";
import type { EpochLine, StepLine } from "../run/log.js";
import type { StepProfile } from "../run/step-profile.js";
import type { Checkpoint } from "../weights/checkpoint-bytes.js";
import type { Peers } from "./collectives.js";
import { createTraining } from "./create-training.js";
import { drawMasks } from "./dinov2-masks.js";
import { openMeter } from "./meter.js";
import { notFinite, readLosses, type StepLosses, wasSkipped } from "./not-finite.js";
import { runProfiled } from "./profiled-step.js";
import { lengthOf, schedules } from "./schedule.js";
import type { TrainingStep } from "./step-inputs.js";
import { maskOptions } from "./step-options.js";
import { restore, stateOf, type TrainingState } from "./training-state.js";

export interface TrainerOptions {
  readonly device: Device;
  /** Settings with warm-ups that fit the run, see `fitWarmups`. */
  readonly config: Config;
  readonly images: ImageSet;
  /** The images to train on, in ascending order. */
  readonly indices: Int32Array;
  readonly initialState: InitialState;
  /** Devices that share every batch; this device alone if left out. */
  readonly peers?: Peers | undefined;
  /** Batches opened with `batchOptions`. */
  readonly batches: Batches;
  /** Called with problems that do not end the training. */
  readonly onWarning: (words: string) => void;
  /** Called once for each step, in order, when its loss is known. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** Initial state: common initial values of student and teacher, or a checkpoint to resume from. */
export type InitialState = { readonly values: ReadonlyMap<string, Float32Array> } | { readonly checkpoint: Checkpoint };

/** Progress of a training. */
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

/** Result of a step, without its loss, which may not be known yet. */
export interface StepResult extends Pick<Progress, "step" | "steps" | "epoch"> {
  /** The log line, if a log interval ends with this step. */
  readonly line: StepLine | undefined;
  /** The epoch line, if an epoch or the run ends with this step; without accuracies. */
  readonly epochLine: EpochLine | undefined;
  /** Kernel times, if requested. */
  readonly profile: StepProfile | undefined;
}

/** A student and its teacher in training. Dispose of it to free its memory and close its batches. */
export interface Trainer extends TrainingState, AsyncDisposable {
  /** The device, with the kernel choices of the start of the training. */
  readonly device: Device;
  readonly iterationsPerEpoch: number;
  /** Steps of the whole run. */
  readonly steps: number;
  /** Steps done. */
  readonly done: number;
  /**
   * Submits the next step, then waits for the loss of the one before, so that the device always has work; waits for its
   * own loss too if a line of the log ends with it. `profiles` also times the kernels, with the same result. Throws
   * NotFiniteError on a non-finite loss; in f16 only if a smaller loss scale does not help.
   */
  runStep(options?: { readonly profiles?: boolean }): Promise<StepResult>;
  /** Waits for the loss of the last submitted step. Throws like `runStep`. */
  settle(): Promise<void>;
  /** Settles, and runs work between steps, excluded from images/s. */
  runAside<T>(work: () => Promise<T>): Promise<T>;
  /** Settles, and returns the complete state, from which training resumes byte-identically. */
  state(): Promise<Checkpoint>;
}

/**
 * Prepares a student and its teacher for training (DINO, algorithm 1) by `config`. The same seed on the same adapter
 * gives the same bytes, also after resuming. Takes ownership of `batches`, and closes them if it throws: if state or
 * images do not fit the settings.
 */
export async function openTrainer(options: TrainerOptions): Promise<Trainer> {
  const { config, images, indices, batches, initialState, peers, onWarning, onProgress } = options;
  const shard = peers ?? WHOLE_BATCH;
  const checkpoint = "checkpoint" in initialState ? initialState.checkpoint : undefined;
  const device = checkpoint ? withChoices(options.device, checkpoint.choices) : options.device;
  const length = lengthOf(config, indices.length);
  const schedule = schedules(config, length);
  const opened = await openOnDevice(device, { config, initialState, peers, batches });
  const { student, teacher, step } = opened;
  const meter = openMeter({
    config,
    length,
    schedule,
    step,
    onWarning,
    unlogged: checkpoint?.unlogged,
    readsShards: images.shards !== undefined && config.shuffleBuffer === 0,
    hasPeers: peers !== undefined,
  });
  const warnOfSkipped = skippedImages(images, onWarning);
  let done = checkpoint?.step ?? 0;
  let unsettled: SubmittedStep | undefined;

  const settledState = async (): Promise<Checkpoint> => {
    const [unlogged, tensors] = [meter.unlogged, await stateOf(opened)];
    return { config, step: done, images: indices.length, unlogged, choices: device.choices, tensors };
  };

  /** Waits for the losses of the last step, which become those of `next`. */
  async function settle(next?: SubmittedStep): Promise<void> {
    const last = unsettled;
    unsettled = next;
    if (!last) return;
    const { losses: reading, ...progress } = last;
    const losses = await reading;
    const { loss } = losses;
    if (Number.isFinite(loss)) meter.addLoss(loss);
    else if (!(await wasSkipped(step, student, losses)))
      throw await notFinite(step, await settledState(), { loss, at: last.step, values: schedule(done - 1) });
    onProgress?.({ ...progress, loss, imagesPerSecond: meter.imagesPerSecond() });
  }

  async function runStep({ profiles = false }: { readonly profiles?: boolean } = {}): Promise<StepResult> {
    const batch = await batches.next(); // crops of the images: two global ones, and local ones
    warnOfSkipped();
    await writeCrops(opened, batch);
    const values = schedule(done);
    step.hyperparameters.write(values);
    writeDraws(step, config, { ...batch, done, shard });

    // Teacher and student forward, loss, gradients, update of student, teacher and center: see createStep.
    const profile = profiles ? await runProfiled(step, device, done + 1) : undefined;
    if (!profile) await step.program.run();

    const { epoch } = batch;
    const progress = { step: ++done, steps: length.steps, epoch };
    await settle({ ...progress, lr: values.lr, losses: readLosses(step) });
    meter.count(batch);
    if (meter.isLineDue(done)) await settle();
    return { ...progress, profile, ...(await meter.lines({ done, epoch })) };
  }

  return {
    device,
    student,
    teacher,
    step,
    ...length,
    runStep,
    settle: () => settle(),
    async state() {
      await settle();
      return settledState();
    },
    get done() {
      return done;
    },
    async runAside(work) {
      await settle();
      return meter.exclude(work);
    },
    async [Symbol.asyncDispose]() {
      await unsettled?.losses.catch(() => undefined); // it reads what is disposed of next
      opened[Symbol.dispose]();
      await batches.close();
    },
  };
}

/** Returns a function that warns of images that could not be decoded since its last call. */
function skippedImages({ failures }: ImageSet, onWarning: (words: string) => void): () => void {
  const skipped = new Set<number>();
  return () => {
    for (const [index, { path, reason }] of failures)
      if (skipped.size < skipped.add(index).size) onWarning(`${path}: skipped: ${reason}`);
  };
}

/** A step whose losses are not known yet. */
interface SubmittedStep extends Omit<Progress, "loss" | "imagesPerSecond"> {
  readonly losses: Promise<StepLosses>;
}

/** Returns the options of a run's batches, from its first step on. */
export function batchOptions({
  config,
  device,
  images,
  indices,
  initialState,
  peers,
}: Omit<TrainerOptions, "batches" | "onWarning">): BatchOptions {
  const { iterationsPerEpoch } = lengthOf(config, indices.length);
  const done = "checkpoint" in initialState ? initialState.checkpoint.step : 0;
  return {
    images,
    indices,
    shard: peers,
    batch: config.batch,
    parts: config.accumulate,
    seed: config.seed,
    shuffleBuffer: config.shuffleBuffer,
    augment: augmentOptions(config),
    onDevice: config.cropsOn === "gpu" || (config.cropsOn === "auto" && device.kernels === "gpu"),
    start: { epoch: Math.floor(done / iterationsPerEpoch), iteration: done % iterationsPerEpoch },
  };
}

interface OnDevice extends TrainingState, Disposable {
  /** Crop maker, if the device makes the crops. */
  readonly maker: CropMaker | undefined;
}

/** Allocates networks, step and, if needed, a crop maker. Closes the batches if it throws. */
async function openOnDevice(
  device: Device,
  { config, initialState, peers, batches }: Pick<TrainerOptions, "config" | "initialState" | "peers" | "batches">,
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
    const batch = config.batch / (peers?.size ?? 1);
    const { student, teacher, step } = own(await createTraining(device, config, { batch, peers }));
    if ("checkpoint" in initialState) restore({ student, teacher, step }, initialState.checkpoint);
    else for (const into of [student, teacher]) writeNetwork(into, initialState.values);
    const cropsOnDevice = batches.pixelsPerPicture > 0;
    const maker = cropsOnDevice ? own(await openCropMaker(device, { step, config, batch, batches })) : undefined;
    return { student, teacher, step, maker, [Symbol.dispose]: dispose };
  } catch (error) {
    dispose();
    await batches.close();
    throw error;
  }
}

/** Opens a crop maker that writes directly into the inputs of the step. */
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
  const { isRgb, mean, std } = augmentOptions(config);
  const locals = step.locals ? [{ crops: config.localCropsNumber, out: step.locals }] : [];
  return createCropMaker(device, {
    pictures: batch,
    parts: config.accumulate,
    pixelsPerPicture: batches.pixelsPerPicture,
    groups: [{ crops: GLOBAL_CROPS, out: step.globals }, ...locals],
    isRgb,
    mean,
    std,
  });
}

/** Uploads the crops of a batch to the step, or makes them on the device. */
async function writeCrops({ step, maker }: OnDevice, batch: Batch): Promise<void> {
  if (maker) {
    maker.write(batch.pixels, batch.pictures);
    await maker.run();
    return;
  }
  step.globals.write(batch.globals);
  step.locals?.write(batch.locals);
}

interface Moment extends Pick<Batch, "epoch" | "iteration"> {
  /** Steps done. */
  readonly done: number;
  /** This device's share of the batch. */
  readonly shard: Shard;
}

/** Draws and uploads what a step draws besides crops: drop path, and in DINOv2 masks. */
function writeDraws(step: TrainingStep, config: Config, { epoch, iteration, done, shard }: Moment): void {
  const { seed } = config;
  const key = { seed, epoch, index: iteration };
  writeDrops(step, config, shard, key);
  for (const [use, order] of step.orders.entries()) {
    const random = rng({ ...key, purpose: `order ${use} of rank ${shard.rank}` }); // each device permutes its own samples
    order.write(random.permutation(sizeOf(order.shape)));
  }
  if (step.masks.length > 0) drawMasks(step.masks, maskOptions(config), { seed, step: done, shard });
}

/** Draws the random numbers of drop path for the whole batch and uploads this device's share. */
function writeDrops(
  { drops }: TrainingStep,
  { batch, accumulate }: Config,
  shard: Shard,
  key: Omit<RandomKey, "purpose">,
): void {
  const images = batch / accumulate / shard.size;
  drops.forEach((drop, use) => {
    const random = rng({ ...key, purpose: `drop path ${use}` });
    const all = Float32Array.from({ length: sizeOf(drop.shape) * shard.size }, () => random.uniform());
    drop.write(shardRows(all, images, shard));
  });
}
