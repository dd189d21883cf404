/** What a program does with a network in a line each: everything that the functions behind the commands need is opened here. */
import { openDevice } from "../engine/adapters/node.js";
import type { Device } from "../engine/index.js";
import type { PartialConfig } from "./config/settings.js";
import { evaluateKnn, type KnnReport } from "./evaluation/evaluate.js";
import { fitToPatches } from "./images/crop-to-patches.js";
import type { DecodeFailure } from "./images/image-location.js";
import { type ImageSet, memoryImages } from "./images/image-set.js";
import type { Image, Size } from "./images/pixels.js";
import { readImage } from "./images/sources/image-files.js";
import { openSubset } from "./images/sources/open-splits.js";
import { fullSubset } from "./images/split.js";
import type { FeatureRows } from "./math/feature-rows.js";
import { type Model, viewOf, type Which } from "./model/backbone.js";
import { extractFeatures } from "./model/extract.js";
import { clsAttention, openInspector } from "./model/inspector.js";
import { type Finished, type Listener, startTraining } from "./training/start.js";
import { loadModel as loadOnto } from "./weights/load-model.js";

/** Where to load a model, and which. */
export interface LoadOptions {
  /** Where to load it, which stays open; if left out, the best adapter of this machine, closed with the model. */
  readonly device?: Device;
  /** Which network of a checkpoint of training: "teacher" if left out. */
  readonly which?: Which;
}

/**
 * Loads a checkpoint of training, or a model of `dino import`, onto a device. Dispose of it (`using`) to free its memory.
 * Throws, naming the file, if it is neither, and where no adapter opens.
 */
export async function loadModel(path: string, { device, which }: LoadOptions = {}): Promise<Model> {
  if (device) return loadOnto(device, path, which);
  const own = await openDevice();
  try {
    const model = await loadOnto(own, path, which);
    return {
      ...model,
      [Symbol.dispose]() {
        model[Symbol.dispose]();
        own[Symbol.dispose]();
      },
    };
  } catch (error) {
    own[Symbol.dispose]();
    throw error;
  }
}

/** Images: a folder with its subfolders, the name of a built-in set, a set that is open, or decoded images. */
export type Images = string | ImageSet | readonly Image[];

/** How to look at many images. */
export interface LookOptions {
  /** Images of one run on the device: 64 if left out. */
  readonly batch?: number;
  /** Told how many images have been looked at, of how many. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** Features of images. */
export interface Embedded {
  /** A row an image, not normalised: [names.length, dim]. */
  readonly features: FeatureRows;
  /** The image of each row: its path within the folder, "/" between the parts on every system. */
  readonly names: readonly string[];
  /** What could not be decoded, and so has no row. */
  readonly failures: readonly DecodeFailure[];
}

/**
 * The features of images, as `dino embed` writes them: the cls token after the last block, of the middle of each image. Throws for
 * a folder without images, and if not one of them could be decoded.
 */
export async function embed(model: Model, images: Images, options: LookOptions = {}): Promise<Embedded> {
  const set = await openSet(images);
  const { features, indices, failures } = await extractFeatures(model, set, { ...options, view: viewOf(model.config) });
  return { features, names: Array.from(indices, (index) => set.name(index)), failures };
}

/** What `knn` measures. */
export interface KnnMeasure extends LookOptions {
  /** Images whose classes are known. */
  readonly train: Images;
  /** Images to classify by their neighbours among those. */
  readonly test: Images;
  /** Numbers of neighbours, each of which gives a result: 10, 20, 100 and 200 if left out. */
  readonly ks?: readonly number[];
}

/**
 * How well neighbours tell classes apart, as `dino knn` measures it; the subfolders of a folder are the classes. Throws where
 * images have no classes, or the test images one that the train images lack.
 */
export async function knn(model: Model, measure: KnnMeasure): Promise<KnnReport> {
  const { train: training, test, ks = [10, 20, 100, 200], ...options } = measure;
  return evaluateKnn({
    splits: { train: fullSubset(await openSet(training)), test: fullSubset(await openSet(test)) },
    extract: ({ images, indices }) =>
      extractFeatures(model, images, { ...options, indices, view: viewOf(model.config) }),
    ks,
    device: model.device,
  });
}

async function openSet(images: Images): Promise<ImageSet> {
  if (typeof images === "string") return (await openSubset(images)).images;
  return "decode" in images ? images : memoryImages({ images });
}

/** What the cls token of the last block attends to in one image. */
export interface AttentionMaps {
  /** The image as the network saw it: resized, its middle cut to whole patches. */
  readonly image: Image;
  /** Each head's share of attention for each patch: [heads, rows, cols]. */
  readonly maps: Float32Array;
  readonly heads: number;
  /** Of the maps, in patches. */
  readonly rows: number;
  readonly cols: number;
}

/**
 * Attention maps of images, one after the other; images are files or decoded. `size` is the shorter side to resize an image to, or
 * its whole size: as in training if left out, more for finer maps. Throws, naming it, for a file that is no image.
 */
export async function* attentionMaps(
  model: Model,
  images: Iterable<string | Image>,
  { size }: { readonly size?: number | Size } = {},
): AsyncGenerator<AttentionMaps, void, undefined> {
  const { patch, heads } = model.vit;
  const { rows, cols } = model.config.imageSize;
  using inspector = openInspector(model, model.config, { maps: clsAttention });
  for (const given of images) {
    const decoded = typeof given === "string" ? await readImage(given) : given;
    const image = fitToPatches(decoded, { size: size ?? Math.min(rows, cols), patch });
    yield { image, heads, ...(await inspector.inspect(image)) };
  }
}

/** How to train, beside the settings of the run, and who is told. */
export interface TrainingOptions extends Listener {
  /** Goes on with the run in the folder `out`. */
  readonly resume?: boolean;
  /** Replaces the run that is there. */
  readonly overwrite?: boolean;
  /** What to train on, which stays open; the best adapter of this machine if left out. */
  readonly device?: Device;
}

/**
 * Trains a network, as `dino train` does with the same settings, and tells its listeners how it goes instead of a terminal.
 * Throws where settings contradict each other, for a folder `out` that holds another run, and on a loss that is not finite.
 */
export async function train(settings: PartialConfig, options: TrainingOptions = {}): Promise<Finished> {
  const { resume = false, overwrite = false, device, ...listener } = options;
  if (!resume && settings.data === undefined) throw new Error("train data: expected a folder of images, or `builtin`");
  return startTraining({ flags: settings, resume, overwrite, device, listener });
}
