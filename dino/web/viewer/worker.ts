/** The thread that the viewer computes on, so that its page stays smooth. What it throws is a Trouble. */
import { expose, transfer } from "comlink";
import { openDevice } from "../../../engine/adapters/browser.js";
import type { Device } from "../../../engine/index.js";
import type { Image } from "../../images/pixels.js";
import { withTroubles } from "../shell/trouble.js";
import { type ViewOptions, type ModelFacts, openViewer, type ImageView, type Viewer } from "./viewer-model.js";

let device: Device | undefined;
/** The model that is looked with, and what it was opened with, to open it once more. */
let current: (Files & { readonly viewer: Viewer }) | undefined;

interface Files {
  /** A checkpoint or model file. */
  readonly file: Uint8Array<ArrayBuffer>;
  /** Of the images of its index. */
  readonly features: Uint8Array | undefined;
}

/** Opens files in the place of the current ones, which stay where that fails; on a new device where the last one is gone. */
async function open({ file, features }: Files): Promise<ModelFacts> {
  if (device?.failure()) {
    device[Symbol.dispose]();
    device = undefined;
  }
  device ??= await openDevice();
  const viewer = await openViewer(device, file);
  try {
    if (features) viewer.setIndex(features);
  } catch (error) {
    viewer[Symbol.dispose]();
    throw error;
  }
  current?.viewer[Symbol.dispose]();
  current = { file, features, viewer };
  return viewer.facts;
}

const offered = {
  /** Opens a checkpoint or model file, and the features of images that go with it. */
  open: (file: Uint8Array<ArrayBuffer>, features: Uint8Array | undefined): Promise<ModelFacts> =>
    inTurn(() => open({ file, features })),
  /** Opens the same once more, on a new device where the last one is gone. */
  reopen: (): Promise<ModelFacts> => inTurn(() => open(current!)),
  look: (image: Image, options: ViewOptions): Promise<ImageView> =>
    inTurn(async () => {
      const sight = await current!.viewer.inspect(image, options);
      return transfer(sight, [sight.attention.buffer as ArrayBuffer]);
    }),
};

/** What the page may ask of the thread. */
export type ViewerThread = typeof offered;

/** Resolves when the work asked for so far is done: a device looks at one image at a time. */
let last: Promise<unknown> = Promise.resolve();

function inTurn<T>(work: () => Promise<T>): Promise<T> {
  const result = last.then(() => withTroubles(work));
  last = result.catch(() => undefined);
  return result;
}

expose(offered);
