/** The functions of the package: each opens what it needs and does in one call what a command does. */
import { openDevice } from "../engine/adapters/node.js";
import type { Device } from "../engine/index.js";
import { readingOf } from "./config/derive.js";
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
import { extractFeatures, tokenBatches } from "./model/extract.js";
import { clsAttention, openInspector } from "./model/inspector.js";
import { patchGrid } from "./model/positions.js";
import { type Finished, type Listener, startTraining } from "./training/start.js";
import { loadModel as loadOnto } from "./weights/load-model.js";

/** Options of `loadModel`. */
export interface LoadOptions {
  /**
   * The device to load onto, which the caller closes. Default: the best adapter of this machine, closed with the model.
   */
  readonly device?: Device;
  /** The network of a training checkpoint; default "teacher". */
  readonly which?: Which;
}

/**
 * Loads a training checkpoint, or a model that `dino import` wrote, onto a device. Dispose of it (`using`) to free its
 * memory. Throws, naming the file, if it is neither, and if no adapter opens.
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

/** A set of images: a folder with its subfolders, the name of a built-in dataset, an opened set, or decoded images. */
export type Images = string | ImageSet | readonly Image[];

/** Options of feature extraction. */
export interface LookOptions {
  /** Images per forward pass; default 64. */
  readonly batch?: number;
  /** Called with the number of images processed and their total. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** Features of a set of images. */
export interface Embedded {
  /** One row per image, not normalised: [names.length, dim]. */
  readonly features: FeatureRows;
  /** The image of each row: its path within the folder, with "/" as separator on every system. */
  readonly names: readonly string[];
  /** Images that could not be decoded; they have no row. */
  readonly failures: readonly DecodeFailure[];
}

/**
 * Extracts the features that `dino embed` writes: the cls token after the last block, of the center crop of each image.
 * Throws for a folder without images, and if no image can be decoded.
 */
export async function embed(model: Model, images: Images, options: LookOptions = {}): Promise<Embedded> {
  const set = await openSet(model, images);
  const { features, indices, failures } = await extractFeatures(model, set, { ...options, view: viewOf(model.config) });
  return { features, names: Array.from(indices, (index) => set.name(index)), failures };
}

/** The features of one image and of its patches. */
export interface EmbeddedPatches {
  /** Its path within the folder, with "/" as separator on every system. */
  readonly name: string;
  /** The cls token after the last block: [dim]. */
  readonly feature: Float32Array;
  /** The patch tokens after the last block and the final norm: [rows, cols, dim]. */
  readonly patches: Float32Array;
  /** Size of the center crop in patches. */
  readonly rows: number;
  readonly cols: number;
  readonly dim: number;
}

/** Options of `embedPatches`. */
export interface PatchOptions extends LookOptions {
  /** Called with an image that cannot be decoded; it is left out. */
  readonly onFailure?: (failure: DecodeFailure) => void;
}

/**
 * Extracts the features that `dino embed --patches` writes, image by image, with one batch in memory at a time. Throws for a
 * folder without images.
 */
export async function* embedPatches(
  model: Model,
  images: Images,
  { onFailure, ...options }: PatchOptions = {},
): AsyncGenerator<EmbeddedPatches, void, undefined> {
  const set = await openSet(model, images);
  const view = viewOf(model.config);
  const grid = patchGrid(model.vit, view.crop.rows, view.crop.cols);
  const { dim } = model.vit;
  for await (const { features, patches, indices, failures } of tokenBatches(model, set, { ...options, view })) {
    if (onFailure) failures.forEach(onFailure);
    for (const [row, values] of patches.entries()) {
      const feature = features.values.slice(row * dim, (row + 1) * dim);
      yield { name: set.name(indices[row]!), feature, patches: values.slice(), ...grid, dim };
    }
  }
}

/** Options of `knn`. */
export interface KnnMeasure extends LookOptions {
  /** Labelled images that vote. */
  readonly train: Images;
  /** Labelled images to classify by their nearest neighbours in `train`. */
  readonly test: Images;
  /** Numbers of neighbours; each gives one result. Default: 10, 20, 100 and 200. */
  readonly ks?: readonly number[];
}

/**
 * Measures k-NN accuracy as `dino knn` does; the subfolders of a folder are its classes. Throws if images have no
 * classes, or if the test images have a class that the train images lack.
 */
export async function knn(model: Model, measure: KnnMeasure): Promise<KnnReport> {
  const { train: trainImages, test, ks = [10, 20, 100, 200], ...options } = measure;
  return evaluateKnn({
    splits: { train: fullSubset(await openSet(model, trainImages)), test: fullSubset(await openSet(model, test)) },
    extract: ({ images, indices }) =>
      extractFeatures(model, images, { ...options, indices, view: viewOf(model.config) }),
    ks,
    device: model.device,
  });
}

/** Opens a set of images, as a model reads them, unless it is open. */
export async function openSet({ config }: Model, images: Images): Promise<ImageSet> {
  if (typeof images === "string") return (await openSubset(images, readingOf(config))).images;
  return "decode" in images ? images : memoryImages({ images });
}

/** The attention of the cls token in the last block, for one image. */
export interface AttentionMaps {
  /** The input of the network: the image resized and center-cropped to whole patches. */
  readonly image: Image;
  /** The attention of each head to each patch: [heads, rows, cols]. */
  readonly maps: Float32Array;
  readonly heads: number;
  /** Size of the maps in patches. */
  readonly rows: number;
  readonly cols: number;
}

/**
 * Computes attention maps of images, one at a time; images are files or decoded. `size` is the shorter side to resize
 * to, or the full size; default: the training size, larger for finer maps. Throws, naming it, for a file that is not an
 * image.
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
    const decoded = typeof given === "string" ? await readImage(given, model.config) : given;
    const image = fitToPatches(decoded, { size: size ?? Math.min(rows, cols), patch });
    yield { image, heads, ...(await inspector.inspect(image)) };
  }
}

/** Options of `train` besides the settings of the run, including its event listeners. */
export interface TrainingOptions extends Listener {
  /** Continues the run in the folder `out`. */
  readonly resume?: boolean;
  /** Replaces a run that `out` already holds. */
  readonly overwrite?: boolean;
  /** The device to train on, which the caller closes. Default: the best adapter of this machine. */
  readonly device?: Device;
}

/**
 * Trains a network as `dino train` does with the same settings, and reports to listeners instead of a terminal. Throws
 * if settings contradict each other, if the folder `out` holds another run, and if the loss is not finite.
 */
export async function train(settings: PartialConfig, options: TrainingOptions = {}): Promise<Finished> {
  const { resume = false, overwrite = false, device, ...listener } = options;
  if (!resume && settings.data === undefined) throw new Error("train data: expected a folder of images, or `builtin`");
  return startTraining({ flags: settings, resume, overwrite, device: device, listener });
}
