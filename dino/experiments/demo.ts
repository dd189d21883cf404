/** Implements `dino demo`: trains on the built-in images and shows in numbers and pictures what the network has learnt. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { openDevice } from "../../engine/adapters/node.js";
import type { Device } from "../../engine/index.js";
import { builtinPreset } from "../config/presets.js";
import { resolveConfig } from "../config/resolve.js";
import type { Config } from "../config/settings.js";
import { compareNeighbors } from "../evaluation/evaluate.js";
import { runIndexPath, featureList, writeFeatures } from "../evaluation/feature-files.js";
import { labelledFeatures } from "../evaluation/labelled.js";
import { writeJson } from "../files/files.js";
import { formatTime, startProgress, lazyProgress } from "../files/progress.js";
import { quoted } from "../files/text.js";
import { openSplits } from "../images/sources/open-splits.js";
import { firstImages, firstOfEachClass, type Subset, type Splits } from "../images/split.js";
import { type FeatureRows, selectRows } from "../math/feature-rows.js";
import { type View, viewOf } from "../model/backbone.js";
import { type Extracted, extractFeatures, pixelFeatures } from "../model/extract.js";
import { backboneOf } from "../model/network.js";
import { nearest } from "../retrieval/nearest.js";
import { lengthOf } from "../training/schedule.js";
import { trainWithProgress } from "../training/supervised.js";
import { loadModel } from "../weights/load-model.js";
import { type DemoPictures, drawPictures, type FeatureResults } from "./demo-pictures.js";
import { timeComparison, type TimedOptions, timeTraining } from "./time-estimate.js";

export interface DemoOptions {
  readonly out: string;
  /** Steps of the training; by default those of the recipe, or as many as fit into 200 seconds. */
  readonly steps?: number;
  /** Takes few steps and images, to test that everything works. */
  readonly quick: boolean;
  /** Prints progress and results. */
  readonly log: (...lines: readonly string[]) => void;
}

/** The content of `OUT/summary.json`. */
export interface DemoSummary extends DemoPictures {
  /** k-NN top-1 on held-out images, k 20, in percent. */
  readonly knn: { readonly untrained: number; readonly trained: number; readonly pixels: number };
  readonly checkpoint: string;
  /** Path of the features of the held-out images, as `dino embed` writes them. */
  readonly index: string;
  readonly seconds: number;
  readonly device: string;
}

const QUICK = { steps: 20, train: 512, test: 128 } as const;
/** The maximum share of the training time for evaluations between the first step and the last. */
const SHARE_OF_EVALUATIONS = 0.1;
const MOST_EVALUATIONS = 8;

/** Runs the demo and writes its results to `out`. Throws if that folder holds anything but a former run. */
export async function demo({ out, steps, quick, log }: DemoOptions): Promise<DemoSummary> {
  const began = performance.now();
  await expectRunFolder(out);
  const asked = steps ?? (quick ? QUICK.steps : undefined);
  const recipe = resolveConfig({ preset: builtinPreset, out, ...(asked !== undefined && { steps: asked }) });
  const view = viewOf(recipe);
  using device = await openDevice();
  log(`device      ${device.name}`);
  const splits = await openDemoSplits(recipe.data, quick);
  log(describeSplits(splits));

  const comparison = { device, splits, k: recipe.knnK, queries: queriesOf(splits.test) };
  const pixelRows = await extractBoth(
    splits,
    withProgress("pixels", (subset, onProgress) => pixelFeatures(subset.images, { ...subset, view, onProgress })),
  );
  const timed = { device, config: recipe, splits };
  const plan = await planTraining(timed, { began, isAsked: asked !== undefined, pixels: pixelRows.train.features });
  for (const line of plan.lines) log(line);

  const pixels = await compare(pixelRows, { ...comparison, title: "pixels, comparing" });
  log(`pixels      k-NN ${percent(pixels.knn.top1)} of the held-out images right, comparing pixel with pixel`);
  const { untrained, trained, index, checkpoint } = await trainAndCompare(plan, { comparison, view });

  const { seed, data } = plan.config;
  const model = () => loadModel(device, checkpoint);
  const { queries } = comparison;
  const pictures = await drawPictures({ out, splits, view, queries, pixels, untrained, trained, seed, model });
  const indexPath = runIndexPath(out);
  await writeFeatures(indexPath, featureList(splits.test.images, index, { data, checkpoint, which: "teacher" }));

  const summary: DemoSummary = {
    knn: { untrained: untrained.knn.top1, trained: trained.knn.top1, pixels: pixels.knn.top1 },
    ...pictures,
    checkpoint,
    index: indexPath,
    seconds: Math.round((performance.now() - began) / 100) / 10,
    device: device.name,
  };
  await writeJson(join(out, "summary.json"), summary);
  log(...describeSummary(summary, out));
  return summary;
}

/** Opens the images of the demo, a few of them if it is to be quick. */
async function openDemoSplits(data: Config["data"], quick: boolean): Promise<Splits> {
  const all = await openSplits(data, { heldOut: 0, seed: 0 });
  return quick ? { train: firstImages(all.train, QUICK.train), test: firstImages(all.test, QUICK.test) } : all;
}

function describeSplits({ train, test }: Splits): string {
  const { classes } = test.images;
  return (
    `images      ${train.indices.length} to train on, ${test.indices.length} held out, ${classes.length} classes; ` +
    "training uses no class labels"
  );
}

/** The results and the next steps, line by line. */
function describeSummary({ knn, checkpoint, index, seconds, ...pictures }: DemoSummary, out: string): string[] {
  return [
    "",
    "k-NN accuracy on held-out images",
    `  raw pixels          ${percent(knn.pixels)}`,
    `  untrained network   ${percent(knn.untrained)}`,
    `  after training      ${percent(knn.trained)}   (${signed(knn.trained - knn.untrained)} points)`,
    "",
    "Pictures, the first one first:",
    `  ${pictures.neighbors}   images and those most like them, before and after training`,
    `  ${pictures.map}   all held-out images on a map, before and after training`,
    `  ${pictures.attention}   where the trained network looks`,
    "",
    `checkpoint  ${checkpoint}`,
    `index       ${index}`,
    `took        ${formatTime(1000 * seconds)}`,
    "",
    "Next, curves and any picture under the network's eye, in a browser:",
    `  npx dino serve ${quoted(out)} --open`,
    "On images of your own:",
    "  npx dino train --data FOLDER --out runs/mine --preset small-images",
  ];
}

/** The approximate time of drawing the pictures. */
const PICTURES_MS = 5000;

/** The maximum time of the demo, unless the length of the training is given. */
const LONGEST_MS = 200_000;
const FEWEST_STEPS = 30;

interface PlanOptions {
  /** When the demo began, by `performance.now()`. */
  readonly began: number;
  /** Whether the user gave the length of the training. */
  readonly isAsked: boolean;
  /** Pixels of the training images. */
  readonly pixels: FeatureRows;
}

/** The training that fits into the time. */
interface TrainingPlan {
  readonly config: Config;
  /** Steps of the training. */
  readonly length: number;
  /** Evaluations between the first step and the last. */
  readonly inBetween: number;
  /** The plan, for people. */
  readonly lines: readonly string[];
}

/** Measures the time of steps and images, and shortens the recipe to what fits into the time. */
async function planTraining(timed: TimedOptions, { began, isAsked, pixels }: PlanOptions): Promise<TrainingPlan> {
  const { config: recipe, splits } = timed;
  const wanted = lengthOf(recipe, splits.train.indices.length).steps;
  const spentMs = performance.now() - began;
  const { length, inBetween, restMs } = await estimate(timed, { wanted, isAsked, spentMs, pixels });
  const totalMs = performance.now() - began + restMs;
  const lines = [`time        about ${formatTime(totalMs)} in all, by a few steps and images on this adapter`];
  if (length < wanted) {
    lines.push(
      `            trains ${length} of the recipe's ${wanted} steps, since this adapter is slow: ` +
        `dino demo --steps ${wanted} trains them all, and dino doctor says what is faster`,
    );
  }
  return { config: shortened(recipe, { wanted, length }), length, inBetween, lines };
}

interface EstimateOptions extends Pick<PlanOptions, "isAsked" | "pixels"> {
  /** Steps of the recipe. */
  readonly wanted: number;
  /** Time since the demo began. */
  readonly spentMs: number;
}

interface Estimate extends Pick<TrainingPlan, "length" | "inBetween"> {
  /** The time of everything that follows. */
  readonly restMs: number;
}

/** Measures first, then decides how many of the `wanted` steps and how many evaluations the demo has time for. */
async function estimate(timed: TimedOptions, { wanted, isAsked, spentMs, pixels }: EstimateOptions): Promise<Estimate> {
  const began = performance.now();
  const { train, test } = timed.splits;
  using timing = startProgress({ title: "timing", total: 2 });
  const { step, image } = await timeTraining(timed);
  timing.update(1);
  const pixelsMs = await timeComparison(timed.device, pixels, { rows: test.indices.length, k: timed.config.knnK });
  timing.update(2);
  const evaluationMs = image * (train.indices.length + test.indices.length);
  const leastMs = pixelsMs + 2 * evaluationMs + PICTURES_MS;
  const leftMs = LONGEST_MS - spentMs - (performance.now() - began) - leastMs;
  const length = isAsked ? wanted : Math.min(wanted, Math.max(FEWEST_STEPS, Math.floor(leftMs / step)));
  const trainingMs = step * length;
  const inBetween = Math.min(MOST_EVALUATIONS, Math.floor((SHARE_OF_EVALUATIONS * trainingMs) / evaluationMs));
  return { length, inBetween, restMs: leastMs + trainingMs + inBetween * evaluationMs };
}

/** Shortens the recipe: the teacher of a shorter run follows faster, though less than in proportion. */
function shortened(config: Config, { wanted, length }: { readonly wanted: number; readonly length: number }): Config {
  if (length === wanted) return config;
  const faster = (momentum: number) => Math.max(0, 1 - (1 - momentum) * Math.sqrt(wanted / length));
  return {
    ...config,
    steps: length,
    momentumTeacher: faster(config.momentumTeacher),
    momentumTeacherEnd: faster(config.momentumTeacherEnd),
  };
}

interface Trained {
  readonly untrained: FeatureResults;
  readonly trained: FeatureResults;
  /** Features of the held-out images after the last step, not normalised. */
  readonly index: Extracted;
  /** Path of the last checkpoint. */
  readonly checkpoint: string;
}

/** Trains, and evaluates the teacher before the first step, after the last and in between. */
async function trainAndCompare(
  { config, length, inBetween }: TrainingPlan,
  { comparison, view }: { readonly comparison: CompareOptions; readonly view: View },
): Promise<Trained> {
  const { device, splits } = comparison;
  const [trainImages, testImages] = [splits.train.indices.length, splits.test.indices.length];
  const looks: FeatureResults[] = [];
  let index: Extracted | undefined;
  const { checkpoint } = await trainWithProgress({
    device,
    config,
    splits,
    explicit: new Set(),
    resume: false,
    visit: {
      times: 1 + inBetween,
      look: async ({ step, teacher }, onLooked) => {
        const found = await extractBoth(splits, (subset) =>
          extractFeatures(backboneOf(teacher), subset.images, {
            ...subset,
            view,
            onProgress: (done) => onLooked(done + (subset === splits.test ? trainImages : 0), trainImages + testImages),
          }),
        );
        if (step === length) index = copyOf(found.test);
        const look = await compare(found, comparison);
        looks.push(look);
        return { knn: look.knn };
      },
    },
  });
  return { untrained: looks[0]!, trained: looks.at(-1)!, index: index!, checkpoint };
}

/** Chooses the queries of the picture of neighbours by rule: the first held-out images of each class. */
function queriesOf(test: Subset): readonly number[] {
  const each = test.images.classes.length <= MOST_QUERIES / 2 ? 2 : 1;
  return firstOfEachClass(test, each).slice(0, MOST_QUERIES);
}

const MOST_QUERIES = 10;
const NEIGHBORS = 5;

interface Both {
  readonly train: Extracted;
  readonly test: Extracted;
}

async function extractBoth(
  { train, test }: Splits,
  extract: (subset: Subset, title: string) => Promise<Extracted>,
): Promise<Both> {
  return { train: await extract(train, "train images"), test: await extract(test, "test images") };
}

interface CompareOptions {
  readonly device: Device;
  readonly splits: Splits;
  readonly k: number;
  readonly queries: readonly number[];
  /** Title of the progress bar; without it, no progress is shown. */
  readonly title?: string;
}

/** Computes what numbers and pictures show of the features; normalises them in place. */
async function compare(both: Both, { device, splits, k, queries, title }: CompareOptions): Promise<FeatureResults> {
  using comparing = title === undefined ? undefined : lazyProgress(title);
  const labelled = await labelledFeatures(splits, (subset) =>
    Promise.resolve(subset === splits.test ? both.test : both.train),
  );
  const report = await compareNeighbors(labelled, {
    ks: [k],
    device,
    ...(comparing && { onCompared: comparing.report }),
  });
  const { neighbors, top1, top5 } = report.results[0]!;
  const rows = queries.map((query) => both.test.indices.indexOf(query));
  const queryRows = selectRows(both.test.features, rows);
  const index = both.train.features;
  const found = await nearest({ queries: queryRows, index, k: NEIGHBORS });
  return {
    knn: { k: neighbors, top1, top5, images: report.testImages, among: report.trainImages, areTrainedOn: false },
    neighbors: found.map((near) => near.map(({ row }) => both.train.indices[row]!)),
    test: both.test.features,
  };
}

/** Copies features, which `compare` normalises in place. */
function copyOf({ features, ...rest }: Extracted): Extracted {
  return { ...rest, features: { ...features, values: features.values.slice() } };
}

type ExtractPart = (subset: Subset, onProgress: (done: number, total: number) => void) => Promise<Extracted>;

function withProgress(name: string, extract: ExtractPart): (subset: Subset, title: string) => Promise<Extracted> {
  return async (subset, title) => {
    using progress = lazyProgress(`${name}, ${title}`);
    return await extract(subset, progress.report);
  };
}

/** Throws if the folder holds files of anything but a run. */
async function expectRunFolder(out: string): Promise<void> {
  const left = (await readdir(out).catch(() => [])).filter((name) => !name.startsWith("."));
  if (left.length > 0 && !left.includes("config.json")) {
    throw new Error(
      `--out ${out}: expected an empty folder or a former run, got ${left.length} other files; name another`,
    );
  }
}

function percent(value: number): string {
  return `${value.toFixed(1).padStart(5)} %`;
}

function signed(value: number): string {
  return `${value < 0 ? "" : "+"}${value.toFixed(1)}`;
}
