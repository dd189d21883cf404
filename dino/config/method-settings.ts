/** The method of training, settings that only DINOv2 has, and other defaults with it. */
import { choice, flag, number, range, type Setting } from "./setting.js";
import type { PartialConfig } from "./settings.js";

const withDinov2 = "with --method dinov2";

export const methodSettings = {
  method: choice(["dino", "dinov2"], "dino", {
    unit: "name",
    about:
      "dino, or dinov2: losses of masked patches (iBOT) and of neighbors (KoLeo) besides, and other defaults, shown below; " +
      "its schedules warm up by steps, and its learning rates grow from layer to layer",
    source: "dinov2",
  }),
  ibot: number(
    1,
    { from: 0 },
    { unit: "weight", about: `weight of the loss of masked patches, ${withDinov2}`, source: "dinov2" },
  ),
  maskProbability: number(
    0.5,
    { above: 0, to: 1 },
    { unit: "0 to 1", about: `share of the global crops that have masked patches, ${withDinov2}`, source: "dinov2" },
  ),
  maskRatio: range(
    [0.1, 0.5],
    { above: 0, below: 1 },
    { unit: "low high", about: `share of masked patches in those crops, ${withDinov2}`, source: "dinov2" },
  ),
  separateHead: flag(false, {
    unit: "true|false",
    about: `gives masked patches a head of their own, as the largest models of DINOv2 have, ${withDinov2}`,
    source: "dinov2",
  }),
  layerDecay: number(
    0.9,
    { above: 0, to: 1 },
    {
      unit: "factor",
      about: `factor of the learning rate from one layer to the one below, 1 for none, ${withDinov2}`,
      source: "dinov2",
    },
  ),
  patchEmbedLr: number(
    0.2,
    { above: 0, to: 1 },
    { unit: "factor", about: `further factor of the patch embedding's learning rate, ${withDinov2}`, source: "dinov2" },
  ),
} as const satisfies Record<string, Setting<unknown>>;

/** Settings that have no effect with DINO. */
export const dinov2Only = Object.keys(methodSettings).filter(
  (name): name is Exclude<keyof typeof methodSettings, "method"> => name !== "method",
);

/**
 * Defaults of DINOv2 that differ from those of DINO: `dinov2/configs/ssl_default_config.yaml` of
 * https://github.com/facebookresearch/dinov2.
 */
export const dinov2Defaults = {
  dropPathRate: 0.3,
  uniformDropPath: true,
  layerScale: 1e-5,
  maskToken: "optional",
  globalCropsScale: [0.32, 1],
  localCropsScale: [0.05, 0.32],
  lr: 0.004,
  koleo: 0.1,
  momentumTeacher: 0.992,
  teacherTemp: 0.07,
  warmupTeacherTempEpochs: 30,
} as const satisfies PartialConfig;

/** Settings of which DINOv2 has no choice. */
export const dinov2Fixed = {
  optimizer: "adamw",
  useBnInHead: false,
  normLastLayer: false,
} as const satisfies PartialConfig;
