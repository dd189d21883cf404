/** Options shared by the commands that explore images by their features: the source of the features, and the images. */
import { resolve } from "node:path";
import type { Command } from "commander";
import { openDevice } from "../../engine/adapters/node.js";
import type { Device } from "../../engine/index.js";
import { readingOf } from "../config/derive.js";
import { similaritiesOn } from "../evaluation/device-similarities.js";
import { featureList, type FeatureList, type Features, readFeatures } from "../evaluation/feature-files.js";
import type { GivenLabels } from "../exploration/given-labels.js";
import { type NamedLabels, readLabels } from "../exploration/label-files.js";
import { lazyProgress } from "../files/progress.js";
import { openSubset } from "../images/sources/open-splits.js";
import { type FeatureRows, normalizeRows, type Similarities } from "../math/feature-rows.js";
import type { FindNearest } from "../math/nearest-rows.js";
import type { Which } from "../model/backbone.js";
import { clsDescriptor } from "../model/descriptors.js";
import { loadModel } from "../weights/load-model.js";
import { UsageError, wholeNumber } from "./flags.js";
import { labelledExtractor } from "./labelled.js";
import { addCheckpointOptions } from "./model.js";
import { reportFailures } from "./output.js";
import { addReadingFlags, type ReadingFlags, readingWith } from "./reading-flags.js";

export interface ExploringFlags extends ReadingFlags {
  readonly checkpoint?: string;
  readonly which: Which;
  readonly batch: number;
  readonly data?: string;
  readonly features?: string;
  readonly cache?: string;
  readonly json?: true;
}

/** Adds the flags that name features and images. */
export function addExploringOptions(command: Command): Command {
  return addReadingFlags(addCheckpointOptions(command, "features", { required: false }))
    .option("--batch <images>", "images per forward pass; lower if memory runs out", wholeNumber, 64)
    .option(
      "--data <images>",
      "images, or `builtin` for the held-out built-in images; with --features, the current place of its images",
    )
    .option("--features <file.npy>", "features that dino embed wrote, instead of a checkpoint")
    .option("--cache <folder>", "cache features in this folder, and reuse them for the same checkpoint and images")
    .option("--json", "print the result as JSON and nothing else");
}

/** Images to explore. */
export interface Explored {
  /** Rows of length one. */
  readonly features: FeatureRows;
  readonly list: FeatureList;
  /** The name of each row. */
  readonly files: readonly string[];
  /** Comparisons with `features` on a device, and their progress. */
  readonly comparing: {
    readonly features: FeatureRows;
    readonly similarities: Similarities;
    readonly nearest: FindNearest;
    readonly onProgress: (done: number, total: number) => void;
  };
}

/**
 * Reads or computes the features that the flags name, and calls `then` with them. Lists images that cannot be decoded on
 * stderr.
 */
export async function explore(flags: ExploringFlags, then: (explored: Explored) => Promise<void>): Promise<void> {
  checkSource(flags);
  using device = await openDevice();
  const { features, list } =
    flags.features === undefined ? await compute(device, flags) : await readFeatures(flags.features);
  reportFailures(list.failures);
  const damaged = features.values.findIndex((value) => !Number.isFinite(value));
  if (damaged >= 0) {
    const [value, file] = [features.values[damaged]!, list.files[Math.floor(damaged / features.dim)]!];
    throw new Error(
      `${flags.features ?? flags.checkpoint!}: expected features of finite numbers, got ${value} for ${file}; compute them again`,
    );
  }
  normalizeRows(features);
  using onDevice = similaritiesOn(device, features);
  using progress = lazyProgress("comparing");
  const { similarities, nearest } = onDevice;
  const comparing = { features, similarities, nearest, onProgress: progress.report };
  await then({ features, list, files: list.files, comparing });
}

async function compute(device: Device, flags: ExploringFlags): Promise<Features> {
  const [checkpoint, data] = [flags.checkpoint!, flags.data!];
  const { which, batch, cache } = flags;
  using model = await loadModel(device, checkpoint, which);
  const subset = await openSubset(data, readingWith(flags, readingOf(model.config)));
  const cls = { descriptor: clsDescriptor(model), description: "cls" };
  const extract = await labelledExtractor(model, cls, {
    checkpoint,
    which,
    batch,
    ...(cache !== undefined && { cache }),
  });
  return featureList(subset.images, await extract(subset, "images"), { data, checkpoint, which });
}

function checkSource({ checkpoint, data, features, cache }: ExploringFlags): void {
  if (features !== undefined) {
    const [other] = Object.entries({ checkpoint, cache }).find(([, value]) => value !== undefined) ?? [];
    if (other === undefined) return;
    throw new UsageError(`--features already belong to certain images; leave --${other} out`);
  }
  if (checkpoint === undefined || data === undefined) {
    throw new UsageError("expected --checkpoint and --data together, or --features that dino embed wrote");
  }
}

/** Returns the path of each image. Throws if they are not whole files; `flag` needs them. */
export async function imagePaths(explored: Explored, flags: ExploringFlags, flag: string): Promise<readonly string[]> {
  const { list, files } = explored;
  const data = flags.data ?? list.data;
  const { images } = await openSubset(data, readingWith(flags));
  const indices = new Map(Array.from({ length: images.count }, (_, index) => [images.name(index), index]));
  return files.map((file) => {
    const index = indices.get(file);
    const place = index === undefined ? undefined : images.location(index);
    if (place?.bytes.kind === "file" && place.part === undefined) return resolve(place.bytes.path);
    const got =
      index === undefined ? `no ${file} in ${data}; name the place of the images with --data` : `${file} of ${data}`;
    throw new Error(`${flag}: expected images that are files, got ${got}`);
  });
}

/** Returns the labels of a file or, without one, those of the images. Throws if there are none. */
export async function labelsOf({ list, files }: Explored, path: string | undefined): Promise<NamedLabels> {
  if (path !== undefined) return readLabels(path, files);
  const { labels, classes } = list;
  if (labels === undefined) {
    throw new UsageError(
      "--labels: expected a file of labels, since the images have no classes; or put the images of each class into a subfolder of its name",
    );
  }
  const given: GivenLabels = {
    rows: Int32Array.from(files.keys()),
    labels: Int32Array.from(labels),
    classes: classes.length,
  };
  return { ...given, names: classes };
}
