/** What an exported file says of itself besides its numbers, for other programs and for `dino import`. */
import { evalView, vitConfig } from "../config/derive.js";
import { parseConfig } from "../config/resolve.js";
import { type Config, defaultConfig } from "../config/settings.js";

const PRODUCER = "dino-webgpu";

/** What shapes do not tell of a network, and how images are shown to it; nothing of the run, as where its images lay. */
export function exportNotes(config: Config): Record<string, string> {
  const { imageSize, patchSize, evalResize, mean, std } = config;
  const { dim, depth, heads, mlpRatio, registers } = vitConfig(config);
  const { resize, crop } = evalView(config);
  const settings = { imageSize, patchSize, dim, depth, heads, mlpRatio, registers, evalResize, mean, std };
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

/** The settings in the notes of an exported file, defaults but for those; undefined for notes of other programs. */
export function configFromNotes({ producer, settings }: Readonly<Record<string, string>>): Config | undefined {
  if (producer !== PRODUCER || settings === undefined) return undefined;
  const noCrops = { localCropsNumber: 0 }; // whose default size need not suit the patches
  return parseConfig(JSON.stringify({ ...defaultConfig, ...noCrops, ...(JSON.parse(settings) as object) }));
}
