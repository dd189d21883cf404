/** Derives the options of augmentation and evaluation, and the size of the backbone, from settings. */
import type { AugmentOptions } from "../images/augment.js";
import { type Decoding, FIRST_CHANNELS, type ShownChannels } from "../images/image-location.js";
import type { Size } from "../images/pixels.js";
import { decodingOf, type Reading } from "../images/reading.js";
import type { Config } from "./settings.js";

/** Whether the channels of images are red, green and blue. */
export function isRgb({ channels, channelNames }: Pick<Config, "channels" | "channelNames">): boolean {
  return channels === 3 && (channelNames === null || /^(red,green,blue|r,g,b)$/i.test(channelNames.join(",")));
}

/** Returns the options of the augmentation. */
export function augmentOptions(config: Config): AugmentOptions {
  return {
    isRgb: isRgb(config),
    globalSize: config.imageSize,
    localSize: config.localSize,
    localCrops: config.localCropsNumber,
    globalScale: config.globalCropsScale,
    localScale: config.localCropsScale,
    ratio: config.cropRatio,
    minContent: config.minContent,
    flipProbability: config.flip,
    flipVerticalProbability: config.flipVertical,
    quarterTurnProbability: config.quarterTurns,
    rotation: config.rotation,
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

/** Returns how a network with these settings reads images. */
export function readingOf({
  channels,
  range,
  background,
  pages,
}: Pick<Config, "channels" | "range" | "background" | "pages">): Reading {
  return { channels, range, background, ...(pages === "channels" && { pages }) };
}

/** Returns the channels that pictures show as red, green and blue: those of these names, else the first three. */
export function shownChannels({ channelNames }: Pick<Config, "channelNames">): ShownChannels {
  const names = (channelNames ?? []).map((name) => name.toLowerCase());
  for (const colors of [
    ["red", "green", "blue"],
    ["r", "g", "b"],
  ]) {
    const [red = -1, green = -1, blue = -1] = colors.map((color) => names.indexOf(color));
    if (Math.min(red, green, blue) >= 0) return [red, green, blue];
  }
  return FIRST_CHANNELS;
}

/** Returns how images are decoded for pictures: with the range and the background of the network, and the channels that are shown. */
export function pictureDecoding(config: Config): Pick<Decoding, "range" | "background" | "channels"> {
  const { range, background } = decodingOf(readingOf(config));
  return { range, background, channels: shownChannels(config) };
}

/**
 * Returns the sizes of the evaluation view, for `evalCrop`; 256 and 224 pixels in the official code. The shorter side of
 * an image becomes `resize`, which is at least the longer side of the crop, so that the crop fits into images of any shape.
 */
export function evalView(config: Config): { readonly resize: number; readonly crop: Size } {
  const crop = config.evalSize ?? config.imageSize;
  return { resize: config.evalResize ?? Math.round((Math.max(crop.rows, crop.cols) * 256) / 224), crop };
}

/** Dimensions of each `--arch`. */
const architectures = {
  vit_tiny: { dim: 192, depth: 12, heads: 3 },
  vit_small: { dim: 384, depth: 12, heads: 6 },
  vit_base: { dim: 768, depth: 12, heads: 12 },
  vit_large: { dim: 1024, depth: 24, heads: 16 },
  vit_giant2: { dim: 1536, depth: 40, heads: 24 },
  vit_huge2: { dim: 1280, depth: 32, heads: 20 },
  vit_7b: { dim: 4096, depth: 40, heads: 32 },
} as const satisfies Record<Config["arch"], unknown>;

/** Returns the `--arch` of these dimensions, with its heads; undefined for other dimensions. */
export function archOf({ dim, depth }: { readonly dim: number; readonly depth: number }) {
  const found = Object.entries(architectures).find(([, size]) => size.dim === dim && size.depth === depth);
  return found && { arch: found[0], heads: found[1].heads };
}

/** Returns the dimensions of the backbone: those of `--arch`, overridden by `--dim`, `--depth` and `--heads`. */
export function backboneSize({ arch, dim, depth, heads }: Pick<Config, "arch" | "dim" | "depth" | "heads">): {
  readonly dim: number;
  readonly depth: number;
  readonly heads: number;
} {
  const size = architectures[arch];
  return { dim: dim ?? size.dim, depth: depth ?? size.depth, heads: heads ?? size.heads };
}
