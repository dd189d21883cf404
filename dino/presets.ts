/** Settings that belong together: whole recipes, by name. */
import type { BuiltinName } from "./builtin-digits.js";
import type { PartialConfig } from "./config.js";

export const presetNames = [
  "digits",
  "digits-long",
  "small-images",
  "vit-ti16",
  "vit-s16",
  "vit-s8",
  "vit-b16",
  "vit-b8",
] as const;

/** Handwritten digits at random places, learnt in a minute or two: the demo's recipe, found by a sweep. */
const digits = {
  data: "builtin",
  patchSize: 8,
  imageSize: { rows: 32, cols: 32 },
  evalResize: 32,
  dim: 64,
  depth: 3,
  heads: 2,
  initStd: 0.125, // 1 / sqrt(dim); 0.02 is made for widths from 384 on and stays below the untrained network here
  dropPathRate: 0,
  outDim: 256,
  hiddenDim: 256,
  bottleneckDim: 64,
  useBnInHead: true,
  normLastLayer: false,
  globalCropsScale: [0.25, 1],
  localCropsNumber: 0,
  flip: 0,
  jitter: 0,
  grayscale: 0,
  blurGlobal1: 0,
  blurGlobal2: 0,
  solarizeGlobal2: 0,
  mean: [0.064, 0.064, 0.064], // of the built-in images, as is std
  std: [0.2255, 0.2255, 0.2255],
  steps: 400,
  batch: 32,
  lr: 0.008, // 0.001 for a batch of 32
  minLr: 1e-5,
  warmupEpochs: 0.12, // 30 steps
  freezeLastLayer: 0,
  momentumTeacher: 0.98,
  momentumTeacherEnd: 0.985, // a teacher that stands still at 1 stops learning too soon in so short a run
  teacherTemp: 0.02,
  warmupTeacherTemp: 0.02,
} as const satisfies PartialConfig;

/** The same digits on a canvas of six times the area, where comparing pixels fails: a larger network. */
const digitsLong = {
  ...digits,
  data: "builtin-wide",
  imageSize: { rows: 48, cols: 48 },
  evalResize: 48,
  dim: 192,
  depth: 4,
  heads: 6,
  initStd: 0.072, // 1 / sqrt(dim)
  globalCropsScale: [0.25, 1],
  mean: [0.0111, 0.0111, 0.0111], // of the images, as is std
  std: [0.097, 0.097, 0.097],
  steps: 200,
  lr: 0.0056, // 0.0007 for a batch of 32
  momentumTeacherEnd: 1,
  teacherTemp: 0.03,
  warmupTeacherTemp: 0.03,
} as const satisfies PartialConfig;

/**
 * What the published models have in common; they were trained on ImageNet with 1024 images a step over many GPUs, for
 * which `--batch` stands at its size for one. Sources: README.md of https://github.com/facebookresearch/dino and the
 * `args` it links to. Settings marked "recalled" stand as remembered, not checked against those files.
 */
const published = {
  teacherTemp: 0.07,
  warmupTeacherTemp: 0.04,
  warmupTeacherTempEpochs: 30,
  globalCropsScale: [0.25, 1],
  localCropsScale: [0.05, 0.25],
  localCropsNumber: 10,
} as const satisfies PartialConfig;

const vitSmall16 = {
  ...published,
  arch: "vit_small",
  patchSize: 16,
  normLastLayer: false,
  epochs: 800,
  minLr: 1e-5, // recalled
  clipGrad: 0, // recalled
} as const satisfies PartialConfig;

const vitBase16 = {
  ...published,
  arch: "vit_base",
  patchSize: 16,
  normLastLayer: true,
  warmupTeacherTempEpochs: 50,
  freezeLastLayer: 3,
  epochs: 400,
  batch: 32,
  lr: 0.00075,
  minLr: 2e-6,
  clipGrad: 0.3, // recalled
} as const satisfies PartialConfig;

/** The preset that is made for each built-in set. */
export const builtinPresets = {
  builtin: "digits",
  "builtin-wide": "digits-long",
} as const satisfies Record<BuiltinName, (typeof presetNames)[number]>;

export const presets: Readonly<Record<(typeof presetNames)[number], PartialConfig>> = {
  digits,
  "digits-long": digitsLong,
  /** Folders of photographs of 32 to 64 pixels, such as CIFAR or Tiny ImageNet; our own choice. */
  "small-images": {
    arch: "vit_tiny",
    patchSize: 4,
    imageSize: { rows: 32, cols: 32 },
    localSize: { rows: 16, cols: 16 },
    evalResize: 32,
    initStd: 0.07, // 1 / sqrt(dim)
    outDim: 4096,
    normLastLayer: false,
    localCropsNumber: 6,
    localCropsScale: [0.1, 0.4],
    blurGlobal1: 0,
    blurGlobal2: 0,
    blurLocal: 0,
    batch: 128,
    epochs: 200,
  },
  /** No model of this size was published: the recipe of ViT-S/16. */
  "vit-ti16": { ...vitSmall16, arch: "vit_tiny" },
  "vit-s16": vitSmall16,
  /** Recalled, but for what `published` has. */
  "vit-s8": { ...vitSmall16, patchSize: 8, batch: 16, clipGrad: 3 },
  "vit-b16": vitBase16,
  /** Recalled, but for what `published` has. */
  "vit-b8": { ...vitBase16, patchSize: 8, batch: 6, epochs: 300, lr: 0.0005, clipGrad: 3 },
};
