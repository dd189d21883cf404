/** Settings that follow from the values of the images. */
import { type Choice, normalizationOf } from "../config/auto.js";
import { needsMeasuring } from "../config/resolve.js";
import type { PartialConfig } from "../config/settings.js";
import type { StartSettings } from "../config/start-settings.js";
import type { Subset } from "../images/split.js";
import { imageStatistics } from "../images/statistics.js";

/** Number of images that are decoded. */
const SAMPLE = 50;

/**
 * Measures what flags and the network of `--init` leave open: the range of values, if it was `auto` when the images were opened, and
 * mean and standard deviation of channels other than red, green and blue.
 */
export async function measureSettings(
  images: Subset,
  flags: PartialConfig,
  start: StartSettings | undefined,
): Promise<readonly Choice[]> {
  const choices: Choice[] = [];
  const { range } = images.images.decoding;
  if (flags.range === "auto" && range !== undefined)
    choices.push({ settings: { range }, because: "percentiles 0.5 and 99.5 of the values of a few images" });
  if (needsMeasuring(flags, start)) {
    const { mean, std } = await imageStatistics(images, SAMPLE);
    const settings = normalizationOf({ mean, std });
    choices.push({
      settings: flags.std === undefined ? settings : { mean: settings.mean },
      because: "measured on a few images",
    });
  }
  return choices;
}
