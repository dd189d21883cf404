/** Every setting of a training run, once: its default, its unit, where it comes from; flags and validation derive from it. */
import { MAX_PIXELS } from "../images/pixels.js";
import { presetNames } from "./presets.js";
import {
  choice,
  flag,
  number,
  optional,
  range,
  recipe,
  type Setting,
  size,
  textSetting,
  triple,
  whole,
} from "./setting.js";

const main = "main_dino.py";
const fixed = "main_dino.py, fixed there";
const vit = "vision_transformer.py";
const dinov2 = "dinov2";
const ours = "ours";

/** All settings, in the order of the help. */
export const settings = {
  data: textSetting("builtin", {
    unit: "images",
    about:
      "images to train on: a folder, WebDataset shards, Parquet, IDX or CIFAR files, mixtures of them (see below), or " +
      "`builtin`, the built-in images",
    source: ours,
    alias: "data-path",
  }),
  out: textSetting("runs/train", { unit: "folder", about: "where the run is kept", source: ours, alias: "output-dir" }),
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
  init: optional(textSetting("", { unit: "file", about: "", source: ours }), {
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
