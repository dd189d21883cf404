/** The training thread, which keeps the page responsive. Throws `Trouble`. */
import { expose, transfer } from "comlink";
import { openDevice } from "../../../engine/adapters/browser.js";
import type { Device } from "../../../engine/index.js";
import type { Config } from "../../config/settings.js";
import { type BuiltinImages, builtinImages } from "../../images/builtin.js";
import type { Picture } from "../../pictures/drawing.js";
import { type Checkpoint, encodeCheckpoint } from "../../weights/checkpoint-bytes.js";
import { withTroubles } from "../shell/trouble.js";
import { opaque } from "../viewer/maps.js";
import { type TrainingEvent, type TrainingOutcome, trainInBrowser } from "./browser-training.js";

type Emit = (event: TrainingEvent) => void;

let device: Device | undefined;
let images: BuiltinImages | undefined;
/** The current training and its last state; undefined before the first. */
let course: { readonly config: Config; readonly state: Checkpoint | undefined } | undefined;
let stopping = new AbortController();

/** Returns the device, a new one if the last was lost. */
async function useDevice(): Promise<Device> {
  if (device?.failure()) {
    device[Symbol.dispose]();
    device = undefined;
  }
  return (device ??= await openDevice());
}

async function run(emit: Emit): Promise<TrainingOutcome> {
  const { config, state } = course!;
  stopping = new AbortController();
  emit({ kind: "activity", activity: "Opening the device" });
  const opened = await useDevice();
  emit({ kind: "activity", activity: "Drawing the images" });
  images ??= builtinImages();
  const saveState = (reached: Checkpoint) => void (course = { config, state: reached });
  return trainInBrowser({
    device: opened,
    config,
    images,
    from: state,
    stop: stopping.signal,
    emit,
    encode,
    saveState,
  });
}

/** Encodes a picture as PNG. */
function encode({ rgb, width, height }: Picture): Promise<Blob> {
  const canvas = new OffscreenCanvas(width, height);
  const { rgba } = opaque(rgb, { rows: height, cols: width });
  canvas.getContext("2d")!.putImageData(new ImageData(rgba, width, height), 0, 0);
  return canvas.convertToBlob();
}

const offered = {
  /** Opens the device; returns its name. */
  open: (): Promise<string> => withTroubles(async () => (await useDevice()).name),
  /** Trains from the first step on. */
  begin: (config: Config, emit: Emit): Promise<TrainingOutcome> => {
    course = { config, state: undefined };
    return withTroubles(() => run(emit));
  },
  /** Continues from the last state, on a new device if the last one was lost. */
  goOn: (emit: Emit): Promise<TrainingOutcome> => withTroubles(() => run(emit)),
  /** Stops the training after the current step. */
  stop: (): void => stopping.abort(),
  /** Returns the last state as a checkpoint file, with its step; undefined without one. */
  checkpoint: (): Promise<{ readonly step: number; readonly bytes: Uint8Array<ArrayBuffer> } | undefined> =>
    withTroubles(async () => {
      const state = course?.state;
      if (state === undefined) return undefined;
      const bytes = await encodeCheckpoint(state);
      return transfer({ step: state.step, bytes }, [bytes.buffer]);
    }),
};

/** Functions of the thread. */
export type TrainingThread = typeof offered;

expose(offered);
