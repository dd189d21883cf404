/** Options shared by the commands that evaluate features with labels: the source of the features, and the images. */
import type { Command, Option } from "commander";
import { readingOf } from "../config/derive.js";
import { withFeatureCache } from "../evaluation/feature-cache.js";
import type { Extract } from "../evaluation/labelled.js";
import { openSplits, openSubset } from "../images/sources/open-splits.js";
import type { Splits } from "../images/split.js";
import { type Model, viewOf } from "../model/backbone.js";
import type { Descriptor } from "../model/descriptors.js";
import { share, UsageError, wholeNumber } from "./flags.js";
import { addCheckpointOptions, extractor, type ModelOptions } from "./model.js";
import { printToStderr } from "./output.js";
import { addReadingFlags, type ReadingFlags, readingWith } from "./reading-flags.js";

export interface LabelledOptions extends Omit<ModelOptions, "checkpoint">, ReadingFlags {
  readonly checkpoint?: string;
  readonly train?: string;
  readonly test?: string;
  readonly data?: string;
  readonly split: number;
  readonly seed: number;
  readonly features?: string;
  readonly testFeatures?: string;
  readonly cache?: string;
}

/** Adds the flags that name features and images; `trainPurpose` completes "images to ...". */
export function addLabelledOptions(
  command: Command,
  { trainPurpose, batch, seed }: { readonly trainPurpose: string; readonly batch: Option; readonly seed: string },
): Command {
  return addReadingFlags(addCheckpointOptions(command, "features", { required: false }))
    .addOption(batch)
    .option("--train <images>", `images to ${trainPurpose}: one subfolder per class, or files with labels`)
    .option("--test <images>", "images to classify")
    .option(
      "--data <images>",
      "images to split into both, or a built-in dataset (default: the dataset of the checkpoint)",
    )
    .option("--split <share>", "share of --data to classify; the rest are train images", share, 0.2)
    .option("--seed <number>", seed, wholeNumber, 0)
    .option(
      "--features <file.npy>",
      `features to ${trainPurpose} that dino embed wrote, instead of a checkpoint and images`,
    )
    .option("--test-features <file.npy>", "features to classify, with --features")
    .option("--cache <folder>", "cache features in this folder, and reuse them for the same checkpoint and images");
}

/** The source of features: a checkpoint and images, or two feature files. */
export type FeatureSource =
  | { readonly kind: "checkpoint"; readonly checkpoint: string }
  | { readonly kind: "files"; readonly features: string; readonly testFeatures: string };

/** Returns the source that the flags name. Throws if they contradict each other. */
export function featureSource(options: LabelledOptions): FeatureSource {
  const { checkpoint, train, test, data, features, testFeatures, cache } = options;
  if (features !== undefined && testFeatures !== undefined) {
    const [other] = Object.entries({ checkpoint, train, test, data, cache }).find(([, value]) => value) ?? [];
    if (other === undefined) return { kind: "files", features, testFeatures };
    throw new UsageError(`--features already belong to certain images; leave --${other} out`);
  }
  if (features !== undefined || testFeatures !== undefined) {
    throw new UsageError("--features and --test-features belong together");
  }
  if (checkpoint === undefined) {
    throw new UsageError(
      "--checkpoint: expected a file of dino train or dino import, or --features that dino embed wrote",
    );
  }
  if ((train === undefined) !== (test === undefined)) {
    throw new UsageError("--train and --test belong together; for one folder take --data and --split");
  }
  if (train !== undefined && data !== undefined) {
    throw new UsageError("--data and --train both name images; leave one out");
  }
  return { kind: "checkpoint", checkpoint };
}

/** Returns the fields that name the source in JSON results. */
export function sourceFields(source: FeatureSource, { which }: LabelledOptions): Readonly<Record<string, string>> {
  if (source.kind === "checkpoint") return { checkpoint: source.checkpoint, which };
  return { features: source.features, testFeatures: source.testFeatures };
}

/** Opens the images that the flags name. */
export async function openLabelledSplits(
  { train, test, data, split, seed, ...given }: LabelledOptions,
  model: Model,
): Promise<Splits> {
  const reading = readingOf(model.config);
  if (train !== undefined && test !== undefined) {
    const cut = readingWith(given, reading);
    return { train: await openSubset(train, cut), test: await openSubset(test, cut) };
  }
  const { pages, tile } = model.config;
  const trained = data === undefined ? { ...reading, pages, tile } : reading;
  return openSplits(data ?? trainedOn(model), { heldOut: split, seed, ...readingWith(given, trained) });
}

function trainedOn({ data }: Model): string {
  if (data !== undefined) return data;
  throw new UsageError("--data: expected a folder of images; an imported model does not name its training images");
}

/** A descriptor, and a description that identifies it in caches. */
export interface NamedDescriptor {
  readonly descriptor: Descriptor;
  readonly description: string;
}

/** Creates a feature extractor that shows progress on stderr and uses the cache if one is given. */
export async function labelledExtractor(
  model: Model,
  { descriptor, description }: NamedDescriptor,
  { checkpoint, which, batch, cache }: ModelOptions & Pick<LabelledOptions, "cache">,
): Promise<Extract> {
  const extract = extractor(model, batch, descriptor);
  if (cache === undefined) return extract;
  return withFeatureCache(
    {
      folder: cache,
      checkpoint,
      which,
      view: viewOf(model.config),
      descriptor: description,
      onFound: (path, images) => printToStderr(`reading features of ${images} images from ${path}`),
    },
    extract,
  );
}
