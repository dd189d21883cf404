/** Metadata of exported files, for other programs and for `dino import`. */
import { evalView } from "../config/derive.js";
import { parseConfig } from "../config/resolve.js";
import { type Config, defaultConfig } from "../config/settings.js";
import { vitConfig } from "../model/configure.js";

const PRODUCER = "dino-webgpu";

/**
 * Returns the metadata of a network: settings that shapes do not determine, and its view of images; nothing about the
 * run or its images.
 */
export function exportNotes(config: Config): Record<string, string> {
  const { imageSize, patchSize, evalResize, evalSize, mean, std } = config;
  const { dim, depth, heads, mlpRatio, registers } = vitConfig(config);
  const { resize, crop } = evalView(config);
  const settings = { imageSize, patchSize, dim, depth, heads, mlpRatio, registers, evalResize, evalSize, mean, std };
  return {
    producer: PRODUCER,
    settings: JSON.stringify(settings),
    patch_size: String(patchSize),
    resize: String(resize),
    crop: `${crop.rows}x${crop.cols}`,
    mean: mean.join(","),
    std: std.join(","),
    interpolation: "bicubic",
  };
}

/**
 * Parses the settings in the metadata of an exported file, with defaults for the rest; undefined for files of other
 * programs.
 */
export function configFromNotes({ producer, settings }: Readonly<Record<string, string>>): Config | undefined {
  if (producer !== PRODUCER || settings === undefined) return undefined;
  const noCrops = { localCropsNumber: 0 }; // the default crop size may not suit the patches
  return parseConfig(JSON.stringify({ ...defaultConfig, ...noCrops, ...(JSON.parse(settings) as object) }));
}
