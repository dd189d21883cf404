/** Every setting of a training run, once: its default, its unit, where it comes from; flags and validation derive from it. */
import { z } from "zod";
import type { Sinkhorn } from "../engine/index.js";
import type { AugmentOptions } from "./augment.js";
import { MAX_PIXELS, type Size } from "./pixels.js";
import { isBuiltin } from "./builtin.js";
import { builtinPreset, presetNames, presets } from "./presets.js";
import { shown } from "./weights/words.js";

declare global {
  // Types of zod speak of it; merged with those of Node or a browser where a program has them.
  // eslint-disable-next-line @typescript-eslint/no-empty-object-type
  interface URL {}
}

/** Where a setting and its default come from. */
export type Source = "main_dino.py" | "main_dino.py, fixed there" | "vision_transformer.py" | "dinov2" | "ours";

/** One setting: what it is when nobody sets it, what it may be, and how a command line writes it. */
export interface Setting<T> {
  readonly default: T;
  /** Of the number, or what to put behind the flag: "epochs", "pixels", "0 to 1". */
  readonly unit: string;
  readonly about: string;
  readonly source: Source;
  /** Another flag for it: the official name where ours is shorter. */
  readonly alias?: string;
  readonly schema: z.ZodType<T>;
  /** What the schema accepts, for messages. */
  readonly expected: string;
  /** Words of a command line that one value takes; 0 for a switch, whose word may be left out. */
  readonly words: number;
  /** Those words as a value; what makes no sense is left to the schema. */
  readonly parse: (words: readonly string[]) => unknown;
}

type About = Pick<Setting<unknown>, "unit" | "about" | "source" | "alias">;
type Range = { readonly from?: number; readonly above?: number; readonly to?: number; readonly below?: number };

const main = "main_dino.py";
const fixed = "main_dino.py, fixed there";
const vit = "vision_transformer.py";
const dinov2 = "dinov2";
const ours = "ours";

/** All settings, in the order of the help. */
export const settings = {
  data: text("builtin", {
    unit: "images",
    about:
      "images to train on: a folder, WebDataset shards, Parquet, IDX or CIFAR files, mixtures of them (see below), or " +
      "`builtin`, the built-in images",
    source: ours,
    alias: "data-path",
  }),
  out: text("runs/train", { unit: "folder", about: "where the run is kept", source: ours, alias: "output-dir" }),
  preset: recipe({
    unit: "name",
    about: `a recipe: ${presetNames.join(", ")}; or auto, which goes by the images and the adapter; or none`,
    source: ours,
  }),

  arch: choice(["vit_tiny", "vit_small", "vit_base"], "vit_small", {
    unit: "name",
    about: "size of the ViT",
    source: main,
  }),
  patchSize: whole(16, { from: 1 }, { unit: "pixels", about: "side of a patch", source: main }),
  imageSize: size(224, { unit: "pixels", about: "size of global crops, N or ROWSxCOLS", source: fixed }),
  localSize: size(96, { unit: "pixels", about: "size of local crops, N or ROWSxCOLS", source: fixed }),
  dim: optional(whole(384, { from: 1 }), {
    unit: "features",
    about: "width of the ViT, instead of that of --arch",
    source: vit,
  }),
  depth: optional(whole(12, { from: 1, to: 1000 }), {
    unit: "blocks",
    about: "blocks of the ViT, instead of those of --arch",
    source: vit,
  }),
  heads: optional(whole(6, { from: 1 }), {
    unit: "heads",
    about: "attention heads, instead of those of --arch",
    source: vit,
  }),
  freezeBlocks: whole(
    0,
    { from: 0 },
    {
      unit: "blocks",
      about: "first blocks of the student that stay as they are, and all that comes before them; 0 for none of it",
      source: ours,
    },
  ),
  init: optional(text("", { unit: "file", about: "", source: ours }), {
    unit: "file",
    about: "weights to start from, of `dino import`, of a run, or what `dino import` reads; positions are resampled",
    source: ours,
  }),
  mlpRatio: number(4, { above: 0 }, { unit: "x width", about: "hidden width of the MLPs", source: vit }),
  initStd: number(
    0.02,
    { above: 0 },
    { unit: "std", about: "of the truncated normal that starts the backbone's weights", source: vit },
  ),
  dropPathRate: number(
    0.1,
    { from: 0, below: 1 },
    { unit: "0 to 1", about: "stochastic depth of the last block of the student", source: main },
  ),
  registers: whole(
    0,
    { from: 0 },
    {
      unit: "tokens",
      about: "learnt tokens beside the patches, for cleaner attention maps of large models; DINOv2 takes 4",
      source: dinov2,
    },
  ),

  outDim: whole(65536, { from: 2 }, { unit: "prototypes", about: "width of the head's output", source: main }),
  hiddenDim: whole(2048, { from: 1 }, { unit: "features", about: "hidden width of the head", source: vit }),
  bottleneckDim: whole(
    256,
    { from: 1 },
    { unit: "features", about: "width before the head's last layer", source: vit },
  ),
  headLayers: whole(3, { from: 1, to: 1000 }, { unit: "layers", about: "layers of the head's MLP", source: vit }),
  useBnInHead: flag(false, { unit: "true|false", about: "batch normalisation in the head", source: main }),
  normLastLayer: flag(true, {
    unit: "true|false",
    about: "fix the lengths of the last layer's rows at one",
    source: main,
  }),

  globalCropsScale: range(
    [0.4, 1],
    { above: 0, to: 1 },
    { unit: "share", about: "area of global crops", source: main },
  ),
  localCropsNumber: whole(8, { from: 0 }, { unit: "crops", about: "local crops of an image", source: main }),
  localCropsScale: range(
    [0.05, 0.4],
    { above: 0, to: 1 },
    { unit: "share", about: "area of local crops", source: main },
  ),
  cropRatio: range([3 / 4, 4 / 3], { above: 0 }, { unit: "width/height", about: "shape of crops", source: fixed }),
  flip: number(0.5, { from: 0, to: 1 }, { unit: "0 to 1", about: "probability of mirroring a crop", source: fixed }),
  jitter: number(0.8, { from: 0, to: 1 }, { unit: "0 to 1", about: "probability of changing colours", source: fixed }),
  brightness: number(0.4, { from: 0 }, { unit: "strength", about: "of the change of brightness", source: fixed }),
  contrast: number(0.4, { from: 0 }, { unit: "strength", about: "of the change of contrast", source: fixed }),
  saturation: number(0.2, { from: 0 }, { unit: "strength", about: "of the change of saturation", source: fixed }),
  hue: number(0.1, { from: 0, to: 0.5 }, { unit: "turns", about: "of the colour circle, at most", source: fixed }),
  grayscale: number(0.2, { from: 0, to: 1 }, { unit: "0 to 1", about: "probability of a gray crop", source: fixed }),
  blurGlobal1: number(
    1,
    { from: 0, to: 1 },
    { unit: "0 to 1", about: "probability of blur, first global crop", source: fixed },
  ),
  blurGlobal2: number(
    0.1,
    { from: 0, to: 1 },
    { unit: "0 to 1", about: "probability of blur, second global crop", source: fixed },
  ),
  blurLocal: number(
    0.5,
    { from: 0, to: 1 },
    { unit: "0 to 1", about: "probability of blur, local crops", source: fixed },
  ),
  blurRadius: range([0.1, 2], { above: 0 }, { unit: "pixels", about: "standard deviation of the blur", source: fixed }),
  solarizeGlobal1: number(
    0,
    { from: 0, to: 1 },
    { unit: "0 to 1", about: "probability of solarizing, first global crop", source: fixed },
  ),
  solarizeGlobal2: number(
    0.2,
    { from: 0, to: 1 },
    { unit: "0 to 1", about: "probability of solarizing, second global crop", source: fixed },
  ),
  solarizeLocal: number(
    0,
    { from: 0, to: 1 },
    { unit: "0 to 1", about: "probability of solarizing, local crops", source: fixed },
  ),
  solarizeThreshold: number(
    128,
    { from: 0, to: 256 },
    { unit: "0 to 256", about: "values from here on are inverted", source: fixed },
  ),
  maxPixels: whole(
    MAX_PIXELS,
    { from: 1 },
    { unit: "pixels", about: "of a picture; larger ones are skipped before they are decoded", source: ours },
  ),
  shuffleBuffer: whole(
    0,
    { from: 0 },
    {
      unit: "images",
      about:
        "that are shuffled at a time where files hold many, file after file in random order, for slow disks; 0 shuffles all",
      source: ours,
    },
  ),
  cropsOn: choice(["auto", "cpu", "gpu"], "auto", {
    unit: "where",
    about:
      "where crops are made: exactly as Pillow on the CPU, or faster on the GPU; auto is the GPU where it is a real one",
    source: ours,
  }),
  mean: triple(
    [0.485, 0.456, 0.406],
    {},
    { unit: "red green blue", about: "taken off the pixels, ImageNet's", source: fixed },
  ),
  std: triple(
    [0.229, 0.224, 0.225],
    { above: 0 },
    { unit: "red green blue", about: "pixels are divided by, ImageNet's", source: fixed },
  ),

  epochs: whole(100, { from: 1 }, { unit: "epochs", about: "length of the run", source: main }),
  steps: optional(whole(1000, { from: 1 }), {
    unit: "steps",
    about: "length of the run, instead of --epochs; schedules end there",
    source: ours,
  }),
  batch: whole(
    64,
    { from: 1 },
    { unit: "images", about: "images of a step", source: main, alias: "batch-size-per-gpu" },
  ),
  accumulate: whole(
    1,
    { from: 1 },
    {
      unit: "parts",
      about:
        "of a batch, which go through the network one after another for less memory; " +
        "one update with the gradients of all; batch norm in the head sees a part at a time",
      source: ours,
    },
  ),
  recompute: flag(false, {
    unit: "true|false",
    about: "compute the student's blocks again for the gradients: less memory, a longer step, the same numbers",
    source: ours,
  }),
  optimizer: choice(["adamw", "sgd", "lars"], "adamw", {
    unit: "name",
    about: "how gradients change weights",
    source: main,
  }),
  lr: number(
    0.0005,
    { from: 0 },
    { unit: "rate", about: "for 256 images a step, scaled to --batch; where the warm-up ends", source: main },
  ),
  warmupEpochs: number(
    10,
    { from: 0 },
    { unit: "epochs", about: "linear warm-up of the rate; may be a fraction", source: main },
  ),
  minLr: number(1e-6, { from: 0 }, { unit: "rate", about: "learning rate at the end", source: main }),
  weightDecay: number(0.04, { from: 0 }, { unit: "rate", about: "weight decay at the start", source: main }),
  weightDecayEnd: number(0.4, { from: 0 }, { unit: "rate", about: "weight decay at the end", source: main }),
  clipGrad: number(
    3,
    { from: 0 },
    { unit: "norm", about: "longest gradient of a parameter; 0 leaves all as they are", source: main },
  ),
  freezeLastLayer: whole(
    1,
    { from: 0 },
    { unit: "epochs", about: "during which the last layer stays as it is", source: main },
  ),
  momentumTeacher: number(
    0.996,
    { from: 0, to: 1 },
    { unit: "0 to 1", about: "momentum of the teacher at the start", source: main },
  ),
  momentumTeacherEnd: number(
    1,
    { from: 0, to: 1 },
    { unit: "0 to 1", about: "momentum of the teacher at the end", source: fixed },
  ),
  centering: choice(["center", "sinkhorn"], "center", {
    unit: "name",
    about:
      "what keeps the teacher's targets apart: the paper's moving center, or Sinkhorn-Knopp over the global crops of a batch, " +
      "with --accumulate of a part of it, which makes all prototypes equally frequent",
    source: dinov2,
  }),
  sinkhornIterations: whole(3, { from: 1 }, { unit: "iterations", about: "of --centering sinkhorn", source: dinov2 }),
  koleo: number(
    0,
    { from: 0 },
    {
      unit: "weight",
      about:
        "of a loss that parts the features of different images (KoLeo), for each of the two global crops; DINOv2 takes 0.1; " +
        "with --accumulate it sees a part of the batch at a time",
      source: dinov2,
    },
  ),
  centerMomentum: number(0.9, { from: 0, to: 1 }, { unit: "0 to 1", about: "momentum of the center", source: fixed }),
  studentTemp: number(0.1, { above: 0 }, { unit: "temperature", about: "of the student", source: fixed }),
  teacherTemp: number(
    0.04,
    { above: 0 },
    { unit: "temperature", about: "of the teacher after its warm-up", source: main },
  ),
  warmupTeacherTemp: number(
    0.04,
    { above: 0 },
    { unit: "temperature", about: "of the teacher at the start", source: main },
  ),
  warmupTeacherTempEpochs: whole(
    0,
    { from: 0 },
    { unit: "epochs", about: "linear warm-up of the temperature; 30 is a good value", source: main },
  ),
  precision: choice(["f32", "f16"], "f32", {
    unit: "name",
    about: "what training computes in; f16 halves memory and takes tensor cores, parameters stay f32",
    source: ours,
  }),
  seed: whole(
    0,
    { from: 0, to: Number.MAX_SAFE_INTEGER },
    { unit: "number", about: "of all random draws", source: main },
  ),

  heldOut: number(
    0,
    { from: 0, below: 1 },
    { unit: "share", about: "of the images that are kept from training, for evaluation", source: ours },
  ),
  knnEvery: optional(whole(0, { from: 0 }), {
    unit: "epochs",
    about:
      "between k-NN evaluations where the images have classes, with one at the end; auto, if left out, for the one at the end, of " +
      "12,000 images at most; 0 for none. Without --held-out, some of the images trained on are classified by the others",
    source: ours,
  }),
  linearEvery: whole(
    0,
    { from: 0 },
    {
      unit: "epochs",
      about: "between quick linear evaluations where there are labels; 0 for none",
      source: ours,
    },
  ),
  knnK: whole(20, { from: 1 }, { unit: "neighbours", about: "that vote in k-NN evaluations", source: ours }),
  evalResize: optional(whole(256, { from: 1 }), {
    unit: "pixels",
    about: "shorter side before evaluation cuts out --image-size; 8/7 of it if left out",
    source: ours,
  }),
  logEvery: whole(10, { from: 1 }, { unit: "steps", about: "between lines of log.jsonl", source: ours }),
  tensorboard: flag(false, { unit: "true|false", about: "log event files for TensorBoard too", source: ours }),
  picturesEvery: whole(
    0,
    { from: 0 },
    {
      unit: "epochs",
      about:
        "between pictures of what the teacher sees in a few held-out images; 0 for none; with them, the kernels of a step are timed",
      source: ours,
    },
  ),
  checkpointEvery: whole(
    0,
    { from: 0 },
    { unit: "steps", about: "between checkpoints; 0 for one an epoch", source: ours },
  ),
  compressGradients: flag(false, {
    unit: "true|false",
    about:
      "send half the bytes between the ranks of an MPI run, gradients rounded to f16 with an exponent for 64 of them",
    source: ours,
  }),
  verifyRanks: whole(
    0,
    { from: 0 },
    {
      unit: "steps",
      about: "between comparisons of what all ranks of an MPI run have, to the byte; 0 for none",
      source: ours,
    },
  ),
  saveckpFreq: whole(
    20,
    { from: 0 },
    { unit: "epochs", about: "between checkpoints that are kept under their number; 0 for none", source: main },
  ),
  threads: optional(whole(4, { from: 1 }), {
    unit: "threads",
    about: "that make crops; one for each core if left out",
    source: main,
    alias: "num-workers",
  }),
} as const satisfies Record<string, Setting<unknown>>;

/** The name of a setting: a flag of `dino train` in camelCase. */
export type SettingName = keyof typeof settings;

/** Every setting of a run. */
export type Config = {
  readonly [Name in SettingName]: (typeof settings)[Name] extends Setting<infer T> ? T : never;
};

/** Some settings: a preset, or what a command line says. */
export type PartialConfig = { readonly [Name in SettingName]?: Config[Name] };

export const settingNames = Object.keys(settings) as readonly SettingName[];

/** The settings of the defaults alone. */
export const defaultConfig = Object.fromEntries(settingNames.map((name) => [name, settings[name].default])) as Config;

/** The first setting in which two runs differ, but for those that may. */
export function differenceBetween(a: Config, b: Config, free: ReadonlySet<SettingName>): SettingName | undefined {
  return settingNames.find((name) => !free.has(name) && JSON.stringify(a[name]) !== JSON.stringify(b[name]));
}

/** What may differ between a run and its continuation: its length, and what changes no number. */
export const changeableOnResume: ReadonlySet<SettingName> = new Set([
  "epochs",
  "steps",
  "data",
  "out",
  "threads",
  "recompute",
  "logEvery",
  "verifyRanks",
  "tensorboard",
  "picturesEvery",
  "checkpointEvery",
  "saveckpFreq",
  "knnEvery",
  "linearEvery",
  "knnK",
]);

/** The flag of a setting: patchSize -> --patch-size. */
export function flagOf(name: SettingName): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** The words of a command line behind a flag as a value. Throws, naming the flag, for what it cannot be. */
export function parseSetting<Name extends SettingName>(name: Name, words: readonly string[]): Config[Name] {
  const { parse, schema, expected } = settings[name];
  const parsed = schema.safeParse(parse(words));
  if (!parsed.success)
    throw new Error(
      `${flagOf(name)}: expected ${expected}, got ${words.length === 0 ? "the flag alone" : words.join(" ")}`,
    );
  return parsed.data as Config[Name];
}

/** The official switch `--use-fp16` as a precision. Throws for words that are neither true nor false. */
export function parseUseFp16(words: readonly string[]): Config["precision"] {
  const position = toBoolean(words);
  if (typeof position !== "boolean") throw new Error(`--use-fp16: expected true or false, got ${words.join(" ")}`);
  return position ? "f16" : "f32";
}

/**
 * Defaults, below a preset, below flags; the built-in images bring the preset made for them. A flag also replaces what
 * the preset says in other words: `--epochs` its steps, `--arch` its dim, depth and heads, `--image-size` its eval-resize.
 * What the preset `auto` says has been `chosen`. Throws for settings that contradict each other.
 */
export function resolveConfig(flags: PartialConfig, chosen?: PartialConfig): Config {
  const { epochs, steps, arch, imageSize, data } = flags;
  if (epochs !== undefined && steps !== undefined && steps !== null) {
    throw new Error(`--steps ${steps} and --epochs ${epochs} both give the length of the run; leave one out`);
  }
  const made = data !== undefined && isBuiltin(data) ? builtinPreset : null;
  const preset = flags.preset === undefined ? made : flags.preset;
  if (preset === "auto" && chosen === undefined)
    throw new Error("--preset auto goes by the images, which only dino train looks at first; name another preset here");
  return checkConfig({
    ...defaultConfig,
    ...(preset !== null && preset !== "auto" && presets[preset]),
    ...(epochs !== undefined && { steps: null }),
    ...(arch !== undefined && { dim: null, depth: null, heads: null }),
    ...(imageSize !== undefined && { evalResize: null }),
    ...(preset === "auto" && chosen), // around the flags
    ...flags,
    preset,
  });
}

/** Settings of ours that came later and are off by default. */
const later: ReadonlySet<SettingName> = new Set([
  "freezeBlocks",
  "init",
  "linearEvery",
  "maxPixels",
  "shuffleBuffer",
  "tensorboard",
  "picturesEvery",
  "compressGradients",
  "verifyRanks",
]);

/**
 * A configuration out of the text of a config.json, in which what DINOv2 and later versions added may be missing, as in those of
 * earlier runs: it is off then. Throws, naming the setting, where another one is missing, or one is unknown or wrong.
 */
export function parseConfig(json: string): Config {
  let values: unknown;
  try {
    values = JSON.parse(json);
  } catch (error) {
    throw new Error(`config: this is no JSON: ${(error as Error).message}`, { cause: error });
  }
  const shape = Object.fromEntries(
    settingNames.map((name): [string, z.ZodType] => {
      const { schema, source, default: initial }: Setting<unknown> = settings[name];
      return [name, source === dinov2 || later.has(name) ? schema.default(initial) : schema];
    }),
  );
  const parsed = z.strictObject(shape).safeParse(values);
  if (parsed.success) return checkConfig(parsed.data as unknown as Config);
  const [issue] = parsed.error.issues;
  if (issue?.code === "unrecognized_keys") {
    throw new Error(`config: no setting is called ${shown(issue.keys.join(", "))}; was it written by another version?`);
  }
  const name = issue?.path[0] as SettingName | undefined;
  if (name === undefined) throw new Error("config: expected an object of settings");
  const value = (values as Record<string, unknown>)[name];
  const { expected } = settings[name];
  throw new Error(
    value === undefined
      ? `config: the setting ${name} is missing; expected ${expected}`
      : `config ${name}: expected ${expected}, got ${shown(JSON.stringify(value))}`,
  );
}

/** A configuration as the text of a config.json. */
export function formatConfig(config: Config): string {
  return `${JSON.stringify(config, undefined, 2)}\n`;
}

/** The same configuration; throws where settings contradict each other, naming both. */
function checkConfig(config: Config): Config {
  const { patchSize, imageSize, localSize, localCropsNumber } = config;
  const sizes = localCropsNumber > 0 ? (["imageSize", "localSize"] as const) : (["imageSize"] as const);
  for (const name of sizes) {
    const { rows, cols } = name === "imageSize" ? imageSize : localSize;
    if (rows % patchSize !== 0 || cols % patchSize !== 0) {
      throw new Error(`--patch-size ${patchSize} does not divide ${flagOf(name)} ${formatSize({ rows, cols })}`);
    }
  }
  const { batch, accumulate } = config;
  if (batch % accumulate !== 0) throw new Error(`--accumulate ${accumulate} does not divide --batch ${batch}`);
  if (config.koleo > 0 && batch / accumulate < 2) {
    throw new Error(
      `--koleo ${config.koleo} parts images from each other, but one goes through at a time; raise --batch ${batch} ` +
        `or lower --accumulate ${accumulate}`,
    );
  }
  const { dim, depth, heads, frozenBlocks } = vitConfig(config);
  if (frozenBlocks > depth) throw new Error(`--freeze-blocks ${frozenBlocks} is more than the --depth of ${depth}`);
  if (dim % heads !== 0) throw new Error(`--heads ${heads} does not divide --dim ${dim}`);
  if (dim / heads > 128) {
    throw new Error(`--dim ${dim} over --heads ${heads} is ${dim / heads} a head; at most 128 are supported`);
  }
  const { evalResize } = config;
  if (evalResize !== null && evalResize < Math.min(imageSize.rows, imageSize.cols)) {
    throw new Error(
      `--eval-resize ${evalResize} is smaller than --image-size ${formatSize(imageSize)}, which is cut out of it`,
    );
  }
  const { heldOut, data } = config;
  if (config.linearEvery > 0 && heldOut === 0 && !isBuiltin(data)) {
    throw new Error(
      `--linear-every ${config.linearEvery} needs images to classify; keep some from training with --held-out 0.1`,
    );
  }
  return config;
}

/** What a run shortens because it is short itself, in words. */
export interface FittedConfig {
  readonly config: Config;
  readonly notes: readonly string[];
}

/**
 * Shortens warm-ups that are longer than the run to a tenth of it, unless the user asked for them: then it throws.
 * `given` names what he set himself.
 */
export function fitWarmups(
  config: Config,
  { iterationsPerEpoch, given }: { readonly iterationsPerEpoch: number; readonly given: ReadonlySet<SettingName> },
): FittedConfig {
  const { steps, epochs } = config;
  const length = steps === null ? epochs : steps / iterationsPerEpoch; // in epochs
  const run = steps === null ? `${epochs} epochs` : `${steps} steps, ${round(length)} epochs`;
  const notes: string[] = [];
  const fit = (name: "warmupEpochs" | "warmupTeacherTempEpochs", shortened: number, longest: number): number => {
    const asked = config[name];
    if (asked <= longest) return asked;
    if (given.has(name)) {
      throw new Error(`${flagOf(name)} ${asked} is longer than the run of ${run}; shorten it, or lengthen the run`);
    }
    notes.push(`${flagOf(name)} ${asked} is longer than the run of ${run}: shortened to ${round(shortened)}`);
    return shortened;
  };
  const warmupEpochs = fit("warmupEpochs", length / 10, length);
  const warmupTeacherTempEpochs = fit("warmupTeacherTempEpochs", Math.floor(length / 10), Math.ceil(length));
  return { config: { ...config, warmupEpochs, warmupTeacherTempEpochs }, notes };
}

/** The network of a configuration: `--arch`, or what `--dim`, `--depth` and `--heads` say instead. */
export function vitConfig(config: Config): {
  readonly imageRows: number;
  readonly imageCols: number;
  readonly patch: number;
  readonly dim: number;
  readonly depth: number;
  readonly heads: number;
  readonly mlpRatio: number;
  readonly channels: number;
  readonly dropPathRate: number;
  readonly registers: number;
  readonly frozenBlocks: number;
} {
  const arch = architectures[config.arch];
  return {
    imageRows: config.imageSize.rows,
    imageCols: config.imageSize.cols,
    patch: config.patchSize,
    dim: config.dim ?? arch.dim,
    depth: config.depth ?? arch.depth,
    heads: config.heads ?? arch.heads,
    mlpRatio: config.mlpRatio,
    channels: 3,
    dropPathRate: config.dropPathRate,
    registers: config.registers,
    frozenBlocks: config.freezeBlocks,
  };
}

/** The projection head of a configuration. */
export function headConfig(config: Config): {
  readonly inDim: number;
  readonly hidden: number;
  readonly bottleneck: number;
  readonly out: number;
  readonly layers: number;
  readonly batchNorm: boolean;
  readonly normLastLayer: boolean;
} {
  return {
    inDim: vitConfig(config).dim,
    hidden: config.hiddenDim,
    bottleneck: config.bottleneckDim,
    out: config.outDim,
    layers: config.headLayers,
    batchNorm: config.useBnInHead,
    normLastLayer: config.normLastLayer,
  };
}

/** The networks of a configuration, student and teacher. */
export function networkConfig(config: Config): {
  readonly vit: ReturnType<typeof vitConfig>;
  readonly head: ReturnType<typeof headConfig>;
  readonly precision: Config["precision"];
} {
  return { vit: vitConfig(config), head: headConfig(config), precision: config.precision };
}

/** What a configuration's training step is made of besides its networks. */
export function stepConfig(config: Config): {
  readonly batch: number;
  readonly globalSize: Size;
  readonly localSize: Size;
  readonly localCrops: number;
  readonly optimizer: Config["optimizer"];
  readonly studentTemperature: number;
  readonly centerMomentum: number;
  readonly sinkhorn: Sinkhorn | undefined;
  readonly koleoWeight: number;
  readonly clip: number;
  readonly accumulate: number;
  readonly recompute: boolean;
  readonly compress: boolean;
} {
  return {
    batch: config.batch,
    globalSize: config.imageSize,
    localSize: config.localSize,
    localCrops: config.localCropsNumber,
    optimizer: config.optimizer,
    studentTemperature: config.studentTemp,
    centerMomentum: config.centerMomentum,
    sinkhorn: config.centering === "sinkhorn" ? { iterations: config.sinkhornIterations } : undefined,
    koleoWeight: config.koleo,
    clip: config.clipGrad,
    accumulate: config.accumulate,
    recompute: config.recompute,
    compress: config.compressGradients,
  };
}

/** How the crops of a configuration are drawn. */
export function augmentOptions(config: Config): AugmentOptions {
  return {
    globalSize: config.imageSize,
    localSize: config.localSize,
    localCrops: config.localCropsNumber,
    globalScale: config.globalCropsScale,
    localScale: config.localCropsScale,
    ratio: config.cropRatio,
    flipProbability: config.flip,
    jitterProbability: config.jitter,
    brightness: config.brightness,
    contrast: config.contrast,
    saturation: config.saturation,
    hue: config.hue,
    grayscaleProbability: config.grayscale,
    blurProbability: { global1: config.blurGlobal1, global2: config.blurGlobal2, local: config.blurLocal },
    blurRadius: config.blurRadius,
    solarizeProbability: {
      global1: config.solarizeGlobal1,
      global2: config.solarizeGlobal2,
      local: config.solarizeLocal,
    },
    solarizeThreshold: config.solarizeThreshold,
    mean: config.mean,
    std: config.std,
  };
}

/** The view that evaluation takes of an image, for `evalCrop`; 256 and 224 pixels in the official code. */
export function evalView(config: Config): { readonly resize: number; readonly crop: Size } {
  const short = Math.min(config.imageSize.rows, config.imageSize.cols);
  return { resize: config.evalResize ?? Math.round((short * 256) / 224), crop: config.imageSize };
}

/** What the sizes of networks stand for. */
export const architectures = {
  vit_tiny: { dim: 192, depth: 12, heads: 3 },
  vit_small: { dim: 384, depth: 12, heads: 6 },
  vit_base: { dim: 768, depth: 12, heads: 12 },
} as const satisfies Record<Config["arch"], unknown>;

function number(initial: number, range: Range, about: About): Setting<number> {
  const schema = z.number().refine((value) => isWithin(value, range));
  return {
    ...about,
    default: initial,
    schema,
    expected: `a number${words(range)}`,
    words: 1,
    parse: ([word]) => toNumber(word),
  };
}

function whole(initial: number, range: Range, about: About = { unit: "", about: "", source: ours }): Setting<number> {
  const schema = z.number().refine((value) => Number.isSafeInteger(value) && isWithin(value, range));
  return {
    ...about,
    default: initial,
    schema,
    expected: `a whole number${words(range)}`,
    words: 1,
    parse: ([word]) => toNumber(word),
  };
}

function flag(initial: boolean, about: About): Setting<boolean> {
  return { ...about, default: initial, schema: z.boolean(), expected: "true or false", words: 0, parse: toBoolean };
}

function text(initial: string, about: About): Setting<string> {
  return {
    ...about,
    default: initial,
    schema: z.string().min(1),
    expected: `a ${about.unit}`,
    words: 1,
    parse: ([word]) => word,
  };
}

function choice<const Name extends string>(
  names: readonly Name[],
  initial: Name,
  about: About = { unit: "", about: "", source: ours },
): Setting<Name> {
  const known = (word: string | undefined): string | undefined =>
    names.find((name) => plain(name) === plain(word ?? "")) ?? word;
  return {
    ...about,
    default: initial,
    schema: z.enum(names),
    expected: `one of ${names.join(", ")}`,
    words: 1,
    parse: ([word]) => known(word),
  };
}

function size(initial: number, about: About): Setting<Size> {
  const side = z.number().int().min(1);
  return {
    ...about,
    default: { rows: initial, cols: initial },
    schema: z.strictObject({ rows: side, cols: side }),
    expected: "a number of pixels, or ROWSxCOLS",
    words: 1,
    parse: ([word]) => {
      const [, rows, cols] = /^(\d+)(?:x(\d+))?$/.exec(word ?? "") ?? [];
      return { rows: toNumber(rows), cols: toNumber(cols ?? rows) };
    },
  };
}

function range(initial: readonly [number, number], limits: Range, about: About): Setting<readonly [number, number]> {
  const schema = z
    .tuple([z.number(), z.number()])
    .readonly()
    .refine(([low, high]) => low <= high && isWithin(low, limits) && isWithin(high, limits));
  const expected = `two numbers${words(limits)}, the lower one first`;
  return { ...about, default: initial, schema, expected, words: 2, parse: toNumbers };
}

function triple(
  initial: readonly [number, number, number],
  limits: Range,
  about: About,
): Setting<readonly [number, number, number]> {
  const schema = z
    .tuple([z.number(), z.number(), z.number()])
    .readonly()
    .refine((values) => values.every((value) => isWithin(value, limits)));
  return { ...about, default: initial, schema, expected: `three numbers${words(limits)}`, words: 3, parse: toNumbers };
}

/** The name of a preset; `none` is null, which is also the default. */
function recipe(about: About): Setting<(typeof presetNames)[number] | "auto" | null> {
  const named = choice([...presetNames, "auto"], "auto");
  const optionally = optional(named, about);
  const expected = `${named.expected}, none`;
  return { ...optionally, expected, parse: (given) => (given[0] === "none" ? null : named.parse(given)) };
}

/** A setting that may be left to others: null, `auto` on the command line, which is also its default. */
function optional<T>(setting: Setting<T>, about: About): Setting<T | null> {
  return {
    ...setting,
    ...about,
    default: null,
    schema: setting.schema.nullable(),
    expected: `${setting.expected}, or auto`,
    parse: (given) => (given[0] === "auto" ? null : setting.parse(given)),
  };
}

function isWithin(
  value: number,
  { from = -Infinity, above = -Infinity, to = Infinity, below = Infinity }: Range,
): boolean {
  return Number.isFinite(value) && value >= from && value > above && value <= to && value < below;
}

/** Limits in words, to follow "a number". */
function words({ from, above, to, below }: Range): string {
  if (from !== undefined && (to ?? below) !== undefined && to !== Number.MAX_SAFE_INTEGER) {
    return to === undefined ? ` from ${from} to below ${below!}` : ` from ${from} to ${to}`;
  }
  if (above !== undefined) return ` above ${above}${to === undefined ? "" : `, up to ${to}`}`;
  return from === undefined ? "" : ` of ${from} or more`;
}

function toNumber(word: string | undefined): number {
  return word === undefined || word.trim() === "" ? NaN : Number(word);
}

function toNumbers(given: readonly string[]): number[] {
  return given.flatMap((word) => word.split(",")).map(toNumber);
}

function toBoolean([word]: readonly string[]): unknown {
  if (word === undefined || /^(true|on|1)$/i.test(word)) return true;
  return /^(false|off|0)$/i.test(word) ? false : word;
}

/** Names are the same whether they are written with dashes or underscores. */
function plain(name: string): string {
  return name.toLowerCase().replaceAll("_", "-");
}

/** Settings as a command line writes them. */
export function formatSettings(values: PartialConfig): string {
  return Object.entries(values)
    .map(([name, value]) => `${flagOf(name as SettingName)} ${formatValue(value)}`)
    .join(" ");
}

/** The value of a setting as a command line writes it. */
export function formatValue(value: Config[SettingName]): string {
  if (value === null) return "auto";
  if (typeof value !== "object") return `${value}`;
  if ("rows" in value) return formatSize(value);
  return value.map((entry) => Number(entry.toPrecision(4))).join(" ");
}

/** A size as a command line writes it. */
export function formatSize({ rows, cols }: Size): string {
  return rows === cols ? `${rows}` : `${rows}x${cols}`;
}

function round(value: number): number {
  return Number(value.toPrecision(3));
}
