/** The thread side of batches: decodes images and makes their crops. It keeps nothing between tasks. */
import { parentPort, workerData } from "node:worker_threads";
import { applyCropU8, drawCrops, type AugmentOptions } from "./augment.js";
import { decodeFrom, isFailure, type DecodeFailure, type ImageSource } from "./images.js";
import { normalize, normalizeTable } from "./pixels.js";

/** What a worker is started with. */
export interface WorkerSetup {
  readonly source: ImageSource;
  readonly augment: AugmentOptions;
  readonly seed: number;
}

/** Images to make crops of, or the end of work. */
export type WorkerTask =
  | { readonly kind: "close" }
  | {
      readonly kind: "crops";
      /** Returned with the answer: tasks may overtake each other. */
      readonly id: number;
      readonly epoch: number;
      readonly items: readonly WorkerItem[];
    };

/** One image of a task. */
export interface WorkerItem {
  readonly index: number;
  readonly name: string;
  /** The image number that the crops are drawn for: that of the image this one stands in for. */
  readonly key: number;
}

/** The answer to a task. */
export interface WorkerCrops {
  readonly id: number;
  /** Of each item in turn: its global crops, then its local ones, each [3, rows, cols]; unset where decoding failed. */
  readonly crops: Float32Array<ArrayBuffer>;
  readonly failures: readonly { readonly item: number; readonly failure: DecodeFailure }[];
}

const port = parentPort!;
const { source, augment, seed } = workerData as WorkerSetup;
const table = normalizeTable(augment);
const { globalSize, localSize, localCrops } = augment;
const valuesPerImage = 3 * (2 * globalSize.rows * globalSize.cols + localCrops * localSize.rows * localSize.cols);
let closed = false;

// Tasks overlap: while one waits for its next image to be decoded, the other makes crops.
port.on("message", (task: WorkerTask) => {
  if (task.kind === "crops") return void makeCrops(task);
  closed = true;
  port.close();
});

async function makeCrops({ id, epoch, items }: WorkerTask & { readonly kind: "crops" }): Promise<void> {
  const crops = new Float32Array(items.length * valuesPerImage);
  const failures: { item: number; failure: DecodeFailure }[] = [];
  for (const [item, { index, name, key }] of items.entries()) {
    if (closed) return;
    const image = await decodeFrom(source, index, name);
    if (isFailure(image)) {
      failures.push({ item, failure: image });
      continue;
    }
    let start = item * valuesPerImage;
    for (const parameters of drawCrops(augment, { seed, epoch, index: key }, image)) {
      normalize(applyCropU8(image, parameters), table, crops, start);
      start += 3 * parameters.size.rows * parameters.size.cols;
    }
  }
  port.postMessage({ id, crops, failures } satisfies WorkerCrops, [crops.buffer]);
}
