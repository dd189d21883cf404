/** Derives the options of the training steps from settings. */
import { type BatchMaskOptions, halfOfPatches, mostMasked } from "../batches/block-masks.js";
import type { Config } from "../config/settings.js";
import { vitConfig } from "../model/configure.js";
import { patchGrid } from "../model/positions.js";
import type { Dinov2StepOptions } from "./dinov2-step.js";
import type { StepOptions } from "./step.js";

/** Returns the options of DINO's step, except its networks and peers. */
export function stepConfig(config: Config): Required<Omit<StepOptions, "student" | "teacher" | "peers">> {
  return { ...commonOptions(config), optimizer: config.optimizer };
}

/** Returns the options of DINOv2's step for a device's share of the batch, except its networks and peers. */
export function dinov2StepConfig(
  config: Config,
  batch = config.batch,
): Required<Omit<Dinov2StepOptions, "student" | "teacher" | "peers">> {
  return {
    ...commonOptions(config),
    batch,
    mostMasked: mostMasked(maskOptions(config), batch / config.accumulate),
    ibotWeight: config.ibot,
    layerDecay: config.layerDecay,
    patchEmbedFactor: config.patchEmbedLr,
  };
}

function commonOptions(config: Config) {
  return {
    batch: config.batch,
    globalSize: config.imageSize,
    localSize: config.localSize,
    localCrops: config.localCropsNumber,
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

/** Returns the options of the masks of a step, with the limits of blocks that DINOv2 has. */
export function maskOptions(config: Config): BatchMaskOptions {
  const { rows, cols } = config.imageSize;
  return {
    ...patchGrid(vitConfig(config), rows, cols),
    images: config.batch,
    probability: config.maskProbability,
    ratios: config.maskRatio,
    minPatches: 4,
    maxPatches: halfOfPatches(rows, cols, config.patchSize),
    minAspect: 0.3,
  };
}
