/** Networks and indexes of `dino embed`, prepared for the viewer. */
import { existsSync } from "node:fs";
import { readFile, realpath, stat } from "node:fs/promises";
import { basename, extname } from "node:path";
import { pictureDecoding, shownChannels } from "../config/derive.js";
import { featurePaths, runIndexPath, readFeatures } from "../evaluation/feature-files.js";
import { encodeNpyBytes } from "../files/npy.js";
import { isFailure } from "../images/image-location.js";
import { channelsOf, type Image, resize, sizeWithin } from "../images/pixels.js";
import { indexedImages } from "../retrieval/indexed-images.js";
import { runFiles } from "../run/run-folder.js";
import { encodeModel } from "../weights/checkpoint-bytes.js";
import { readNetworkOf } from "../weights/load-model.js";
import type { IndexedNames, ModelState } from "./api.js";
import { type Runs, uniqueName, versionOf } from "./runs.js";
import { encodeWebp } from "./webp.js";

/** A network on disk, and its index if any. */
export interface ServedModel {
  /** A checkpoint or model file. */
  readonly path: string;
  /** A feature file of `dino embed`. */
  readonly index?: string;
}

/** Models in addition to those of the runs. */
export interface ModelReaderOptions {
  /** Checkpoints and model files. */
  readonly models: readonly string[];
  /** Feature files, whose lists name the models that made them. */
  readonly indexes: readonly string[];
}

/** Finds models by name: those of the runs, and others. */
export type ModelFinder = (runs: Runs) => Promise<ReadonlyMap<string, ServedModel>>;

/**
 * Opens models and indexes. Throws, naming the file, for an invalid model, and for an index whose model is missing or
 * was a student.
 */
export async function openModels({ models, indexes }: ModelReaderOptions): Promise<ModelFinder> {
  const indexOf = new Map<string, string>();
  for (const index of indexes) {
    const { checkpoint, which } = (await readFeatures(index)).list;
    if (!existsSync(checkpoint)) throw new Error(`--index ${index}: made with ${checkpoint}, which does not exist`);
    if (which !== "teacher")
      throw new Error(
        `--index ${index}: made by a student, but the viewer shows the teacher; run dino embed with --which teacher`,
      );
    indexOf.set(await realpath(checkpoint), index);
  }
  for (const model of models) await readNetworkOf(model, "teacher");
  return async (runs) => {
    const found = new Map<string, ServedModel>();
    const known = new Set<string>();
    const add = async (name: string, path: string, defaultIndex?: string) => {
      const real = await realpath(path);
      if (known.has(real)) return;
      known.add(real);
      const index = indexOf.get(real) ?? defaultIndex;
      found.set(uniqueName(found, name), { path, ...(index !== undefined && { index }) });
    };
    for (const [name, folder] of runs) {
      const { checkpoint } = runFiles(folder);
      const features = runIndexPath(folder);
      if (existsSync(checkpoint)) await add(name, checkpoint, existsSync(features) ? features : undefined);
    }
    for (const path of [...models, ...indexOf.keys()]) await add(basename(path, extname(path)), path);
    return found;
  };
}

/** Describes a model. Throws if its file is gone. */
export async function describeModel(name: string, { path, index }: ServedModel): Promise<ModelState> {
  const file = await stat(path);
  const features = index === undefined ? undefined : await stat(index).catch(() => undefined);
  return {
    name,
    version: versionOf(file),
    ...(features && { index: { version: versionOf(features), isOutdated: features.mtimeMs < file.mtimeMs } }),
  };
}

/** Encodes the backbone of a model as a model file. */
export async function modelBytes({ path }: ServedModel): Promise<Uint8Array> {
  const { config, backbone } = await readNetworkOf(path, "teacher");
  return encodeModel({ config, tensors: new Map([...backbone].map(([name, values]) => [`backbone.${name}`, values])) });
}

/** An opened index. */
export interface ServedIndex {
  readonly names: IndexedNames;
  /** Reads the feature file. */
  readonly features: () => Promise<Uint8Array>;
  /** Encodes the image of a row in the form of an extension, shrunk for display; undefined if it cannot be read. */
  readonly image: (row: number, extension: string) => Promise<Uint8Array | undefined>;
}

/** Opens the index of a model. Throws as `readFeatures` and `readNetworkOf` do. */
export async function openIndex({ path, index }: Required<ServedModel>): Promise<ServedIndex> {
  const { list } = await readFeatures(index);
  const { files, classes, labels } = list;
  const { config } = await readNetworkOf(path, "teacher");
  const inputs = config.channels === 1 || config.channels === 3 ? "webp" : "npy";
  const { channels } = config;
  const images = await indexedImages(list, list.data, {
    ...pictureDecoding(config),
    ...(inputs === "npy" && { channels }),
  });
  const shown = shownChannels(config);
  const encode = { webp: (image: Image) => encodeWebp(image, { side: SIDE, shown }), npy: encodePixels };
  return {
    names: { files, classes, labels, inputs },
    features: () => readFile(featurePaths(index).npy),
    image: async (row, extension) => {
      if (!(Number.isSafeInteger(row) && row >= 0 && row < files.length)) return undefined;
      if (extension !== "webp" && extension !== inputs) return undefined;
      const image = await images.decode(row);
      return isFailure(image) ? undefined : encode[extension](image);
    },
  };
}

/** Maximum side of an image. */
const SIDE = 224;

/** Encodes an image of any channels as .npy. */
function encodePixels(image: Image): Uint8Array {
  const { rows, cols, pixels } = resize(image, sizeWithin(image, SIDE));
  return encodeNpyBytes({ values: pixels, shape: [rows, cols, channelsOf(image)] });
}
