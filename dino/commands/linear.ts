/** `dino linear` */
import { type Command, Option } from "commander";
import { openDevice } from "../../engine/adapters/node.js";
import type { Device } from "../../engine/index.js";
import { readLabelled } from "../evaluation/labelled-files.js";
import { labelledFeatures } from "../evaluation/labelled.js";
import { cachedDataset, type ProbeDataset, augmentedDataset } from "../evaluation/linear-batches.js";
import { writeLinear } from "../evaluation/linear-file.js";
import { type LinearReport, type LinearResult, trainLinear } from "../evaluation/linear.js";
import { startProgress } from "../files/progress.js";
import { officialProbeCrop } from "../images/augment.js";
import { type Model, viewOf } from "../model/backbone.js";
import { blocksDescriptor } from "../model/descriptors.js";
import { loadModel } from "../weights/load-model.js";
import { count, positives, probability, share, UsageError, zeroOrMore } from "./flags.js";
import {
  addLabelledOptions,
  labelledExtractor,
  type LabelledOptions,
  sourceFields,
  type NamedDescriptor,
  openLabelledSplits,
  type FeatureSource,
  featureSource,
} from "./labelled.js";
import { print, printJson, reportFailures } from "./output.js";

export interface LinearFlags extends LabelledOptions {
  readonly nLastBlocks?: number;
  readonly avgpoolPatchtokens?: true;
  readonly augment: boolean;
  readonly cropScale?: readonly number[];
  readonly flip?: number;
  readonly epochs: number;
  readonly lr?: readonly number[];
  readonly weightDecay: number;
  readonly valFreq: number;
  readonly validation?: number;
  readonly out?: string;
  readonly json?: true;
}

/** Default learning rates; eval_linear.py has only 0.001, and recommends to tune it. */
const LEARNING_RATES = [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1];

/** Default number of blocks, as for the published ViT-S; the published ViT-B use one block and the mean patch token. */
const LAST_BLOCKS = 4;

export function addLinear(dino: Command): void {
  const [low, high] = officialProbeCrop.scale;
  addLabelledOptions(dino.command("linear"), {
    trainPurpose: "learn the classes from",
    batch: new Option("--batch <images>", "images per step; --lr is scaled by it, so the best rate changes little")
      .argParser(count)
      .default(128),
    seed: "seed of the split of --data, the order, the crops and the initial weights",
  })
    .description(
      "train linear classifiers on features, one per learning rate, and measure their accuracy on test images",
    )
    .option(
      "--n-last-blocks <blocks>",
      `number of last blocks whose cls tokens are concatenated (default ${LAST_BLOCKS}, or all if there are fewer); 4 for ViT-S, 1 for ViT-B`,
      count,
    )
    .option(
      "--avgpool-patchtokens",
      "append the mean patch token of the last block, as for the published ViT-B with one block",
    )
    .option(
      "--no-augment",
      "train on one view per image instead of new crops in every epoch: much faster, somewhat less accurate on photographs",
    )
    .option(
      "--crop-scale <share...>",
      `minimum and maximum area of crops (default ${low} ${high}); raise the minimum for small or complete objects`,
      positives,
    )
    .option(
      "--flip <probability>",
      `probability of mirroring a crop (default ${officialProbeCrop.flipProbability}); 0 for digits and text`,
      probability,
    )
    .option(
      "--epochs <epochs>",
      "epochs of training; rates fall along half a cosine, so fewer epochs converge too",
      count,
      100,
    )
    .option(
      "--lr <rate...>",
      `learning rates for batches of 256, trained at the same time (default ${LEARNING_RATES.join(" ")})`,
      positives,
    )
    .option("--weight-decay <rate>", "weight decay; 0 in the official code", zeroOrMore, 0)
    .option("--val-freq <epochs>", "epochs between measurements", count, 1)
    .option(
      "--validation <share>",
      "share of the train images that selects the learning rate, instead of the test images; 0.1 is usual",
      share,
    )
    .option("--out <file.safetensors>", "file for the selected layer: linear.weight, linear.bias")
    .option("--json", "print the result as JSON and nothing else")
    .addHelpText(
      "after",
      "\nTrains as eval_linear.py of the official code, with several learning rates in one pass. Selecting one by the test images, as\n" +
        "the official code does, overestimates accuracy; --validation avoids this. --cache implies --no-augment: usually somewhat\n" +
        "less accurate on photographs, but another run with other rates takes seconds. Crops and flips hurt small or directional\n" +
        "objects such as digits: use --no-augment, or a larger --crop-scale and --flip 0.\n" +
        "\nExamples:\n" +
        "  dino linear --checkpoint runs/photos/checkpoint.safetensors --train photos/train --test photos/val --validation 0.1\n" +
        "  dino linear --checkpoint runs/photos/checkpoint.safetensors --data photos --cache runs/photos/features\n" +
        "  dino linear --features train.npy --test-features val.npy --lr 0.01 0.1",
    )
    .action(evaluateLinear);
}

/** Runs the command and prints its report. */
async function evaluateLinear(options: LinearFlags): Promise<void> {
  const source = featureSource(options);
  checkLinearFlags(source, options);
  using device = await openDevice();
  if (source.kind === "files") {
    const labelled = await readLabelled(source.features, source.testFeatures);
    await trainAndReport(device, {
      dataset: cachedDataset(labelled, options),
      description: source.features,
      source,
      flags: options,
    });
    return;
  }
  using model = await loadModel(device, source.checkpoint, options.which);
  const features = descriptorOf(model, options);
  const dataset = await openDataset(model, features, { ...options, ...source });
  await trainAndReport(device, { dataset, description: features.description, source, flags: options });
}

/** Throws for flags without effect and for invalid values. */
export function checkLinearFlags({ kind }: FeatureSource, flags: LinearFlags): void {
  const { nLastBlocks, avgpoolPatchtokens, cropScale, flip, augment, cache, out } = flags;
  const refuse = (given: Readonly<Record<string, unknown>>, why: string): void => {
    const [flag] = Object.entries(given).find(([, value]) => value !== undefined) ?? [];
    if (flag !== undefined) throw new UsageError(`${flag} has no effect on ${why}; leave it out`);
  };
  const cropFlags = { "--crop-scale": cropScale, "--flip": flip };
  if (kind === "files") {
    const tokenFlags = { "--n-last-blocks": nLastBlocks, "--avgpool-patchtokens": avgpoolPatchtokens };
    refuse({ ...tokenFlags, ...cropFlags }, "features from files");
  }
  if (!augment) refuse(cropFlags, "images that are not augmented");
  if (cache !== undefined) refuse(cropFlags, "cached features, which are of images that are not augmented");
  if (cropScale !== undefined && !(cropScale.length === 2 && cropScale[0]! <= cropScale[1]! && cropScale[1]! <= 1)) {
    throw new UsageError(
      `--crop-scale: expected the minimum and the maximum area, up to 1, got ${cropScale.join(" ")}`,
    );
  }
  if (out !== undefined && !out.endsWith(".safetensors")) {
    throw new UsageError(`--out: expected a file ending in .safetensors, got ${out}`);
  }
}

/** Returns the descriptor of the layers' input. */
function descriptorOf(model: Model, { nLastBlocks, avgpoolPatchtokens }: LinearFlags): NamedDescriptor {
  const { depth } = model.vit;
  const lastBlocks = nLastBlocks ?? Math.min(LAST_BLOCKS, depth);
  if (lastBlocks > depth) throw new UsageError(`--n-last-blocks ${lastBlocks}: the network has ${depth} blocks`);
  const meanPatch = avgpoolPatchtokens === true;
  const cls = lastBlocks === 1 ? "cls token of the last block" : `cls tokens of the last ${lastBlocks} blocks`;
  return {
    descriptor: blocksDescriptor(model, { lastBlocks, meanPatch }),
    description: meanPatch ? `${cls} and its mean patch token` : cls,
  };
}

/** Extracts features; those of train images only if they are the same in every epoch. */
async function openDataset(
  model: Model,
  features: NamedDescriptor,
  flags: LinearFlags & { readonly checkpoint: string },
): Promise<ProbeDataset> {
  const { batch, seed, validation, augment, cache, cropScale, flip } = flags;
  const splits = await openLabelledSplits(flags, model);
  const extract = await labelledExtractor(model, features, flags);
  if (!augment || cache !== undefined) return cachedDataset(await labelledFeatures(splits, extract), flags);
  const [low, high] = cropScale ?? officialProbeCrop.scale;
  const crop = { scale: [low!, high!] as const, flipProbability: flip ?? officialProbeCrop.flipProbability };
  const { descriptor } = features;
  const view = viewOf(model.config);
  return augmentedDataset(model, splits, { batch, seed, validation, extract, descriptor, view, crop });
}

interface LinearRun {
  readonly dataset: ProbeDataset;
  /** A description of the layers' input. */
  readonly description: string;
  readonly source: FeatureSource;
  readonly flags: LinearFlags;
}

/** Trains and measures with progress on stderr, and prints the report. */
async function trainAndReport(device: Device, { dataset, description, source, flags }: LinearRun): Promise<void> {
  const { batch, epochs, lr: lrs = LEARNING_RATES, valFreq, weightDecay, seed, out } = flags;
  const { dim, images, classes, test, validation } = dataset;
  using progress = startProgress({
    title: "training",
    total: epochs * Math.ceil(images / batch),
    unit: "steps",
  });
  const report = await trainLinear({
    device,
    dim,
    batch,
    test,
    validation,
    lrs,
    epochs,
    weightDecay,
    seed,
    batches: dataset.batches,
    classes: classes.length,
    measureEvery: valFreq,
    onBatch: (done, latest) => progress.update(done, latest === undefined ? "" : `best top-1 ${latest.toFixed(2)} %`),
  });
  progress.stop();
  if (out !== undefined) {
    const origin = source.kind === "files" ? source.features : source.checkpoint;
    await writeLinear(out, report.layer, { classes, features: description, source: origin, lr: report.picked.lr });
  }
  if (flags.json) {
    printJson({
      ...sourceFields(source, flags),
      sees: description,
      dim,
      trainImages: images,
      testImages: test.labels.length,
      ...(validation && { validationImages: validation.labels.length }),
      classes: classes.length,
      batch,
      epochs,
      weightDecay,
      seed,
      results: report.results,
      picked: { lr: report.picked.lr, by: validation ? "validation" : "test" },
      layer: out ?? null,
      failures: dataset.failures(),
      device: device.name,
    });
    return;
  }
  reportFailures(dataset.failures());
  const validating = validation ? `, ${validation.labels.length} for validation` : "";
  print(
    `${images} training images${validating}, ${test.labels.length} for testing, ${classes.length} classes`,
    `${source.kind === "files" ? "" : `${flags.which}, `}${description}, ${dim} features`,
    ...report.results.map((result) => describeResult(result, classes.length)),
    describePick(report),
    ...(out === undefined ? [] : [`${out}   the layer with lr ${report.picked.lr}, after ${epochs} epochs`]),
  );
}

function describeResult({ lr, last, best }: LinearResult, classes: number): string {
  const percent = (value: number) => `${value.toFixed(2).padStart(6)} %`;
  const top5 = classes > 5 ? `   top-5 ${percent(last.test.top5)}` : "";
  const validation = last.validation ? `   validation ${percent(last.validation.top1)}` : "";
  return (
    `lr ${String(lr).padEnd(7)} top-1 ${percent(last.test.top1)}${top5}${validation}` +
    `   best ${percent(best.test.top1)}, after ${best.epoch} epochs`
  );
}

function describePick({ picked: { lr, last }, results }: LinearReport): string {
  const lrs = results.map((result) => result.lr);
  const atEnd =
    lrs.length < 2
      ? ""
      : lr === Math.max(...lrs)
        ? "; it is the largest: try larger rates"
        : lr === Math.min(...lrs)
          ? "; it is the smallest: try smaller rates"
          : "";
  const by = last.validation
    ? "selected by validation images"
    : "selected by the test images, which overestimates it: --validation 0.1 selects by other images";
  return `lr ${lr}: top-1 ${last.test.top1.toFixed(2)} %, ${by}${atEnd}`;
}
