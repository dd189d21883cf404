/** Metadata of exported files, for other programs and for `dino import`. */
import { backboneSettings } from "../config/backbone-settings.js";
import { evalView, isRgb } from "../config/derive.js";
import { parseConfig, withoutColors } from "../config/resolve.js";
import { type Config, defaultConfig, type PartialConfig, type SettingName } from "../config/settings.js";
import { vitConfig } from "../model/configure.js";

const PRODUCER = "dino-webgpu";

/** Settings of a network and of its view of images that the shapes of its weights do not determine. */
const undetermined: readonly SettingName[] = [
  ...(Object.keys(backboneSettings) as (keyof typeof backboneSettings)[]),
  ...(["imageSize", "evalResize", "evalSize", "mean", "std", "channelNames", "range", "background", "pages"] as const),
];

/** Returns the settings of a network, and of its view of images, that the shapes of its weights do not determine. */
export function undeterminedSettings(config: Config): PartialConfig {
  return {
    ...Object.fromEntries(undetermined.map((name) => [name, config[name]])),
    heads: vitConfig(config).heads,
  };
}

/**
 * Returns the metadata of a network: settings that shapes do not determine, and its view of images; nothing about the
 * run or its images.
 */
export function exportNotes(config: Config): Record<string, string> {
  const { channels, channelNames, range, patchSize, mean, std } = config;
  const { dim, depth, mlpRatio, registers } = vitConfig(config);
  const { resize, crop } = evalView(config);
  const settings = { channels, patchSize, dim, depth, mlpRatio, registers, ...undeterminedSettings(config) };
  return {
    producer: PRODUCER,
    settings: JSON.stringify(settings),
    patch_size: String(patchSize),
    resize: String(resize),
    crop: `${crop.rows}x${crop.cols}`,
    mean: mean.join(","),
    std: std.join(","),
    interpolation: "bicubic",
    ...(channels !== 3 && { channels: String(channels) }),
    ...(channelNames && { channel_names: channelNames.join(",") }),
    ...(typeof range === "object" && { range: range.join(",") }), // low and high values, which become 0 and 1
    ...(channels !== 3 && config.init !== null && { init_channels: config.initChannels }),
  };
}

/**
 * Parses the settings in the metadata of an exported file, with defaults for the rest; undefined for files of other
 * programs.
 */
export function configFromNotes({ producer, settings }: Readonly<Record<string, string>>): Config | undefined {
  if (producer !== PRODUCER || settings === undefined) return undefined;
  const noCrops = { localCropsNumber: 0 }; // the default crop size may not suit the patches
  const own = { ...defaultConfig, ...noCrops, ...(JSON.parse(settings) as PartialConfig) };
  const ofChannels = isRgb(own) ? {} : withoutColors;
  return parseConfig(JSON.stringify({ ...own, ...ofChannels }));
}
