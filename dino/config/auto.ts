/**
 * Choice of the settings of `--preset auto` by the number and size of the images and the adapter, each with a reason.
 * They are starting points. The settings for software adapters were tried on the built-in images (lavapipe, seed 0, k =
 * 20: untrained 31.4 %, after 400 steps 46.3 %; with two more local crops of scale 0.2 to 0.5 39.7 %, of scale 0.5 to
 * 0.8 and global crops of 0.8 to 1 42.9 %); the settings for GPUs are untested.
 */
import { GLOBAL_CROPS } from "../batches/crop-layout.js";
import { formatMiB } from "../files/text.js";
import type { Size } from "../images/pixels.js";
import { backboneSize } from "./derive.js";
import { type Config, defaultConfig, type PartialConfig, type SettingName } from "./settings.js";

/** The properties of the images and the adapter that determine the settings. */
export interface Facts {
  /** Images to train on. */
  readonly images: number;
  /** Median length of the shorter side, in pixels. */
  readonly shortSide: number;
  /** Whether some images have transparent pixels; not known if left out. */
  readonly areTransparent?: boolean;
  /** Mean and standard deviation of a sample by channel, from 0 to 1; unknown if left out. */
  readonly mean?: Config["mean"];
  readonly std?: Config["std"];
  readonly adapter: Adapter;
  /** Memory available to a step besides the weights. */
  readonly memoryBytes: number;
}

export type Adapter = "gpu" | "software";

/** Related settings and the reason for them. */
export interface Choice {
  readonly settings: PartialConfig;
  readonly because: string;
}

/** The background that is chosen where images have transparent pixels. */
export const AUTO_BACKGROUND = "white";

/** Limits of a run per adapter. */
const LIMITS = {
  gpu: { name: "a GPU", pixels: 224, localCrops: 8, prototypes: 65536, steps: 20_000 },
  software: { name: "an adapter in software", pixels: 64, localCrops: 0, prototypes: 4096, steps: 400 },
} as const;

/** Larger images are read with this multiple of the crop's side, if they have more than twice of that. */
const READ = 4;
/** Smaller images are enlarged to this size. */
const LEAST_PIXELS = 16;
/** From this size on, the augmentation of the paper leaves enough detail. */
const PIXELS_OF_PHOTOS = 64;
/** The paper has 20: 1.28 million images for 65,536 prototypes. */
const IMAGES_PER_PROTOTYPE = 16;
/** The bounds of the number of epochs. */
const EPOCHS = { least: 30, most: 1000 };
/** From this width on, the official initialization, head, learning rate and temperature apply; below it, those of our own runs. */
const OFFICIAL_DIM = 384;

/** Chooses the settings that are neither `explicit` nor left at their defaults, each with a reason. */
export function chooseSettings(facts: Facts, explicit: PartialConfig = {}): readonly Choice[] {
  const choices: Choice[] = [];
  const draft: Draft = { facts, explicit, choose: chooseInto(choices, explicit) };
  chooseBackground(draft);
  chooseNormalization(draft);
  const crops = chooseCrops(draft);
  const network = chooseNetwork(draft);
  const batch = chooseBatch(draft, crops, network);
  const steps = chooseLength(draft, batch);
  chooseTeacher(draft, steps);
  if (isNarrow(network)) chooseNarrowLearning(draft, batch);
  return choices;
}

/** Records a choice of settings; returns these settings as the run will have them. */
type Choose = <Name extends SettingName>(settings: Pick<Config, Name>, because: string) => Pick<Config, Name>;

/** Inputs of every choice, and the function that records it. */
interface Draft {
  readonly facts: Facts;
  readonly explicit: PartialConfig;
  readonly choose: Choose;
}

/**
 * Returns a function that records settings in `choices`, except explicit ones and null, which leaves a setting at its
 * default.
 */
function chooseInto(choices: Choice[], explicit: PartialConfig): Choose {
  return <Name extends SettingName>(settings: Pick<Config, Name>, because: string): Pick<Config, Name> => {
    const isOpen = ([name, value]: [string, unknown]) => value !== null && explicit[name as Name] === undefined;
    const open = Object.entries(settings).filter(isOpen);
    if (open.length > 0) choices.push({ settings: Object.fromEntries(open), because });
    return { ...settings, ...Object.fromEntries(Object.entries(explicit).filter(([name]) => name in settings)) };
  };
}

/** Chooses a background where images have transparent pixels. */
function chooseBackground({ facts: { areTransparent }, choose }: Draft): void {
  if (areTransparent)
    choose({ background: AUTO_BACKGROUND }, "some images have transparent pixels, under which files often hide black");
}

/** Chooses the mean and standard deviation of the images where they are far from those of photographs, the default. */
function chooseNormalization({ facts: { mean, std }, choose }: Draft): void {
  if (!mean || !std) return;
  const isFar = ([c, value]: readonly [number, number]) => {
    const scale = defaultConfig.std[c]!;
    return Math.abs(value - defaultConfig.mean[c]!) > scale / 2 || std[c]! / scale < 0.5 || std[c]! / scale > 2;
  };
  if (![...mean.entries()].some(isFar)) return;
  choose(normalizationOf({ mean, std }), "measured on a few images, which are unlike photographs");
}

/** Least standard deviation by which pixels are divided, of channels that are nearly constant. */
const LEAST_STD = 0.01;

/** Returns measured mean and standard deviation as settings. */
export function normalizationOf({ mean, std }: Pick<Config, "mean" | "std">): Pick<Config, "mean" | "std"> {
  return { mean: mean.map(rounded), std: std.map((value) => rounded(Math.max(value, LEAST_STD))) };
}

type Crops = Pick<Config, "imageSize" | "patchSize" | "localCropsNumber" | "localSize">;

/** Chooses the sizes, number and augmentation of the crops. */
function chooseCrops({ facts: { shortSide, adapter }, explicit, choose }: Draft): Crops {
  const limits = LIMITS[adapter];
  const wanted = explicit.imageSize ? shorterOf(explicit.imageSize) : between(LEAST_PIXELS, shortSide, limits.pixels);
  const patch = explicit.patchSize ?? patchFor(wanted, adapter);
  const { imageSize, patchSize } = choose(
    { imageSize: square(inPatches(wanted, patch)), patchSize: patch },
    `the images have ${count(shortSide)} pixels on the shorter side, and ${limits.name} has time for ${limits.pixels}`,
  );
  const pixels = shorterOf(imageSize);
  if (shortSide > 2 * READ * pixels) {
    choose({ shortSide: READ * pixels }, `${READ} times the crop; larger images are shrunk while they are decoded`);
  }
  const { localCropsNumber } = choose(
    { localCropsNumber: limits.localCrops },
    adapter === "gpu" ? "as in the paper" : "in few steps the built-in images are learnt better from large crops alone",
  );
  const local = square(inPatches((pixels * 96) / 224, patchSize));
  const { localSize } =
    localCropsNumber > 0 ? choose({ localSize: local }, "3/7 of the side, as in the paper") : { localSize: local };
  if (localCropsNumber === 0)
    choose({ globalCropsScale: [0.25, 1] }, "where there are no others, global crops have to differ in scale too");
  if (pixels < PIXELS_OF_PHOTOS) {
    if (localCropsNumber > 0) choose({ localCropsScale: [0.2, 0.5] }, `less of ${pixels} pixels shows too little`);
    choose(
      { blurGlobal1: 0, blurGlobal2: 0, blurLocal: 0, evalResize: Math.max(imageSize.rows, imageSize.cols) },
      `a blur of up to 2 pixels hides what ${pixels} pixels show; evaluation sees all of them`,
    );
  }
  return { imageSize, patchSize, localCropsNumber, localSize };
}

/** Width and number of the blocks of a network. */
interface NetworkSize {
  readonly dim: number;
  readonly depth: number;
}

/** Chooses the backbone, its initialization and the head. */
function chooseNetwork({ facts, explicit, choose }: Draft): NetworkSize {
  const limits = LIMITS[facts.adapter];
  const network =
    explicit.arch === undefined
      ? choose(networkFor(facts), `${count(facts.images)} images, and what ${limits.name} has time for`)
      : { dim: null, depth: null, heads: null, ...explicit, arch: explicit.arch };
  const { dim, depth } = backboneSize(network);
  if (isNarrow({ dim })) {
    choose({ initStd: rounded(1 / Math.sqrt(dim)) }, `1 / sqrt(${dim}); 0.02 is made for ${OFFICIAL_DIM} or more`);
    choose(
      { hiddenDim: 4 * dim, bottleneckDim: Math.min(256, dim), useBnInHead: true, normLastLayer: false },
      `a head for ${dim} features, whose batch norm and free lengths let short runs begin to learn sooner`,
    );
  }
  if (depth < 12) choose({ dropPathRate: 0 }, `${depth} blocks need no stochastic depth`);
  choose(
    { outDim: between(256, powerOfTwo(facts.images / IMAGES_PER_PROTOTYPE), limits.prototypes) },
    `about ${IMAGES_PER_PROTOTYPE} images for each prototype, within 256 and ${count(limits.prototypes)}`,
  );
  return { dim, depth };
}

/** Chooses the batch and how a step of it fits into memory; returns the batch. */
function chooseBatch({ facts, explicit, choose }: Draft, crops: Crops, { dim, depth }: NetworkSize): number {
  const { imageSize, patchSize, localCropsNumber, localSize } = crops;
  const pixels = shorterOf(imageSize);
  const { batch } = choose(
    { batch: batchFor(facts, pixels) },
    `8 steps an epoch if it can be, and no more than ${LIMITS[facts.adapter].name} keeps busy with at ${pixels} pixels`,
  );
  const { memoryBytes } = facts;
  const tokens = GLOBAL_CROPS * tokensOf(imageSize, patchSize) + localCropsNumber * tokensOf(localSize, patchSize);
  const { bytes, ...saving } = fitMemory({ batch, tokens, dim, depth }, { memoryBytes, explicit });
  choose(
    saving,
    `a step then takes about ${formatMiB(bytes, count)} of the ${formatMiB(memoryBytes, count)} it may take`,
  );
  return batch;
}

/** Chooses the number of steps and the warm-up; returns the steps. */
function chooseLength({ facts: { images, adapter }, explicit, choose }: Draft, batch: number): number {
  const iterations = Math.max(1, Math.floor(images / batch)); // of an epoch
  const steps =
    explicit.steps ?? (explicit.epochs === undefined ? stepsFor(adapter, iterations) : explicit.epochs * iterations);
  if (explicit.epochs === undefined) {
    choose(
      { steps },
      adapter === "gpu"
        ? `${count(LIMITS.gpu.steps)}, but ${EPOCHS.least} to ${EPOCHS.most} epochs of ${count(iterations)}`
        : "what takes minutes in software; more give more",
    );
  }
  const warmup = { warmupEpochs: rounded(steps / iterations / 10), freezeLastLayer: steps < 20 * iterations ? 0 : 1 };
  choose(warmup, `a tenth of ${count(steps)} steps to warm up; the last layer frozen for an epoch if there are 20`);
  return steps;
}

/** Chooses the momentum of the teacher. */
function chooseTeacher({ choose }: Draft, steps: number): void {
  const isShort = steps < 1000;
  choose(
    { momentumTeacher: rounded(between(0.9, 1 - 8 / steps, 0.996)), momentumTeacherEnd: isShort ? 0.985 : 1 },
    `a teacher that is the mean of an eighth of ${count(steps)} steps, or of 250` +
      (isShort ? "; if it stood still at the end, it would stop learning too soon" : ""),
  );
}

/** Chooses the learning rate and the temperature of the teacher for a narrow network. */
function chooseNarrowLearning({ choose }: Draft, batch: number): void {
  choose(
    { lr: rounded((0.001 * 256) / batch), minLr: 1e-5 },
    `0.001 for a batch of ${batch}, with which small networks learn`,
  );
  choose(
    { teacherTemp: 0.03, warmupTeacherTemp: 0.03 },
    "what narrow networks learn the built-in images with; the paper's is 0.04",
  );
}

function isNarrow({ dim }: Pick<NetworkSize, "dim">): boolean {
  return dim < OFFICIAL_DIM;
}

/** Merges the settings of all choices. */
export function settingsOf(choices: readonly Choice[]): PartialConfig {
  return choices.reduce((all, { settings }) => ({ ...all, ...settings }), {});
}

/** Chooses the patch size: from 9 patches for the smallest images to 196 for the largest. */
function patchFor(pixels: number, adapter: Adapter): number {
  if (adapter === "software") return pixels < 24 ? 4 : 8;
  return pixels <= 48 ? 4 : pixels <= 112 ? 8 : 16;
}

function networkFor({ images, adapter }: Facts): Pick<Config, "arch" | "dim" | "depth" | "heads"> {
  if (adapter === "software") return { arch: "vit_tiny", dim: 64, depth: 3, heads: 2 };
  const depth = images < 10_000 ? 6 : null;
  return { arch: images < 200_000 ? "vit_tiny" : "vit_small", dim: null, depth, heads: null };
}

function batchFor({ images, adapter }: Facts, pixels: number): number {
  const most = adapter === "software" ? 32 : pixels <= 64 ? 256 : pixels <= 112 ? 128 : 64;
  return Math.min(between(8, powerOfTwo(images / 8), most), powerOfTwo(images));
}

function stepsFor(adapter: Adapter, iterations: number): number {
  const { steps } = LIMITS[adapter];
  return adapter === "software" ? steps : between(EPOCHS.least * iterations, steps, EPOCHS.most * iterations);
}

interface Activations {
  readonly batch: number;
  /** Tokens of all crops of an image. */
  readonly tokens: number;
  readonly dim: number;
  readonly depth: number;
}

/** Minimum images per part that keep a GPU busy and batch norm stable. */
const LEAST_PART = 16;

/** Splits a batch into parts, then recomputes blocks, then makes the parts smaller, until a step fits into memory. */
function fitMemory(
  activations: Activations,
  { memoryBytes, explicit }: { readonly memoryBytes: number; readonly explicit: PartialConfig },
): { readonly bytes: number; readonly accumulate: number; readonly recompute: boolean } {
  const { batch } = activations;
  let [accumulate, recompute] = [explicit.accumulate ?? 1, explicit.recompute ?? false];
  for (;;) {
    const bytes = stepBytes(activations, { accumulate, recompute });
    const canHalve = explicit.accumulate === undefined && batch % (2 * accumulate) === 0;
    const images = batch / accumulate;
    if (bytes <= memoryBytes || !(canHalve || (!recompute && explicit.recompute === undefined)))
      return { bytes, accumulate, recompute };
    if (canHalve && (images >= 2 * LEAST_PART || recompute || explicit.recompute !== undefined)) accumulate *= 2;
    else recompute = true;
  }
}

/**
 * Values per token that a block keeps for the backward, relative to its width: as planned for ViT-S/16, `npm run bench
 * -- --plan`.
 */
const KEPT = 17;

/** Estimates the memory of a step; with recompute, that of one block and the inputs of the others. */
function stepBytes(
  { batch, tokens, dim, depth }: Activations,
  { accumulate, recompute }: { readonly accumulate: number; readonly recompute: boolean },
): number {
  return ((4 * batch) / accumulate) * tokens * dim * (recompute ? KEPT + depth : KEPT * depth);
}

/** Counts the tokens of an image: patches and cls token. */
function tokensOf({ rows, cols }: Size, patch: number): number {
  return 1 + Math.floor(rows / patch) * Math.floor(cols / patch);
}

/** Rounds a side to whole patches, at least two. */
function inPatches(pixels: number, patch: number): number {
  return patch * Math.max(2, Math.round(pixels / patch));
}

function shorterOf({ rows, cols }: Size): number {
  return Math.min(rows, cols);
}

function square(side: number): Size {
  return { rows: side, cols: side };
}

function between(least: number, value: number, most: number): number {
  return Math.min(Math.max(least, value), most);
}

/** Returns the largest power of two up to `value`, at least 1. */
function powerOfTwo(value: number): number {
  return 2 ** Math.max(0, Math.floor(Math.log2(value)));
}

function rounded(value: number): number {
  return Number(value.toPrecision(3));
}

function count(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}
