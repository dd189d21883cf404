/** Measures the inputs of `--preset auto` and `adapt`: image sizes and colours from a sample, and the adapter. */
import { totalmem } from "node:os";
import type { Device } from "../../engine/index.js";
import { isTransparent } from "../images/sources/decode.js";
import { imageSet, measureImage } from "../images/sources/folder-images.js";
import { evenSample, type Subset } from "../images/split.js";
import { imageStatistics } from "../images/statistics.js";
import { AUTO_BACKGROUND, type Facts } from "./auto.js";
import type { PartialConfig } from "./settings.js";

/** Number of images whose headers are read, evenly spaced. */
const SAMPLE = 200;
/** Number of images that are decoded to measure their mean and standard deviation. */
const DECODED = 50;
/** Assumed GPU memory: WebGPU does not report it; most have 8 GiB or more. */
const GPU_BYTES = 6 * 2 ** 30;

/** Measures images and adapter. Throws if no image of the sample can be read. */
export async function gatherFacts(
  subset: Subset,
  device: Pick<Device, "kernels">,
  given: Pick<PartialConfig, "background"> = {},
): Promise<Facts> {
  const { images, indices } = subset;
  const sample = evenSample(subset, SAMPLE);
  const measured = await Promise.all(sample.map((index) => measureImage(images, index)));
  const sides = measured.flatMap((found) => ("reason" in found ? [] : [Math.min(found.rows, found.cols)]));
  if (sides.length === 0) {
    const [first] = measured.flatMap((found) => ("reason" in found ? [`; ${found.path}: ${found.reason}`] : []));
    throw new Error(`--preset auto: expected images, but not one of ${sample.length} could be read${first ?? ""}`);
  }
  const shortSide = sides.sort((a, b) => a - b)[Math.floor(sides.length / 2)]!;
  const areTransparent = given.background === undefined && (await hasTransparent(subset));
  const { mean, std } = await imageStatistics(areTransparent ? onBackground(subset) : subset, DECODED);
  return {
    areTransparent,
    images: indices.length,
    shortSide,
    mean,
    std,
    adapter: device.kernels === "gpu" ? "gpu" : "software",
    memoryBytes: memoryFor(device),
  };
}

/** Whether an image of a sample has transparent pixels. */
async function hasTransparent(subset: Subset): Promise<boolean> {
  const { channels = 3 } = subset.images.decoding;
  if (channels !== 1 && channels !== 3) return false; // alpha may be one of the channels
  for (const index of evenSample(subset, DECODED)) {
    if (await isTransparent(subset.images.location(index))) return true;
  }
  return false;
}

/** Returns the images as they are read on the background of `--preset auto`. */
function onBackground({ images, indices }: Subset): Subset {
  const decoding = { ...images.decoding, background: AUTO_BACKGROUND } as const;
  return { images: imageSet({ ...images, decoding }), indices };
}

/** Returns the memory that a step may take besides the weights, in bytes. */
export function memoryFor({ kernels }: Pick<Device, "kernels">): number {
  return kernels === "gpu" ? GPU_BYTES : totalmem() / 4;
}
