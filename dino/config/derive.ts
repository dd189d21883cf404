/** Derives the options of network, step and augmentation from settings. */
import type { Sinkhorn } from "../../engine/index.js";
import type { AugmentOptions } from "../images/augment.js";
import type { Size } from "../images/pixels.js";
import type { Config } from "./settings.js";

/** Returns the options of the ViT: those of `--arch`, overridden by `--dim`, `--depth` and `--heads`. */
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

/** Returns the options of the projection head. */
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

/** Returns the options of student and teacher. */
export function networkConfig(config: Config): {
  readonly vit: ReturnType<typeof vitConfig>;
  readonly head: ReturnType<typeof headConfig>;
  readonly precision: Config["precision"];
} {
  return { vit: vitConfig(config), head: headConfig(config), precision: config.precision };
}

/** Returns the options of the training step, except its networks. */
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

/** Returns the options of the augmentation. */
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

/** Returns the sizes of the evaluation view, for `evalCrop`; 256 and 224 pixels in the official code. */
export function evalView(config: Config): { readonly resize: number; readonly crop: Size } {
  const short = Math.min(config.imageSize.rows, config.imageSize.cols);
  return { resize: config.evalResize ?? Math.round((short * 256) / 224), crop: config.imageSize };
}

/** Dimensions of each `--arch`. */
export const architectures = {
  vit_tiny: { dim: 192, depth: 12, heads: 3 },
  vit_small: { dim: 384, depth: 12, heads: 6 },
  vit_base: { dim: 768, depth: 12, heads: 12 },
} as const satisfies Record<Config["arch"], unknown>;
