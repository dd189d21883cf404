/** Derives the options of backbone, head and network from settings. */
import { backboneSize } from "../config/derive.js";
import type { Config } from "../config/settings.js";
import type { HeadConfig } from "./head.js";
import type { Heads, NetworkConfig } from "./network.js";
import type { LearnedPositions, RotaryPositions, VitConfig } from "./vit-config.js";

/** Returns the options of the ViT, but for its precision, which is the network's. */
export function vitConfig(
  config: Config,
): Omit<VitConfig, "precision"> & Required<Pick<VitConfig, "registers" | "frozenBlocks" | "positions">> {
  return {
    imageRows: config.imageSize.rows,
    imageCols: config.imageSize.cols,
    patch: config.patchSize,
    ...backboneSize(config),
    mlpRatio: config.mlpRatio,
    channels: config.channels,
    dropPathRate: config.dropPathRate,
    uniformDropPath: config.uniformDropPath,
    ...(config.method === "dinov2" && { batchPartAbove: 0 }), // as its blocks do for crops of several sizes
    positions: positions(config),
    normEpsilon: config.normEpsilon,
    ...(config.layerScale !== null && { layerScale: config.layerScale }),
    ffn: config.ffn === "packed-swiglu" ? "packed swiglu" : config.ffn,
    qkvBias: config.qkvBias,
    maskKeyBias: config.maskKeyBias,
    ...(config.maskToken !== "none" && { maskToken: config.maskToken }),
    untiedNorms: { cls: config.clsNorm, localCls: config.localClsNorm },
    registers: config.registers,
    frozenBlocks: config.freezeBlocks,
  };
}

function positions(config: Config): LearnedPositions | RotaryPositions {
  if (config.positions === "learned")
    return { kind: "learned", offset: config.positionOffset, antialias: config.positionAntialias };
  const { ropeBase, ropePeriods, ropeNormalize } = config;
  const periods = ropePeriods === null ? { base: ropeBase } : { min: ropePeriods[0], max: ropePeriods[1] };
  return { kind: "rotary", periods, normalize: ropeNormalize };
}

/** Returns the options of the projection head, but for its precision, which is the network's. */
export function headConfig(config: Config): Omit<HeadConfig, "precision"> {
  return {
    inDim: backboneSize(config).dim,
    hidden: config.hiddenDim,
    bottleneck: config.bottleneckDim,
    out: config.outDim,
    layers: config.headLayers,
    batchNorm: config.useBnInHead,
    normLastLayer: config.normLastLayer,
  };
}

/** Returns the options of student and teacher. */
export function networkConfig(config: Config): Required<NetworkConfig> {
  return { vit: vitConfig(config), heads: headsOf(config), precision: config.precision };
}

/** Returns the heads of the method. */
function headsOf(config: Config): Heads {
  const head = headConfig(config);
  if (config.method === "dino") return { head };
  return { dino_head: head, ...(config.separateHead && { ibot_head: head }) };
}
