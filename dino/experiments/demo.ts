/** `dino demo`: trains on the built-in images, and shows with numbers and pictures what was learnt. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { openDevice } from "../../engine/adapters/node.js";
import type { Device } from "../../engine/index.js";
import { builtinPreset } from "../config/presets.js";
import { resolveConfig } from "../config/resolve.js";
import type { Config } from "../config/settings.js";
import { compareNeighbors } from "../evaluation/evaluate.js";
import { indexOfRun, listed, writeFeatures } from "../evaluation/feature-files.js";
import { labelledFeatures } from "../evaluation/labelled.js";
import type { KnnAccuracy } from "../evaluation/online-evaluation.js";
import { writeFileAtomically, writeJson } from "../files/files.js";
import { formatTime, startProgress, takeReports } from "../files/progress.js";
import { isFailure } from "../images/image-location.js";
import { centerCrop, type Image, resizeShortSide } from "../images/pixels.js";
import { openParts } from "../images/sources/open-parts.js";
import { firstOf, firstOfEach, type Part, type Parts } from "../images/split.js";
import { type FeatureRows, rowsOf, takeRows } from "../math/feature-rows.js";
import { type Model, viewOf } from "../model/backbone.js";
import type { View } from "../model/backbone.js";
import { type Extracted, extractFeatures, pixelFeatures } from "../model/extract.js";
import { backboneOf } from "../model/network.js";
import { svgToPng } from "../pictures/charts.js";
import { attentionOf, closer, lookClosely } from "../pictures/close-up.js";
import { mapSvg, placeFeatures } from "../pictures/map.js";
import { type LabelledImage, neighborsSvg } from "../pictures/neighbors.js";
import { encodePng } from "../pictures/png.js";
import { nearest } from "../retrieval/nearest.js";
import { lengthOf } from "../training/schedule.js";
import { trainWithProgress } from "../training/supervised.js";
import { loadModel } from "../weights/load-model.js";
import { timeComparison, type TimedOptions, timeTraining } from "./time-estimate.js";

export interface DemoOptions {
  readonly out: string;
  /** Length of the training; that of the recipe if left out, or what fits into 200 seconds where that is less. */
  readonly steps?: number;
  /** A few steps and images, to see that everything works. */
  readonly quick: boolean;
  /** Takes what there is to say on the way, and the results in words. */
  readonly say: (...lines: readonly string[]) => void;
}

/** What `OUT/summary.json` holds. */
export interface DemoSummary {
  /** k-NN top-1 on held-out images, k 20, in percent. */
  readonly knn: { readonly untrained: number; readonly trained: number; readonly pixels: number };
  /** Held-out images beside their nearest neighbours, by pixels, before and after training. */
  readonly neighbors: string;
  /** The held-out images by their features, before and after training. */
  readonly map: string;
  readonly attention: string;
  readonly checkpoint: string;
  /** Features of the held-out images, as dino embed writes them. */
  readonly index: string;
  readonly seconds: number;
  readonly device: string;
}

const QUICK = { steps: 20, train: 512, test: 128 } as const;
/** Evaluations between the first step and the last take at most this share of the time of the training. */
const SHARE_OF_EVALUATIONS = 0.1;
const MOST_EVALUATIONS = 8;

/** Runs the demo; everything it makes is in `out`. Throws if that folder holds anything but a former run. */
export async function demo({ out, steps, quick, say }: DemoOptions): Promise<DemoSummary> {
  const began = performance.now();
  await expectOurs(out);
  const asked = steps ?? (quick ? QUICK.steps : undefined);
  const recipe = resolveConfig({ preset: builtinPreset, out, ...(asked !== undefined && { steps: asked }) });
  const view = viewOf(recipe);
  using device = await openDevice();
  say(`device      ${device.name}`);
  const all = await openParts(recipe.data, { heldOut: 0, seed: 0 });
  const parts = quick ? { train: firstOf(all.train, QUICK.train), test: firstOf(all.test, QUICK.test) } : all;
  const { train, test } = parts;
  const { classes } = test.images;
  say(
    `images      ${train.indices.length} to train on, ${test.indices.length} held out, ${classes.length} classes; ` +
      "nothing of the training sees a class",
  );

  const comparison = { parts, k: recipe.knnK, queries: queriesOf(test) };
  const ofPixels = await extractBoth(
    parts,
    withProgress("pixels", (part, onProgress) => pixelFeatures(part.images, { ...part, view, onProgress })),
  );
  const wanted = lengthOf(recipe, train.indices.length).steps;
  const spentMs = performance.now() - began;
  const timed = { device, config: recipe, parts };
  const { length, inBetween, restMs } = await estimate(timed, {
    wanted,
    isAsked: asked !== undefined,
    spentMs,
    pixels: ofPixels.train.features,
  });
  const config = shortened(recipe, { wanted, length });
  say(
    `time        about ${formatTime(performance.now() - began + restMs)} in all, by a few steps and images on this adapter`,
  );
  if (length < wanted) {
    say(
      `            trains ${length} of the recipe's ${wanted} steps, since this adapter is slow: ` +
        `dino demo --steps ${wanted} trains them all, and dino doctor says what is faster`,
    );
  }

  const pixels = await compare(ofPixels, { ...comparison, device, title: "pixels, comparing" });
  say(`pixels      k-NN ${percent(pixels.knn.top1)} of the held-out images right, comparing pixel with pixel`);
  const looks: Look[] = [];
  let index: Extracted | undefined;
  const { checkpoint } = await trainWithProgress({
    ...{ device, config, parts, given: new Set(), resume: false },
    visit: {
      times: 1 + inBetween,
      look: async ({ step, teacher }, onLooked) => {
        const total = train.indices.length + test.indices.length;
        const found = await extractBoth(parts, (part) =>
          extractFeatures(backboneOf(teacher), part.images, {
            ...{ ...part, view },
            onProgress: (done) => onLooked(done + (part === test ? train.indices.length : 0), total),
          }),
        );
        if (step === length) index = copyOf(found.test);
        const look = await compare(found, { ...comparison, device });
        looks.push(look);
        return { knn: look.knn };
      },
    },
  });
  const [untrained, trained] = [looks[0]!, looks.at(-1)!];

  const pictures = await drawPictures({
    ...{ out, parts, view, queries: comparison.queries, pixels, untrained, trained },
    ...{ seed: config.seed, model: () => loadModel(device, checkpoint) },
  });
  const indexPath = indexOfRun(out);
  await writeFeatures(indexPath, listed(test.images, index!, { data: config.data, checkpoint, which: "teacher" }));

  const seconds = Math.round((performance.now() - began) / 100) / 10;
  const knn = { untrained: untrained.knn.top1, trained: trained.knn.top1, pixels: pixels.knn.top1 };
  const summary = {
    ...{ knn, ...pictures, checkpoint, index: indexPath, seconds, device: device.name },
  } satisfies DemoSummary;
  await writeJson(join(out, "summary.json"), summary);
  say(
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
    `index       ${indexPath}`,
    `took        ${formatTime(1000 * seconds)}`,
    "",
    "Next, curves and any picture under the network's eye, in a browser:",
    `  npx dino serve ${out} --open`,
    "On images of your own:",
    "  npx dino train --data FOLDER --out runs/mine --preset small-images",
  );
  return summary;
}

/** What writing pictures takes, about. */
const PICTURES_MS = 5000;

/** The demo takes so long at most, unless the length of the training is given. */
const LONGEST_MS = 200_000;
const FEWEST_STEPS = 30;

interface Estimate {
  /** Steps of the training. */
  readonly length: number;
  /** Evaluations between the first step and the last. */
  readonly inBetween: number;
  /** What all that follows takes. */
  readonly restMs: number;
}

/** Decides how many of the `wanted` steps the demo trains, from times that it measures first. */
async function estimate(
  timed: TimedOptions,
  {
    wanted,
    isAsked,
    spentMs,
    pixels,
  }: {
    readonly wanted: number;
    /** Whether the user gave the length of the training. */
    readonly isAsked: boolean;
    readonly spentMs: number;
    readonly pixels: FeatureRows;
  },
): Promise<Estimate> {
  const began = performance.now();
  const { train, test } = timed.parts;
  using timing = startProgress({ title: "timing", total: 2 });
  const { step, image } = await timeTraining(timed);
  timing.update(1);
  const pixelsMs = await timeComparison(timed.device, pixels, test.indices.length);
  timing.update(2);
  const evaluationMs = image * (train.indices.length + test.indices.length);
  const leastMs = pixelsMs + 2 * evaluationMs + PICTURES_MS;
  const leftMs = LONGEST_MS - spentMs - (performance.now() - began) - leastMs;
  const length = isAsked ? wanted : Math.min(wanted, Math.max(FEWEST_STEPS, Math.floor(leftMs / step)));
  const trainingMs = step * length;
  const inBetween = Math.min(MOST_EVALUATIONS, Math.floor((SHARE_OF_EVALUATIONS * trainingMs) / evaluationMs));
  return { length, inBetween, restMs: leastMs + trainingMs + inBetween * evaluationMs };
}

/** The recipe over fewer steps: its teacher follows faster, though not as much faster as the run is shorter. */
function shortened(config: Config, { wanted, length }: { readonly wanted: number; readonly length: number }): Config {
  if (length === wanted) return config;
  const momentum = (of: number) => Math.max(0, 1 - (1 - of) * Math.sqrt(wanted / length));
  return {
    ...config,
    steps: length,
    momentumTeacher: momentum(config.momentumTeacher),
    momentumTeacherEnd: momentum(config.momentumTeacherEnd),
  };
}

/** The rule by which the picture of neighbours chooses its queries: the first held-out images of each class. */
function queriesOf(test: Part): readonly number[] {
  const each = test.images.classes.length <= MOST_QUERIES / 2 ? 2 : 1;
  return firstOfEach(test, each).slice(0, MOST_QUERIES);
}

const MOST_QUERIES = 10;
const NEIGHBORS = 5;

interface Both {
  readonly train: Extracted;
  readonly test: Extracted;
}

async function extractBoth(
  { train, test }: Parts,
  extract: (part: Part, title: string) => Promise<Extracted>,
): Promise<Both> {
  return { train: await extract(train, "train images"), test: await extract(test, "test images") };
}

/** What features come to: accuracy, the neighbours of the queries, and the features of the held-out images, of length one. */
interface Look {
  readonly knn: KnnAccuracy;
  /** Images of the training set for each query. */
  readonly neighbors: readonly (readonly number[])[];
  readonly test: FeatureRows;
}

interface CompareOptions {
  readonly device: Device;
  readonly parts: Parts;
  readonly k: number;
  readonly queries: readonly number[];
  /** Of the progress; it is not shown if left out. */
  readonly title?: string;
}

/** Compares features with each other, once for all that shows it; normalises them in place. */
async function compare(both: Both, { device, parts, k, queries, title }: CompareOptions): Promise<Look> {
  using comparing = title === undefined ? undefined : takeReports(title);
  const labelled = await labelledFeatures(parts, (part) =>
    Promise.resolve(part === parts.test ? both.test : both.train),
  );
  const report = await compareNeighbors(labelled, {
    ks: [k],
    device,
    ...(comparing && { onCompared: comparing.report }),
  });
  const { neighbors, top1, top5 } = report.results[0]!;
  const rows = queries.map((query) => both.test.indices.indexOf(query));
  const queryRows = takeRows(both.test.features, rows);
  const found = await nearest({ queries: queryRows, index: both.train.features, k: NEIGHBORS });
  return {
    knn: { k: neighbors, top1, top5, images: report.testImages, among: report.trainImages, areTrainedOn: false },
    neighbors: found.map((near) => near.map(({ row }) => both.train.indices[row]!)),
    test: both.test.features,
  };
}

interface DrawOptions {
  readonly view: View;
  readonly looks: readonly { readonly title: string; readonly look: Look }[];
  readonly queries: readonly number[];
}

interface PicturesOptions extends Pick<DrawOptions, "view" | "queries"> {
  readonly out: string;
  readonly parts: Parts;
  readonly pixels: Look;
  readonly untrained: Look;
  readonly trained: Look;
  readonly seed: number;
  readonly model: () => Promise<Model>;
}

/** Draws all pictures; returns where they lie. */
async function drawPictures({ out, parts, view, queries, ...options }: PicturesOptions) {
  using drawing = startProgress({ title: "pictures", total: 3 });
  const pathOf = (name: string) => join(out, `${name}.png`);
  const { test } = parts;
  const { pixels, untrained, trained, seed } = options;
  const networks = [
    { title: "untrained network", look: untrained },
    { title: "after training", look: trained },
  ];
  const compared = [{ title: "raw pixels", look: pixels }, ...networks];
  const neighbors = svgToPng(await drawNeighbors(parts, { view, queries, looks: compared }));
  drawing.update(1);
  const map = svgToPng(await drawMap(test, { view, looks: networks, seed }));
  drawing.update(2);
  using model = await options.model();
  const shown = await lookClosely(model, test.images, firstOfEach(test).slice(0, MOST_ATTENDED), closer(view, 3));
  const { classes, labels } = test.images;
  const labelled = shown.map((one) => ({ ...one, label: classes[labels![one.index]!]! }));
  const title = "What the cls token of the last block attends to";
  const attention = encodePng(attentionOf(labelled, { heads: model.vit.heads, title }));
  drawing.update(3);
  const paths = { neighbors: pathOf("neighbors"), map: pathOf("map"), attention: pathOf("attention") };
  await writeFileAtomically(paths.neighbors, neighbors);
  await writeFileAtomically(paths.map, map);
  await writeFileAtomically(paths.attention, attention);
  return paths;
}

async function drawNeighbors({ train, test }: Parts, { view, looks, queries }: DrawOptions): Promise<string> {
  const labelled = async ({ images }: Part, index: number): Promise<LabelledImage> => ({
    image: await shownOf(images, index, view),
    label: images.labels![index]!,
  });
  const each = Math.ceil(queries.length / test.images.classes.length);
  const { among, images, k } = looks[0]!.look.knn;
  return neighborsSvg({
    queries: await Promise.all(queries.map((query) => labelled(test, query))),
    groups: await Promise.all(
      looks.map(async ({ title, look }) => ({
        ...{ title, accuracy: look.knn.top1 },
        neighbors: await Promise.all(
          look.neighbors.map((near) => Promise.all(near.map((index) => labelled(train, index)))),
        ),
      })),
    ),
    classes: test.images.classes,
    title: "Held-out images and the five training images most like them",
    caption: [
      `Queries: the first ${each === 1 ? "held-out image" : "two held-out images"} of each class, not chosen by hand. Most like: largest cosine, among all ${among} training images.`,
      `k-NN accuracy: ${k} neighbours vote on the class of each of ${images} held-out images. The network was trained without any label.`,
    ],
  });
}

async function drawMap(
  test: Part,
  { view, looks, seed }: Pick<DrawOptions, "view" | "looks"> & { readonly seed: number },
): Promise<string> {
  const count = Math.min(MOST_MAPPED, test.indices.length);
  const { images } = test;
  const panels = [];
  for (const { title, look } of looks) {
    const places = await placeFeatures(rowsOf(look.test, 0, count), seed);
    panels.push({ title: `${title}, k-NN ${look.knn.top1.toFixed(0)} %`, places });
  }
  const mapped = Array.from(test.indices.subarray(0, count));
  return mapSvg({
    panels,
    labels: mapped.map((index) => images.labels![index]!),
    classes: images.classes,
    images: await Promise.all(mapped.map((index) => shownOf(images, index, view))),
    title: `${count} held-out images by their features`,
    caption: [
      "A dot is an image; UMAP puts images with similar features close together. The colour is the class, which neither the network",
      "nor UMAP is told. In each part of a map, the image nearest its middle is drawn.",
    ],
  });
}

/** More dots lie on top of each other. */
const MOST_MAPPED = 1000;

/** An image as the network is shown it. */
async function shownOf(images: Part["images"], index: number, { resize, crop }: View): Promise<Image> {
  const image = await images.decode(index);
  if (isFailure(image)) throw new Error(`${image.path}: ${image.reason}`);
  return centerCrop(resizeShortSide(image, resize), crop);
}

function copyOf({ features, ...rest }: Extracted): Extracted {
  return { ...rest, features: { ...features, values: features.values.slice() } };
}

type ExtractPart = (part: Part, onProgress: (done: number, total: number) => void) => Promise<Extracted>;

function withProgress(name: string, extract: ExtractPart): (part: Part, title: string) => Promise<Extracted> {
  return async (part, title) => {
    using progress = takeReports(`${name}, ${title}`);
    return await extract(part, progress.report);
  };
}

/** Throws for a folder that holds what no run has left there. */
async function expectOurs(out: string): Promise<void> {
  const left = (await readdir(out).catch(() => [])).filter((name) => !name.startsWith("."));
  if (left.length > 0 && !left.includes("config.json")) {
    throw new Error(
      `--out ${out}: expected an empty folder or a former run, got ${left.length} other files; name another`,
    );
  }
}

/** Images that the picture of attention shows. */
const MOST_ATTENDED = 2;

function percent(value: number): string {
  return `${value.toFixed(1).padStart(5)} %`;
}

function signed(value: number): string {
  return `${value < 0 ? "" : "+"}${value.toFixed(1)}`;
}
