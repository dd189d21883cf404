/** Resolves flags, presets and files to the settings of a run. */
import { z } from "zod";
import { maskedCrops } from "../batches/block-masks.js";
import { printable } from "../files/text.js";
import { isBuiltin } from "../images/builtin.js";
import { backboneSize, isRgb } from "./derive.js";
import { flagOf, formatSize } from "./flags.js";
import { dinov2Defaults, dinov2Fixed, dinov2Only } from "./method-settings.js";
import { builtinPreset, presets, shapesOfDinov2 } from "./presets.js";
import type { Setting } from "./setting.js";
import {
  type Config,
  defaultConfig,
  type PartialConfig,
  type SettingName,
  settingNames,
  settings,
} from "./settings.js";
import { inWholePatches, type StartSettings } from "./start-settings.js";

/** Error for settings that contradict each other. */
export class SettingsError extends Error {}

/** Returns the first setting in which two runs differ, ignoring those in `free`. */
export function differenceBetween(a: Config, b: Config, free: ReadonlySet<SettingName>): SettingName | undefined {
  return settingNames.find((name) => !free.has(name) && JSON.stringify(a[name]) !== JSON.stringify(b[name]));
}

/** Settings that may change when a run is resumed: its length, and settings that affect no number. */
export const changeableOnResume: ReadonlySet<SettingName> = new Set([
  "epochs",
  "steps",
  "data",
  "out",
  "threads",
  "recompute",
  "logEvery",
  "verifyRanks",
  "tensorboard",
  "picturesEvery",
  "checkpointEvery",
  "saveckpFreq",
  "knnEvery",
  "linearEvery",
  "knnK",
]);

/** Settings that follow from files. */
export interface Derived {
  /** Settings picked by `--preset auto`, to fit images and flags. */
  readonly chosen?: PartialConfig | undefined;
  /** Settings of the network of `--init`. */
  readonly start?: StartSettings | undefined;
  /** Settings measured on the images. */
  readonly measured?: PartialConfig | undefined;
}

/**
 * Resolves the settings of a run: flags override the preset, which overrides the defaults of the method. The built-in images have a
 * preset of their own. A flag also overrides related settings of the preset: `--epochs` its steps, `--arch` its dim, depth and heads,
 * `--image-size` its eval-resize. Throws SettingsError where settings contradict each other.
 */
export function resolveConfig(flags: PartialConfig, { chosen, start, measured }: Derived = {}): Config {
  const { epochs, steps, arch, imageSize, data } = flags;
  if (epochs !== undefined && steps !== undefined && steps !== null) {
    throw new SettingsError(`--steps ${steps} and --epochs ${epochs} both give the length of the run; leave one out`);
  }
  const builtin = data !== undefined && isBuiltin(data) ? builtinPreset : null;
  const preset = flags.preset === undefined ? builtin : flags.preset;
  if (preset === "auto" && chosen === undefined)
    throw new SettingsError(
      "--preset auto goes by the images, which only dino train looks at first; name another preset here",
    );
  const named: PartialConfig = preset !== null && preset !== "auto" ? presets[preset] : {};
  const method = flags.method ?? named.method ?? defaultConfig.method;
  const recipe = { ...named, ...(method === "dinov2" && preset === "shapes" && shapesOfDinov2) };
  const idle = method === "dino" ? dinov2Only.find((name) => flags[name] !== undefined) : undefined;
  if (idle !== undefined) throw new SettingsError(`${flagOf(idle)} has no effect without --method dinov2`);
  const merged = {
    ...defaultConfig,
    ...(method === "dinov2" && dinov2Defaults),
    ...start?.view,
    ...recipe,
    ...(method === "dinov2" && dinov2Fixed), // in place of those of presets for DINO
    ...start?.backbone,
    ...ofOtherChannels({ ...defaultConfig, ...start?.view, ...start?.backbone, ...flags }, start?.view),
    ...measured,
    ...(epochs !== undefined && { steps: null }),
    ...(arch !== undefined && { dim: null, depth: null, heads: null }),
    ...(imageSize !== undefined && { evalResize: null, evalSize: null }),
    ...(preset === "auto" && chosen),
    ...flags,
    ...(measured?.range && { range: measured.range }), // in place of auto
    preset,
  };
  return checkConfig(start ? { ...merged, ...inWholePatches(merged, flags) } : merged);
}

/**
 * Returns the defaults for channels other than red, green and blue, nothing for those. Mean and standard deviation stand for what is
 * measured, unless the network of `--init` has the same channels.
 */
function ofOtherChannels(
  channeled: Pick<Config, "channels" | "channelNames">,
  view: PartialConfig = {},
): PartialConfig {
  if (isRgb(channeled)) return {};
  const { mean, std } = keepsNormalization(channeled, view) ? view : {};
  return { ...channelDefaults(channeled), ...(mean && { mean }), ...(std && { std }) };
}

/** Returns the defaults for images with these channels where they differ from those of all settings: none for colors. */
export function channelDefaults(channeled: Pick<Config, "channels" | "channelNames">): PartialConfig {
  if (isRgb(channeled)) return {};
  const each = (value: number) => Array.from({ length: channeled.channels }, () => value);
  return { ...withoutColors, mean: each(0.5), std: each(0.25) };
}

/** Whether the mean of the network of `--init` is one for these channels. */
function keepsNormalization({ channels }: Pick<Config, "channels">, { mean, channelNames }: PartialConfig): boolean {
  return mean?.length === channels && (channels !== 3 || channelNames !== null);
}

/**
 * Whether mean and standard deviation have to be measured: those of channels other than red, green and blue that neither flags nor
 * the network of `--init` give.
 */
export function needsMeasuring(flags: PartialConfig, start: StartSettings | undefined): boolean {
  const channeled = { ...defaultConfig, ...start?.view, ...start?.backbone, ...flags };
  return !isRgb(channeled) && flags.mean === undefined && !keepsNormalization(channeled, start?.view ?? {});
}

/** Settings that are for red, green and blue, off; of these, only solarization may be asked for. */
export const withoutColors = {
  saturation: 0,
  hue: 0,
  grayscale: 0,
  solarizeGlobal1: 0,
  solarizeGlobal2: 0,
  solarizeLocal: 0,
} as const satisfies PartialConfig;

/** Settings added in later versions, off by default. */
const later: ReadonlySet<SettingName> = new Set([
  "freezeBlocks",
  "init",
  "linearEvery",
  "maxPixels",
  "pages",
  "tile",
  "evalSize",
  "shuffleBuffer",
  "tensorboard",
  "picturesEvery",
  "compressGradients",
  "verifyRanks",
  "flipVertical",
  "quarterTurns",
  "rotation",
  "minContent",
  "shortSide",
  "channels",
  "channelNames",
  "range",
  "background",
  "initChannels",
]);

/** What config.json says about the device of a run, for readers only. */
export interface DeviceNotes {
  readonly name: string;
  readonly kernels: string;
  readonly f16: boolean;
  readonly tensorCores: boolean;
  /** Capabilities that the adapter claims but gets wrong. */
  readonly faults: readonly string[];
}

/**
 * Parses a config.json, without its notes about the device. Settings of DINOv2, of DINOv3 and of later versions may be missing, as in earlier runs, and are then off.
 * Throws, naming the setting, if another setting is missing, unknown or invalid.
 */
export function parseConfig(json: string): Config {
  let values: unknown;
  try {
    values = JSON.parse(json);
  } catch (error) {
    throw new Error(`config: this is no JSON: ${(error as Error).message}`, { cause: error });
  }
  const shape = Object.fromEntries(
    settingNames.map((name): [string, z.ZodType] => {
      const { schema, source, default: initial }: Setting<unknown> = settings[name];
      return [name, source.startsWith("dinov") || later.has(name) ? schema.default(initial) : schema];
    }),
  );
  const parsed = z.strictObject({ ...shape, device: z.unknown().optional() }).safeParse(values);
  if (parsed.success) {
    delete parsed.data.device;
    return checkConfig(parsed.data as unknown as Config);
  }
  const [issue] = parsed.error.issues;
  if (issue?.code === "unrecognized_keys") {
    throw new Error(
      `config: no setting is called ${printable(issue.keys.join(", "))}; was it written by another version?`,
    );
  }
  const name = issue?.path[0] as SettingName | undefined;
  if (name === undefined) throw new Error("config: expected an object of settings");
  const value = (values as Record<string, unknown>)[name];
  const { expected } = settings[name];
  throw new Error(
    value === undefined
      ? `config: the setting ${name} is missing; expected ${expected}`
      : `config ${name}: expected ${expected}, got ${printable(JSON.stringify(value))}`,
  );
}

/** Formats a configuration as config.json, with notes about the device if given. */
export function formatConfig(config: Config, device?: DeviceNotes): string {
  return `${JSON.stringify({ ...config, device }, undefined, 2)}\n`;
}

/** Returns the configuration; throws if settings contradict each other, naming both. */
function checkConfig(config: Config): Config {
  const { patchSize, imageSize, localSize, localCropsNumber, evalSize } = config;
  const sizes = { imageSize, ...(localCropsNumber > 0 && { localSize }), ...(evalSize !== null && { evalSize }) };
  for (const [name, { rows, cols }] of Object.entries(sizes)) {
    if (rows % patchSize !== 0 || cols % patchSize !== 0) {
      throw new SettingsError(
        `--patch-size ${patchSize} does not divide ${flagOf(name as keyof typeof sizes)} ${formatSize({ rows, cols })}`,
      );
    }
  }
  const { batch, accumulate } = config;
  if (batch % accumulate !== 0) throw new SettingsError(`--accumulate ${accumulate} does not divide --batch ${batch}`);
  if (config.koleo > 0 && batch / accumulate < 2) {
    throw new SettingsError(
      `--koleo ${config.koleo} parts images from each other, but one goes through at a time; raise --batch ${batch} ` +
        `or lower --accumulate ${accumulate}`,
    );
  }
  if (config.method === "dinov2") checkDinov2(config);
  checkChannels(config);
  const { dim, depth, heads } = backboneSize(config);
  if (config.freezeBlocks > depth)
    throw new SettingsError(`--freeze-blocks ${config.freezeBlocks} is more than the --depth of ${depth}`);
  if (dim % heads !== 0) throw new SettingsError(`--heads ${heads} does not divide --dim ${dim}`);
  if (dim / heads > 128) {
    throw new SettingsError(`--dim ${dim} over --heads ${heads} is ${dim / heads} a head; at most 128 are supported`);
  }
  if (config.positions === "rotary" && (dim / heads) % 4 !== 0)
    throw new SettingsError(
      `--positions rotary turns features by fours, but --dim ${dim} over --heads ${heads} is ${dim / heads} a head`,
    );
  const { evalResize } = config;
  const crop = evalSize ?? imageSize;
  if (evalResize !== null && evalResize < Math.max(crop.rows, crop.cols)) {
    const flag = evalSize === null ? "--image-size" : "--eval-size";
    throw new SettingsError(
      `--eval-resize ${evalResize} is smaller than ${flag} ${formatSize(crop)}, which is cut out of it`,
    );
  }
  const { heldOut, data } = config;
  if (config.linearEvery > 0 && heldOut === 0 && !isBuiltin(data)) {
    throw new SettingsError(
      `--linear-every ${config.linearEvery} needs images to classify; keep some from training with --held-out 0.1`,
    );
  }
  return config;
}

/** Throws for settings that do not go with the number of channels, or with channels that are no colors. */
function checkChannels(config: Config): void {
  const { channels, channelNames, range } = config;
  const perChannel = { mean: config.mean.length, std: config.std.length, channelNames: channelNames?.length };
  for (const [name, length = channels] of Object.entries(perChannel)) {
    if (length !== channels) {
      const flag = flagOf(name as keyof typeof perChannel);
      throw new SettingsError(`${flag}: expected ${channels}, one for each of --channels, got ${length}`);
    }
  }
  if (channelNames && new Set(channelNames).size < channels)
    throw new SettingsError(`--channel-names: expected different names, got ${channelNames.join(",")}`);
  if (
    typeof range === "object" &&
    channels !== 1 &&
    channels !== 3 &&
    range.length > 2 &&
    range.length !== 2 * channels
  ) {
    throw new SettingsError(
      `--range: expected two numbers, or ${2 * channels} for ${channels} channels, got ${range.length}`,
    );
  }
  if (config.background !== "none" && channels !== 1 && channels !== 3)
    throw new SettingsError(
      `--background ${config.background} is for gray and RGB and does not go with --channels ${channels}; leave it out`,
    );
  if (isRgb(config)) return;
  const colored = (["saturation", "hue", "grayscale"] as const).find((name) => config[name] > 0);
  if (colored === undefined) return;
  const what = channelNames ? `channels called ${channelNames.join(", ")}` : `--channels ${channels}`;
  throw new SettingsError(`${flagOf(colored)} is for red, green and blue and does not go with ${what}; leave it out`);
}

/** Throws for settings that DINOv2 does not go with. */
function checkDinov2(config: Config): void {
  const { optimizer, useBnInHead, normLastLayer, maskToken, batch, maskProbability, maskRatio, imageSize, patchSize } =
    config;
  const refuse = (flag: string, instead: string) => {
    throw new SettingsError(`--method dinov2 does not go with ${flag}; ${instead}`);
  };
  if (optimizer !== "adamw") refuse(`--optimizer ${optimizer}`, "it trains with adamw");
  if (useBnInHead) refuse("--use-bn-in-head", "its heads have no batch norm");
  if (normLastLayer) refuse("--norm-last-layer", "its last layers learn their lengths");
  if (maskToken === "none") refuse("--mask-token none", "take optional, or always for weights of DINOv3");
  if (maskedCrops({ images: batch, probability: maskProbability }) === 0)
    throw new SettingsError(
      `--mask-probability ${maskProbability} masks none of the ${2 * batch} global crops of a step; raise it or --batch`,
    );
  const patches = (imageSize.rows / patchSize) * (imageSize.cols / patchSize);
  if (Math.floor(patches * maskRatio[1]) === 0)
    throw new SettingsError(
      `--mask-ratio ${maskRatio.join(" ")} masks none of the ${patches} patches of a crop; raise it or --image-size`,
    );
}

/** A configuration with warm-ups that fit the run, and messages about what was shortened. */
export interface FittedConfig {
  readonly config: Config;
  readonly notes: readonly string[];
}

/**
 * Shortens warm-ups that are longer than the run to a tenth of it. Throws if such a warm-up is among the `explicit`
 * settings, which the user set.
 */
export function fitWarmups(
  config: Config,
  {
    iterationsPerEpoch,
    explicit,
  }: { readonly iterationsPerEpoch: number; readonly explicit: ReadonlySet<SettingName> },
): FittedConfig {
  const { steps, epochs } = config;
  const length = steps === null ? epochs : steps / iterationsPerEpoch; // in epochs
  const run = steps === null ? `${epochs} epochs` : `${steps} steps, ${round(length)} epochs`;
  const notes: string[] = [];
  const fit = (name: "warmupEpochs" | "warmupTeacherTempEpochs", shortened: number, longest: number): number => {
    const warmup = config[name];
    if (warmup <= longest) return warmup;
    if (explicit.has(name)) {
      throw new Error(`${flagOf(name)} ${warmup} is longer than the run of ${run}; shorten it, or lengthen the run`);
    }
    notes.push(`${flagOf(name)} ${warmup} is longer than the run of ${run}: shortened to ${round(shortened)}`);
    return shortened;
  };
  const warmupEpochs = fit("warmupEpochs", length / 10, length);
  const warmupTeacherTempEpochs = fit("warmupTeacherTempEpochs", Math.floor(length / 10), Math.ceil(length));
  return { config: { ...config, warmupEpochs, warmupTeacherTempEpochs }, notes };
}

function round(value: number): number {
  return Number(value.toPrecision(3));
}
