/** The images of a folder, ready to be explored: features, thumbnails, map, columns and labels, kept in a folder of results. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { shownChannels } from "../config/derive.js";
import { type DeviceSimilarities, similaritiesOn } from "../evaluation/device-similarities.js";
import { extractionKey } from "../evaluation/feature-cache.js";
import type { FeatureList } from "../evaluation/feature-files.js";
import { writeJson } from "../files/files.js";
import { lazyProgress } from "../files/progress.js";
import { isBuiltin } from "../images/builtin.js";
import type { DecodeFailure, Decoding } from "../images/image-location.js";
import { type ImageSet, memoryImages } from "../images/image-set.js";
import type { Image } from "../images/pixels.js";
import { splitImages } from "../images/split.js";
import { type FeatureRows, normalizeRows } from "../math/feature-rows.js";
import { type Model, viewOf } from "../model/backbone.js";
import { extractFeatures, featureBatches } from "../model/extract.js";
import { indexedImages, type IndexedImages } from "../retrieval/indexed-images.js";
import { mapNeighbors } from "../retrieval/places.js";
import type { Column } from "./api.js";
import { categories, readColumns } from "./columns.js";
import { featureColumns } from "./feature-columns.js";
import { type Labels, openLabels } from "./labels.js";
import { type PictureLevels, pictureLevels } from "./picture-levels.js";
import { updateFeatures } from "./stored-features.js";
import { type ImageMap, updateMap } from "./stored-map.js";
import { type ReadThumbnail, updateThumbnails } from "./thumbnails.js";

export interface ExplorerOptions {
  /** The folder of results, which the caller has locked. */
  readonly folder: string;
  /** What `images` was opened from. */
  readonly data: string;
  readonly images: ImageSet;
  readonly checkpoint: string;
  readonly model: Model;
  /** Images per forward pass. */
  readonly batch: number;
  readonly seed: number;
  /** A CSV file with more columns to colour by. */
  readonly columns?: string | undefined;
  /** Called with remarks. */
  readonly log?: (line: string) => void;
}

export interface Explorer {
  readonly title: string;
  /** The absolute path of the images, or the name of a built-in dataset. */
  readonly data: string;
  /** The name of each row. */
  readonly files: readonly string[];
  /** Rows of length one. */
  readonly features: FeatureRows;
  readonly map: ImageMap;
  readonly levels: PictureLevels;
  readonly columns: readonly Column[];
  readonly images: IndexedImages;
  readonly thumbnail: ReadThumbnail;
  readonly labels: Labels;
  readonly failures: readonly DecodeFailure[];
  /** How the network reads images. */
  readonly decoding: Decoding;
  /** Computes the features of an image, of length one: -> [dim]. */
  readonly featuresOf: (image: Image) => Promise<Float32Array>;
  /** Opens what compares features on the device. */
  readonly compare: () => DeviceSimilarities;
}

/** Brings the folder of results up to date, with progress on stderr, and opens it. */
export async function openExplorer(options: ExplorerOptions): Promise<Explorer> {
  const { folder, data, images, checkpoint, model, batch } = options;
  const absolute = isBuiltin(data) ? data : resolve(data);
  await claimFolder(folder, absolute);
  const view = viewOf(model.config);
  const { decoding } = images;
  const { range, background } = decoding;
  const extraction = await extractionKey({ checkpoint, which: "teacher", view, descriptor: "cls", background });
  const { features, list, stamps } = await withProgress("features", (onProgress) =>
    updateFeatures({
      ...{ folder, images, extraction, source: { data, checkpoint, which: "teacher" } },
      extract: (indices) => featureBatches(model, images, { view, indices, batch, onProgress }),
    }),
  );
  const { files, failures } = list;
  const shown = { range, background, channels: shownChannels(model.config) };
  const indexed = await indexedImages(list, list.data, shown);
  const thumbnail = await withProgress("thumbnails", (onProgress) =>
    updateThumbnails({
      folder,
      stamps: stamps.map((stamp) => `${stamp} ${JSON.stringify(shown)}`),
      decode: (row) => indexed.decode(row),
      onProgress,
    }),
  );
  normalizeRows(features);
  const map = await mapOf(options, features);
  const classes = list.classes.length > 1 ? list.labels : undefined;
  const columns = [
    ...columnsOf(options, list),
    ...featureColumns({ features, table: map.table, files, classes }),
    ...(await csvColumns(options, files)),
  ];
  return {
    ...{
      title: basename(absolute),
      data: absolute,
      files,
      features,
      map,
      columns,
      images: indexed,
      thumbnail,
      failures,
    },
    levels: pictureLevels(map.places),
    labels: await openLabels(folder),
    decoding,
    compare: () => similaritiesOn(model.device, features),
    featuresOf: async (image) => {
      const { features: rows } = await extractFeatures(model, memoryImages({ images: [image] }), { view, batch: 1 });
      return normalizeRows(rows).values;
    },
  };
}

/** Runs work that reports progress on stderr under a title. */
async function withProgress<T>(
  title: string,
  work: (onProgress: (done: number, total: number) => void) => Promise<T>,
): Promise<T> {
  using progress = lazyProgress(title);
  return await work(progress.report);
}

async function mapOf(
  { folder, model: { device }, seed, log }: ExplorerOptions,
  features: FeatureRows,
): Promise<ImageMap> {
  using comparing = lazyProgress("neighbours");
  using placing = lazyProgress("map");
  return await updateMap({
    ...{ folder, features, seed },
    compare: () => mapNeighbors({ device, features, seed, onProgress: comparing.report, log }),
    onPlace: placing.report,
  });
}

/** Notes in the folder of results whose images it holds. Throws if they are of another folder. */
async function claimFolder(folder: string, data: string): Promise<void> {
  const path = join(folder, "explore.json");
  if (!existsSync(path)) return writeJson(path, { data });
  const { data: other } = JSON.parse(await readFile(path, "utf8")) as { readonly data?: unknown };
  if (other !== data) throw new Error(`--out ${folder}: holds the map of ${String(other)}; name another folder`);
}

/** Columns of the images themselves: class, and split if the network was trained on these images. */
function columnsOf({ data, images, model }: ExplorerOptions, list: FeatureList): readonly Column[] {
  const { classes, labels, files } = list;
  const { config } = model;
  const byClass =
    labels && classes.length > 1
      ? [
          categories(
            "class",
            labels.map((label) => classes[label]),
          ),
        ]
      : [];
  const isTrained = model.data !== undefined && !isBuiltin(data) && resolve(model.data) === resolve(data);
  if (!isTrained || config.heldOut === 0) return byClass;
  const { test } = splitImages(images.count, config);
  const heldOut = new Set(Array.from(test, (index) => images.name(index)));
  return [
    ...byClass,
    categories(
      "split",
      files.map((file) => (heldOut.has(file) ? "held out" : "train")),
    ),
  ];
}

async function csvColumns({ columns, images }: ExplorerOptions, files: readonly string[]): Promise<readonly Column[]> {
  return columns === undefined ? [] : readColumns(columns, { images, files });
}
