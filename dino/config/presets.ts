/** Presets: complete recipes, by name. */
import type { PartialConfig } from "./settings.js";

export const presetNames = [
  "shapes",
  "small-images",
  "adapt",
  "vit-ti16",
  "vit-s16",
  "vit-s8",
  "vit-b16",
  "vit-b8",
] as const;

/**
 * Recipe for the built-in images, trained in two minutes: multi-crop with local crops, and a ViT of 0.1 million
 * parameters.
 */
const shapes = {
  data: "builtin",
  patchSize: 4,
  imageSize: { rows: 32, cols: 32 },
  localSize: { rows: 12, cols: 12 },
  evalResize: 64, // the sheets as they are, at the scale of the crops
  evalSize: { rows: 40, cols: 40 }, // more of the sheet than a crop
  dim: 64,
  depth: 2,
  heads: 2,
  initStd: 0.125, // 1 / sqrt(dim); 0.02 is made for widths from 384 on
  dropPathRate: 0,
  outDim: 1024,
  hiddenDim: 256,
  bottleneckDim: 64,
  useBnInHead: true,
  normLastLayer: false,
  globalCropsScale: [0.2, 0.4],
  localCropsScale: [0.04, 0.1],
  localCropsNumber: 8,
  flip: 0, // mirrors the moons
  jitter: 0,
  grayscale: 0,
  blurGlobal1: 0,
  blurGlobal2: 0,
  blurLocal: 0,
  solarizeGlobal2: 0,
  mean: [0.121, 0.121, 0.121], // of the built-in images, as is std
  std: [0.212, 0.212, 0.212],
  steps: 400,
  batch: 16,
  lr: 0.048, // 0.003 for a batch of 16
  minLr: 1e-5,
  warmupEpochs: 0.25, // 31 steps
  freezeLastLayer: 0,
  momentumTeacher: 0.96,
  momentumTeacherEnd: 0.99, // a teacher that stands still at 1 stops learning too soon in so short a run
  teacherTemp: 0.04,
  warmupTeacherTemp: 0.04,
  warmupTeacherTempEpochs: 0,
} as const satisfies PartialConfig;

/** What differs in `shapes` with --method dinov2. */
export const shapesOfDinov2 = {
  lr: 0.024, // 0.003 for a batch of 16, as with DINO; with twice as much the k-NN accuracy after 300 steps was 50 in place of 72 %
  layerScale: null, // branches that start at 0 take more steps than the run has
} as const satisfies PartialConfig;

/**
 * Recipe for going on from published weights on some thousand images with one card: DINOv2's losses at low rates, with heads that
 * are fresh, since published weights have none. Not an official recipe.
 */
const adapt = {
  method: "dinov2",
  outDim: 8192,
  epochs: 30,
  batch: 32,
  lr: 0.0005, // an eighth of DINOv2's
  warmupEpochs: 3,
  dropPathRate: 0.1,
  weightDecayEnd: 0.2,
  momentumTeacher: 0.994,
  warmupTeacherTempEpochs: 10,
  saveckpFreq: 0,
} as const satisfies PartialConfig;

/**
 * Common settings of the published models, which were trained on ImageNet with 1024 images per step on many GPUs;
 * `--batch` is that of one GPU. Sources: README.md of https://github.com/facebookresearch/dino and the `args` it links
 * to. Settings marked "recalled" are from memory, not checked against those files.
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

/** The default preset of the built-in images. */
export const builtinPreset = "shapes" satisfies (typeof presetNames)[number];

export const presets: Readonly<Record<(typeof presetNames)[number], PartialConfig>> = {
  shapes,
  /** For photographs of 32 to 64 pixels, such as CIFAR or Tiny ImageNet; not an official recipe. */
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
  adapt,
  /** The recipe of ViT-S/16; no model of this size was published. */
  "vit-ti16": { ...vitSmall16, arch: "vit_tiny" },
  "vit-s16": vitSmall16,
  /** Recalled, but for what `published` has. */
  "vit-s8": { ...vitSmall16, patchSize: 8, batch: 16, clipGrad: 3 },
  "vit-b16": vitBase16,
  /** Recalled, but for what `published` has. */
  "vit-b8": { ...vitBase16, patchSize: 8, batch: 6, epochs: 300, lr: 0.0005, clipGrad: 3 },
};
