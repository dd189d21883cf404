/** Settings of a run that starts from the weights of a file, besides those that are given. */
import type { Size } from "../images/pixels.js";
import type { Config, PartialConfig, SettingName } from "./settings.js";

/** Settings of the network in a file. */
export interface StartSettings {
  /** Size and normalisation of images, which a preset overrides. */
  readonly view: PartialConfig;
  /** The backbone, which only flags override. */
  readonly backbone: PartialConfig;
}

/** Settings of the backbone, besides its size. */
export const backboneTraits = [
  "positions",
  "positionOffset",
  "positionAntialias",
  "ropeBase",
  "ropePeriods",
  "ropeNormalize",
  "ffn",
  "normEpsilon",
  "qkvBias",
  "maskKeyBias",
  "clsNorm",
  "localClsNorm",
] as const satisfies readonly SettingName[];

/** Largest side of global crops that a file asks for; models for larger images were trained on such crops first. */
const MOST_PIXELS = 224;

/** Returns the settings of a run that starts from a network with these settings. */
export function startSettings(network: Config): StartSettings {
  const pick = <Name extends SettingName>(...names: readonly Name[]) =>
    Object.fromEntries(names.map((name) => [name, network[name]])) as Pick<Config, Name>;
  const { imageSize: own, patchSize } = network;
  const imageSize = wholePatches(own, patchSize, Math.min(1, MOST_PIXELS / Math.max(own.rows, own.cols)));
  const localSize = wholePatches(imageSize, patchSize, 3 / 7); // 96 of 224 pixels in the paper
  return {
    view: { imageSize, localSize, ...pick("mean", "std", "channelNames", "range", "background", "pages") },
    backbone: {
      ...pick(
        "channels",
        "patchSize",
        "dim",
        "depth",
        "heads",
        "mlpRatio",
        "registers",
        "layerScale",
        ...backboneTraits,
      ),
      ...(network.maskToken === "always" && { maskToken: "always" }),
    },
  };
}

/** Rounds sizes of crops that are not given to whole patches. */
export function inWholePatches(config: Config, given: PartialConfig): Pick<Config, "imageSize" | "localSize"> {
  const { patchSize, imageSize, localSize } = config;
  return {
    imageSize: given.imageSize ?? wholePatches(imageSize, patchSize),
    localSize: given.localSize ?? wholePatches(localSize, patchSize),
  };
}

/** Scales a size and rounds it to whole patches, at least one. */
function wholePatches({ rows, cols }: Size, patch: number, scale = 1): Size {
  const whole = (side: number) => patch * Math.max(1, Math.round((side * scale) / patch));
  return { rows: whole(rows), cols: whole(cols) };
}
