/** Training on the built-in images with evaluations and pictures, in a page's worker or in Node. */
import type { Device } from "../../../engine/index.js";
import { openInlineBatches } from "../../batches/inline-batches.js";
import { fitWarmups } from "../../config/resolve.js";
import type { Config } from "../../config/settings.js";
import { evaluateKnn } from "../../evaluation/evaluate.js";
import type { BuiltinImages } from "../../images/builtin.js";
import { firstImages, fullSubset, type Splits, type Subset } from "../../images/split.js";
import { viewOf } from "../../model/backbone.js";
import { networkConfig } from "../../model/configure.js";
import { type Extracted, extractFeatures, type ExtractOptions, pixelFeatures } from "../../model/extract.js";
import { backboneOf, initialValues } from "../../model/network.js";
import type { Picture } from "../../pictures/drawing.js";
import { drawRunPictures } from "../../pictures/run-pictures.js";
import type { StepLine } from "../../run/log.js";
import type { PictureKind } from "../../run/picture-names.js";
import { lengthOf } from "../../training/schedule.js";
import { batchOptions, openTrainer, type Progress } from "../../training/trainer.js";
import type { Checkpoint } from "../../weights/checkpoint-bytes.js";

export interface BrowserTrainingOptions {
  readonly device: Device;
  readonly config: Config;
  readonly images: BuiltinImages;
  /** The state to continue from; default: the first step. */
  readonly from?: Checkpoint | undefined;
  /** Stops the training after the current step. */
  readonly stop: AbortSignal;
  readonly emit: (event: TrainingEvent) => void;
  /** Encodes a picture as a file. */
  readonly encode: (picture: Picture) => Promise<Blob>;
  /** Receives states to continue from, periodically and at the end. */
  readonly saveState: (state: Checkpoint) => void;
}

/** Events of a training; plain data, which a worker can send. */
export type TrainingEvent =
  /** Training starts after `step`. */
  | { readonly kind: "begins"; readonly step: number }
  /** Work other than training; undefined when it ends. */
  | { readonly kind: "activity"; readonly activity: string | undefined }
  | { readonly kind: "progress"; readonly progress: Progress }
  | { readonly kind: "line"; readonly line: StepLine }
  | { readonly kind: "drawn"; readonly drawn: DrawnStep }
  | { readonly kind: "measured"; readonly measured: Measurement }
  | { readonly kind: "warning"; readonly warning: string };

export type TrainingOutcome = "stopped" | "finished";

/** Pictures of the teacher after a step. */
export interface DrawnStep {
  readonly step: number;
  readonly pictures: Readonly<Record<PictureKind, Blob>>;
}

/** k-NN accuracy on the held-out images. */
export interface Measurement {
  readonly of: "pixels" | "untrained" | "trained";
  /** In percent. */
  readonly top1: number;
  readonly trainImages: number;
  readonly testImages: number;
}

/**
 * Number of pictures and of evaluated images by kind of device: on a slow one, more would take longer than the
 * training.
 */
const EVALUATION = {
  gpu: { looks: 8, train: Infinity, test: Infinity },
  cpu: { looks: 4, train: 1000, test: 250 },
} as const;
/** Neighbours that vote, as in the demo. */
const NEIGHBORS = 20;

/** Trains to the last step or until stopped; evaluates before and after, and draws pictures in between. */
export async function trainInBrowser(options: BrowserTrainingOptions): Promise<TrainingOutcome> {
  const { stop } = options;
  try {
    await train(options);
    return "finished";
  } catch (error) {
    if (stop.aborted && error === stop.reason) return "stopped";
    throw error;
  }
}

async function train(options: BrowserTrainingOptions): Promise<void> {
  const { device, images, from, stop, emit, encode, saveState } = options;
  const splits = { train: fullSubset(images.train), test: fullSubset(images.test) };
  const { iterationsPerEpoch } = lengthOf(options.config, splits.train.indices.length);
  const { config } = fitWarmups(options.config, { iterationsPerEpoch, explicit: new Set() });
  const evaluation = EVALUATION[device.kernels];
  const measure = createMeasure(options, {
    train: firstImages(splits.train, evaluation.train),
    test: firstImages(splits.test, evaluation.test),
  });

  emit({ kind: "activity", activity: "Compiling the kernels" });
  const initialState = from ? { checkpoint: from } : { values: initialValues(networkConfig(config), config) };
  const setup = { ...splits.train, config, device, initialState };
  await using trainer = await openTrainer({
    ...setup,
    batches: openInlineBatches(batchOptions(setup)),
    onWarning: (warning) => emit({ kind: "warning", warning }),
    onProgress: (progress) => emit({ kind: "progress", progress }),
  });
  const { teacher, steps } = trainer;
  emit({ kind: "begins", step: trainer.done });
  const measureTeacher = (of: Measurement["of"]) =>
    measure(of, ({ images: set }, how) => extractFeatures(backboneOf(teacher), set, how));
  const drawPictures = async (): Promise<void> => {
    saveState(await trainer.state());
    const drawn = await drawRunPictures(teacher, trainer.done, { config, splits: splits });
    if (drawn === undefined) return;
    const pictures = { attention: await encode(drawn.attention), features: await encode(drawn.features) };
    emit({ kind: "drawn", drawn: { step: trainer.done, pictures } });
  };

  if (trainer.done === 0) {
    await measure("pixels", ({ images: set }, how) => pixelFeatures(set, how));
    await measureTeacher("untrained");
    await trainer.runAside(drawPictures);
  }
  emit({ kind: "activity", activity: undefined });
  const drawEvery = Math.max(1, Math.round(steps / evaluation.looks));
  while (trainer.done < steps) {
    if (stop.aborted) saveState(await trainer.state());
    stop.throwIfAborted();
    const { line } = await trainer.runStep();
    if (line) emit({ kind: "line", line });
    if (trainer.done % drawEvery === 0 || trainer.done === steps) await trainer.runAside(drawPictures);
  }
  await measureTeacher("trained");
  emit({ kind: "activity", activity: undefined });
}

type Extract = (subset: Subset, options: ExtractOptions) => Promise<Extracted>;

const WORDS = { pixels: "raw pixels", untrained: "the network before training", trained: "the network" } as const;

/** Creates a function that measures k-NN accuracy of features and reports progress and result. Throws when stopped. */
function createMeasure(
  { device, config, stop, emit }: BrowserTrainingOptions,
  splits: Splits,
): (of: Measurement["of"], extract: Extract) => Promise<void> {
  const view = viewOf(config);
  const count = splits.train.indices.length + splits.test.indices.length;
  return async (of, extract) => {
    let before = 0;
    const { results, trainImages, testImages } = await evaluateKnn({
      splits,
      ks: [NEIGHBORS],
      device,
      extract: async (subset) => {
        const { indices } = subset;
        const onProgress = (done: number): void => {
          stop.throwIfAborted();
          emit({ kind: "activity", activity: `Measuring ${WORDS[of]}: ${before + done} of ${count} images` });
        };
        const extracted = await extract(subset, { view, indices, onProgress });
        before += indices.length;
        return extracted;
      },
    });
    emit({ kind: "measured", measured: { of, top1: results[0]!.top1, trainImages, testImages } });
  };
}
