/** Facts about published weights that files do not state. */
import { archOf } from "../config/derive.js";
import type { Config, PartialConfig } from "../config/settings.js";

/** Pixels of SAT-493M, the satellite images of DINOv3; those of other weights are normalised as ImageNet. */
const satellite: Pick<Config, "mean" | "std"> = { mean: [0.43, 0.411, 0.296], std: [0.213, 0.156, 0.143] };

/**
 * Returns how the images of DINOv3's satellite weights are normalised; nothing for others. A path names its images as published
 * files do; without a name, the ViT-L with a norm for local crops is that of satellite images.
 */
export function normalizationOf({ dim, depth, positions, localClsNorm }: PartialConfig, path: string): PartialConfig {
  if (positions !== "rotary" || /lvd1689m/i.test(path)) return {};
  const isLarge = archOf({ dim: dim!, depth: depth! })?.arch === "vit_large";
  return /sat493m/i.test(path) || (isLarge && localClsNorm === true) ? satellite : {};
}

/** Families of networks, by what distinguishes them. */
export function familyOf({ positions, layerScale }: Config): "DINO" | "DINOv2" | "DINOv3" {
  if (positions === "rotary") return "DINOv3";
  return layerScale === null ? "DINO" : "DINOv2";
}

/**
 * Describes a network by its family, size, patches and registers: "DINOv2 vit_small/14, 4 registers". SwiGLU is named where
 * the size is also published with an MLP.
 */
export function describeFamily(config: Config): string {
  const { patchSize, registers, ffn } = config;
  const { dim, depth } = config;
  const size = archOf({ dim: dim!, depth: depth! })?.arch ?? "ViT";
  return [
    `${familyOf(config)} ${size}/${patchSize}`,
    ...(registers > 0 ? [`${registers} registers`] : []),
    ...(ffn === "mlp" ? [] : ["SwiGLU"]),
  ].join(", ");
}

/** Returns what the user may need to state, as the file does not: the images of a ViT-7B. */
export function unknownsOf(config: Config, path: string): string[] {
  const { dim, depth } = config;
  const is7b = archOf({ dim: dim!, depth: depth! })?.arch === "vit_7b";
  if (familyOf(config) !== "DINOv3" || !is7b || /lvd1689m|sat493m/i.test(path)) return [];
  const { mean, std } = satellite;
  return [`for weights of satellite images (SAT-493M), give --mean ${mean.join(",")} --std ${std.join(",")}`];
}
