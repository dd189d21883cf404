/** What `--preset auto` goes by: the images, out of the headers of some, and the adapter. */
import { totalmem } from "node:os";
import type { Device } from "../../engine/index.js";
import { measureImage } from "../images/sources/folder-images.js";
import type { Subset } from "../images/split.js";
import type { Facts } from "./auto.js";

/** Images whose headers are read, evenly spread over all. */
const SAMPLE = 200;
/** WebGPU does not say what a GPU has; most have 8 GiB or more. */
const GPU_BYTES = 6 * 2 ** 30;

/** Throws where not one image of the sample could be read. */
export async function gatherFacts({ images, indices }: Subset, device: Pick<Device, "kernels">): Promise<Facts> {
  const sample = Math.min(SAMPLE, indices.length);
  const measured = await Promise.all(
    Array.from({ length: sample }, (_, i) => measureImage(images, indices[Math.floor((i * indices.length) / sample)]!)),
  );
  const sides = measured.flatMap((found) => ("reason" in found ? [] : [Math.min(found.rows, found.cols)]));
  if (sides.length === 0) {
    const [first] = measured.flatMap((found) => ("reason" in found ? [`; ${found.path}: ${found.reason}`] : []));
    throw new Error(`--preset auto: expected images, but not one of ${sample} could be read${first ?? ""}`);
  }
  const shortSide = sides.sort((a, b) => a - b)[Math.floor(sides.length / 2)]!;
  return {
    images: indices.length,
    shortSide,
    ...(device.kernels === "gpu"
      ? { adapter: "gpu", memoryBytes: GPU_BYTES }
      : { adapter: "software", memoryBytes: totalmem() / 4 }),
  };
}
