/** The thread side of batches: decodes images and makes their crops. It keeps nothing between tasks. */
import { parentPort, workerData } from "node:worker_threads";
import { applyCropU8, drawCrops, type AugmentOptions } from "./augment.js";
import type { CroppedPicture } from "./crop-maker.js";
import { type Image, normalize, normalizeTable, packPixels, resize } from "./pixels.js";
import { type DecodeFailure, type Decoding, type ImagePlace, isFailure } from "./sources/image-place.js";
import { decodePlace } from "./sources/place.js";

/** What a worker is started with. */
export interface WorkerSetup {
  readonly decoding: Decoding;
  readonly augment: AugmentOptions;
  readonly seed: number;
  /** Leaves making the crops to a device: pictures of so many pixels at most are sent instead. */
  readonly pixelsPerPicture?: number;
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
  readonly place: ImagePlace;
  /** What the crops are drawn for: the number of the image, or of the one that it stands in for. */
  readonly key: number;
}

/** The answer to a task. */
export interface WorkerCrops {
  readonly id: number;
  /** Of each item in turn: its global crops, then its local ones, each [3, rows, cols]; unset where decoding failed. */
  readonly crops: Float32Array<ArrayBuffer>;
  /** Of each item in turn, where a device makes the crops: its pixels [pixelsPerPicture], and what to make of them. */
  readonly pixels: Uint32Array<ArrayBuffer>;
  readonly pictures: readonly (CroppedPicture | undefined)[];
  readonly failures: readonly { readonly item: number; readonly failure: DecodeFailure }[];
}

const port = parentPort!;
const { decoding, augment, seed, pixelsPerPicture } = workerData as WorkerSetup;
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
  const crops = new Float32Array(pixelsPerPicture === undefined ? items.length * valuesPerImage : 0);
  const pixels = new Uint32Array(items.length * (pixelsPerPicture ?? 0));
  const pictures: (CroppedPicture | undefined)[] = items.map(() => undefined);
  const failures: { item: number; failure: DecodeFailure }[] = [];
  for (const [item, { place, key }] of items.entries()) {
    if (closed) return;
    const image = await decodePlace(place, decoding);
    if (isFailure(image)) {
      failures.push({ item, failure: image });
      continue;
    }
    if (pixelsPerPicture !== undefined) {
      const picture = fit(image, pixelsPerPicture);
      packPixels(picture, pixels, item * pixelsPerPicture);
      pictures[item] = { cols: picture.cols, crops: drawCrops(augment, { seed, epoch, index: key }, picture) };
      continue;
    }
    let start = item * valuesPerImage;
    for (const parameters of drawCrops(augment, { seed, epoch, index: key }, image)) {
      normalize(applyCropU8(image, parameters), table, crops, start);
      start += 3 * parameters.size.rows * parameters.size.cols;
    }
  }
  port.postMessage({ id, crops, pixels, pictures, failures } satisfies WorkerCrops, [crops.buffer, pixels.buffer]);
}

/** The image itself, or shrunk to so many pixels. */
function fit(image: Image, pixels: number): Image {
  const share = Math.sqrt(pixels / (image.rows * image.cols));
  if (share >= 1) return image;
  const shrunk = (side: number) => Math.max(1, Math.floor(side * share));
  return resize(image, { rows: shrunk(image.rows), cols: shrunk(image.cols) });
}
