/** Derives the options of the training step from settings. */
import type { Config } from "../config/settings.js";
import type { StepOptions } from "./step.js";

/** Returns the options of the training step, except its networks and peers. */
export function stepConfig(config: Config): Required<Omit<StepOptions, "student" | "teacher" | "peers">> {
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
