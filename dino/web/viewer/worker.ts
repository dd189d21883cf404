/** The viewer thread, which keeps the page responsive. Throws `Trouble`. */
import { expose, transfer } from "comlink";
import { openDevice } from "../../../engine/adapters/browser.js";
import type { Device } from "../../../engine/index.js";
import { withTroubles } from "../shell/trouble.js";
import { type InputImage, readInput } from "./input-image.js";
import { type ViewOptions, type ModelFacts, openViewer, type ImageView, type Viewer } from "./viewer-model.js";

let device: Device | undefined;
/** The open model with its files, to reopen it. */
let current: (Files & { readonly viewer: Viewer }) | undefined;

interface Files {
  /** A checkpoint or model file. */
  readonly file: Uint8Array<ArrayBuffer>;
  /** Features of the images of its index. */
  readonly features: Uint8Array | undefined;
}

/** Opens files and replaces the current ones, which stay open on errors; uses a new device if the last one was lost. */
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
  /** Opens a checkpoint or model file, and the features of its index. */
  open: (file: Uint8Array<ArrayBuffer>, features: Uint8Array | undefined): Promise<ModelFacts> =>
    inTurn(() => open({ file, features })),
  /** Opens the same files again, on a new device if the last one was lost. */
  reopen: (): Promise<ModelFacts> => inTurn(() => open(current!)),
  look: (input: InputImage, options: ViewOptions): Promise<ImageView> =>
    inTurn(async () => {
      const { viewer } = current!;
      const image = await readInput(input, viewer.facts, viewer.reading);
      const sight = await viewer.inspect(image, options);
      return transfer(sight, [sight.queriesAndKeys.buffer as ArrayBuffer]);
    }),
};

/** Functions of the thread. */
export type ViewerThread = typeof offered;

/** Resolves when all previous work is done: a device processes one image at a time. */
let last: Promise<unknown> = Promise.resolve();

function inTurn<T>(work: () => Promise<T>): Promise<T> {
  const result = last.then(() => withTroubles(work));
  last = result.catch(() => undefined);
  return result;
}

expose(offered);
