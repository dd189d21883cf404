/** A training on the built-in images, with what is measured and drawn on the way: the same in a page's worker and in Node. */
import type { Device } from "../../../engine/index.js";
import { openInlineBatches } from "../../batches/inline-batches.js";
import { networkConfig } from "../../config/derive.js";
import { fitWarmups } from "../../config/resolve.js";
import type { Config } from "../../config/settings.js";
import { evaluateKnn } from "../../evaluation/evaluate.js";
import type { BuiltinImages } from "../../images/builtin.js";
import { firstOf, type Subset, type Splits, wholeSet } from "../../images/split.js";
import { viewOf } from "../../model/backbone.js";
import { type Extracted, extractFeatures, type ExtractOptions, pixelFeatures } from "../../model/extract.js";
import { backboneOf, initialValues } from "../../model/network.js";
import type { Picture } from "../../pictures/drawing.js";
import { drawRunPictures } from "../../pictures/run-pictures.js";
import type { StepLine } from "../../run/log.js";
import type { PictureKind } from "../../run/picture-names.js";
import { lengthOf } from "../../training/schedule.js";
import { batchOptions, openTrainer, type Progress } from "../../training/trainer.js";
import type { Checkpoint } from "../../weights/checkpoint-bytes.js";

export interface CourseOptions {
  readonly device: Device;
  readonly config: Config;
  readonly images: BuiltinImages;
  /** The state to go on from; the first step if left out. */
  readonly from?: Checkpoint | undefined;
  /** Ends the course in order. */
  readonly stop: AbortSignal;
  readonly tell: (event: CourseEvent) => void;
  /** Makes a file of a picture. */
  readonly encode: (picture: Picture) => Promise<Blob>;
  /** Takes states to go on from, now and then and where the course ends. */
  readonly keep: (state: Checkpoint) => void;
}

/** What a course tells on its way; plain data, which a worker can send. */
export type CourseEvent =
  /** The next step is the one after `step`. */
  | { readonly kind: "begins"; readonly step: number }
  /** What is done besides training; undefined when that is over. */
  | { readonly kind: "aside"; readonly words: string | undefined }
  | { readonly kind: "progress"; readonly progress: Progress }
  | { readonly kind: "line"; readonly line: StepLine }
  | { readonly kind: "drawn"; readonly drawn: DrawnStep }
  | { readonly kind: "measured"; readonly measured: Measurement }
  | { readonly kind: "warning"; readonly words: string };

export type Ended = "stopped" | "finished";

/** What the teacher sees in a few images. */
export interface DrawnStep {
  readonly step: number;
  readonly pictures: Readonly<Record<PictureKind, Blob>>;
}

/** How many of the held-out images have the class of their neighbours. */
export interface Measurement {
  readonly of: "pixels" | "untrained" | "trained";
  /** In percent. */
  readonly top1: number;
  readonly trainImages: number;
  readonly testImages: number;
}

/** What is done beside the training, by what a device can do: on a slow one it would take longer than the training. */
const BESIDE = {
  gpu: { looks: 8, train: Infinity, test: Infinity },
  cpu: { looks: 4, train: 1000, test: 250 },
} as const;
/** Neighbours that vote, as in the demo. */
const NEIGHBORS = 20;

/** Trains to the last step, or until it is told to stop: measures, trains and draws, and measures again. */
export async function takeCourse(options: CourseOptions): Promise<Ended> {
  const { stop } = options;
  try {
    await train(options);
    return "finished";
  } catch (error) {
    if (stop.aborted && error === stop.reason) return "stopped";
    throw error;
  }
}

async function train(options: CourseOptions): Promise<void> {
  const { device, images, from, stop, tell, encode, keep } = options;
  const parts = { train: wholeSet(images.train), test: wholeSet(images.test) };
  const { iterationsPerEpoch } = lengthOf(options.config, parts.train.indices.length);
  const { config } = fitWarmups(options.config, { iterationsPerEpoch, explicit: new Set() });
  const beside = BESIDE[device.kernels];
  const measure = measuring(options, {
    train: firstOf(parts.train, beside.train),
    test: firstOf(parts.test, beside.test),
  });

  tell({ kind: "aside", words: "Making the kernels ready" });
  const initialState = from ? { checkpoint: from } : { values: initialValues(networkConfig(config), config) };
  const setup = { ...parts.train, config, device, initialState };
  await using trainer = await openTrainer({
    ...setup,
    batches: openInlineBatches(batchOptions(setup)),
    onWarning: (words) => tell({ kind: "warning", words }),
  });
  const { teacher, steps } = trainer;
  tell({ kind: "begins", step: trainer.done });
  const measureTeacher = (of: Measurement["of"]) =>
    measure(of, ({ images: set }, how) => extractFeatures(backboneOf(teacher), set, how));
  const look = async (): Promise<void> => {
    keep(await trainer.state());
    const drawn = await drawRunPictures(teacher, trainer.done, { config, splits: parts });
    if (drawn === undefined) return;
    const pictures = { attention: await encode(drawn.attention), features: await encode(drawn.features) };
    tell({ kind: "drawn", drawn: { step: trainer.done, pictures } });
  };

  if (trainer.done === 0) {
    await measure("pixels", ({ images: set }, how) => pixelFeatures(set, how));
    await measureTeacher("untrained");
    await trainer.runAside(look);
  }
  tell({ kind: "aside", words: undefined });
  const lookEvery = Math.max(1, Math.round(steps / beside.looks));
  while (trainer.done < steps) {
    if (stop.aborted) keep(await trainer.state());
    stop.throwIfAborted();
    const { line, ...progress } = await trainer.runStep();
    tell({ kind: "progress", progress });
    if (line) tell({ kind: "line", line });
    if (trainer.done % lookEvery === 0 || trainer.done === steps) await trainer.runAside(look);
  }
  await measureTeacher("trained");
  tell({ kind: "aside", words: undefined });
}

type Extract = (subset: Subset, options: ExtractOptions) => Promise<Extracted>;

const WORDS = { pixels: "raw pixels", untrained: "the network before training", trained: "the network" } as const;

/** Measures features of some images by their neighbours, and tells how far it is and what it found. Heeds the stop. */
function measuring(
  { device, config, stop, tell }: CourseOptions,
  splits: Splits,
): (of: Measurement["of"], extract: Extract) => Promise<void> {
  const view = viewOf(config);
  const count = splits.train.indices.length + splits.test.indices.length;
  return async (of, extract) => {
    let before = 0;
    const { results, trainImages, testImages } = await evaluateKnn({
      ...{ splits, ks: [NEIGHBORS], device },
      extract: async (subset) => {
        const { indices } = subset;
        const onProgress = (done: number): void => {
          stop.throwIfAborted();
          tell({ kind: "aside", words: `Measuring ${WORDS[of]}: ${before + done} of ${count} images` });
        };
        const extracted = await extract(subset, { view, indices, onProgress });
        before += indices.length;
        return extracted;
      },
    });
    tell({ kind: "measured", measured: { of, top1: results[0]!.top1, trainImages, testImages } });
  };
}
