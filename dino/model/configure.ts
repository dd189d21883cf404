/** Derives the options of backbone, head and network from settings. */
import { backboneSize } from "../config/derive.js";
import type { Config } from "../config/settings.js";
import type { HeadConfig } from "./head.js";
import type { NetworkConfig } from "./network.js";
import type { VitConfig } from "./vit-config.js";

/** Returns the options of the ViT, but for its precision, which is the network's. */
export function vitConfig(
  config: Config,
): Omit<VitConfig, "precision"> & Required<Pick<VitConfig, "registers" | "frozenBlocks">> {
  return {
    imageRows: config.imageSize.rows,
    imageCols: config.imageSize.cols,
    patch: config.patchSize,
    ...backboneSize(config),
    mlpRatio: config.mlpRatio,
    channels: 3,
    dropPathRate: config.dropPathRate,
    registers: config.registers,
    frozenBlocks: config.freezeBlocks,
  };
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
  return { vit: vitConfig(config), head: headConfig(config), precision: config.precision };
}
