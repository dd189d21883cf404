/** Worker thread that decodes images and makes their crops. It keeps no state between tasks. */
import { parentPort, workerData } from "node:worker_threads";
import type { Decoding, ImageLocation } from "../images/image-location.js";
import { decodeImage } from "../images/sources/decode.js";
import { type CropSettings, cropBuffers, type MadeCrops } from "./image-crops.js";

/** Start options of a worker. */
export interface WorkerSetup extends CropSettings {
  readonly decoding: Decoding;
}

/** A task: images to make crops of, or the request to close. */
export type WorkerTask =
  | { readonly kind: "close" }
  | {
      readonly kind: "crops";
      /** Returned with the answer; tasks may finish out of order. */
      readonly id: number;
      readonly epoch: number;
      readonly items: readonly WorkerItem[];
    };

/** One image of a task. */
export interface WorkerItem {
  readonly location: ImageLocation;
  /** Key of the crops' random draws: index of the image, or of the one that it replaces. */
  readonly key: number;
}

/** The answer to a task. */
export interface WorkerCrops extends MadeCrops {
  readonly id: number;
}

const port = parentPort!;
const { decoding, ...settings } = workerData as WorkerSetup;
const createBuffer = cropBuffers(settings);
let closed = false;

// Tasks overlap: while one waits for its next image to be decoded, the other makes crops.
port.on("message", (task: WorkerTask) => {
  if (task.kind === "crops") return void makeCrops(task);
  closed = true;
  port.close();
});

async function makeCrops({ id, epoch, items }: WorkerTask & { readonly kind: "crops" }): Promise<void> {
  const { made, add } = createBuffer(items.length, epoch);
  for (const [item, { location, key }] of items.entries()) {
    if (closed) return;
    add(item, await decodeImage(location, decoding), key);
  }
  port.postMessage({ id, ...made } satisfies WorkerCrops, [made.crops.buffer, made.pixels.buffer]);
}
