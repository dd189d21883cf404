/** The thread that the viewer computes on, so that its page stays smooth. What it throws is a Trouble. */
import { expose, transfer } from "comlink";
import { openDevice } from "../../../engine/browser.js";
import type { Device } from "../../../engine/index.js";
import type { Image } from "../../pixels.js";
import { troubleOf } from "../shell/trouble.js";
import { type LookOptions, type ModelFacts, openViewer, type Sight, type Viewer } from "./looking.js";

let device: Device | undefined;
let viewer: Viewer | undefined;
/** What the viewer was opened with, to open it once more. */
let model: Uint8Array<ArrayBuffer> | undefined;
let index: Uint8Array | undefined;

async function reopen(): Promise<ModelFacts> {
  viewer?.[Symbol.dispose]();
  viewer = undefined;
  if (device?.failure()) {
    device[Symbol.dispose]();
    device = undefined;
  }
  device ??= await openDevice();
  viewer = await openViewer(device, model!);
  if (index) viewer.setIndex(index);
  return viewer.facts;
}

const offered = {
  /** Opens a checkpoint or model file, and the features of images that go with it. */
  open: (file: Uint8Array<ArrayBuffer>, features: Uint8Array | undefined): Promise<ModelFacts> => {
    [model, index] = [file, features];
    return inWords(reopen);
  },
  /** Opens the same once more, on a new device where the last one is gone. */
  reopen: (): Promise<ModelFacts> => inWords(reopen),
  look: (image: Image, options: LookOptions): Promise<Sight> =>
    inWords(async () => {
      const sight = await viewer!.look(image, options);
      return transfer(sight, [sight.attention.buffer as ArrayBuffer]);
    }),
};

/** What the page may ask of the thread. */
export type ViewerThread = typeof offered;

/** Resolves when the work asked for so far is done: a device looks at one image at a time. */
let last: Promise<unknown> = Promise.resolve();

/** Does something in its turn, and tells in words what goes wrong. */
async function inWords<T>(work: () => Promise<T>): Promise<T> {
  const result = last.then(work);
  last = result.catch(() => undefined);
  try {
    return await result;
  } catch (error) {
    // eslint-disable-next-line @typescript-eslint/only-throw-error -- errors lose their class on the way to the page
    throw troubleOf(error);
  }
}

expose(offered);
