/**
 * Measures the exploration of labelled images: wrong labels found, strangers found, and images classified by a few labels, chosen
 * at random and by `dino select`.
 *
 *   node --import tsx bench/explore.ts CHECKPOINT [DATA]
 */
import { similaritiesOn } from "../dino/evaluation/device-similarities.js";
import { doubtfulLabels } from "../dino/exploration/doubtful-labels.js";
import { outlierScores } from "../dino/exploration/outliers.js";
import { chooseRows, CHOICES } from "../dino/exploration/select-rows.js";
import { spreadLabels, VOTING } from "../dino/exploration/spread-labels.js";
import { BUILTIN } from "../dino/images/builtin.js";
import { memoryImages } from "../dino/images/image-set.js";
import type { Image } from "../dino/images/pixels.js";
import { openSplits } from "../dino/images/sources/open-splits.js";
import { type FeatureRows, normalizeRows, selectRows } from "../dino/math/feature-rows.js";
import { rng } from "../dino/math/random.js";
import { type Model, viewOf } from "../dino/model/backbone.js";
import { extractFeatures } from "../dino/model/extract.js";
import { type ComparingOptions, distanceOf, neighborsOf } from "../dino/retrieval/neighbors.js";
import { loadModel } from "../dino/weights/load-model.js";
import { openDevice } from "../engine/adapters/node.js";
import { meanAndSpread } from "./learning/statistics.js";

const SEEDS = [0, 1, 2, 3, 4];
const SWAPPED = 0.05;
const COUNTS = [10, 20, 50, 100];
/** Share of the images that each seed draws to choose among. */
const DRAWN = 0.8;
const NEIGHBORS = [5, 10, 20];

interface Labelled {
  readonly features: FeatureRows;
  readonly labels: Int32Array;
  readonly classes: number;
}

async function main([checkpoint, data = BUILTIN]: readonly string[]): Promise<void> {
  if (checkpoint === undefined)
    throw new Error("expected a checkpoint, and images with classes if not the built-in ones");
  using device = await openDevice();
  using model = await loadModel(device, checkpoint);
  const { train } = await openSplits(data, { heldOut: 0, seed: 0 });
  const { images } = train;
  if (images.labels === undefined) throw new Error(`${data}: expected images with classes`);
  const { features, indices } = await extractFeatures(model, images, { batch: 64, view: viewOf(model.config) });
  const all: Labelled = {
    features: normalizeRows(features),
    labels: Int32Array.from(indices, (index) => images.labels![index]!),
    classes: images.classes.length,
  };
  console.log(`${data}: ${features.rows} images of ${all.classes} classes, ${features.dim} features, ${device.name}`);
  await measureAudit(all);
  await measureStrangers(model, features);
  await measureChoice(all);
}

/** Swaps labels on purpose, and counts how many are at the beginning of the list of doubtful labels. */
async function measureAudit({ features, labels, classes }: Labelled): Promise<void> {
  const count = Math.round(SWAPPED * features.rows);
  for (const voting of VOTING) {
    const shares: number[] = [];
    for (const seed of SEEDS) {
      const random = rng({ seed, purpose: "swapped labels" });
      const swapped = new Set(random.permutation(features.rows).subarray(0, count));
      const wrong = labels.map((label, row) =>
        swapped.has(row) ? (label + 1 + random.integer(classes - 1)) % classes : label,
      );
      const given = { rows: Int32Array.from(wrong.keys()), labels: wrong, classes };
      const doubts = await doubtfulLabels({ features, given, voting });
      shares.push(doubts.slice(0, count).filter(({ row }) => swapped.has(row)).length / count);
    }
    console.log(`audit, ${voting}: ${percent(shares)} of ${count} swapped labels are among the first ${count}`);
  }
}

/** Adds images unlike all others, and counts how many are at the beginning of the list of outliers. */
async function measureStrangers(model: Model, features: FeatureRows): Promise<void> {
  const images = strangers();
  const strange = await extractFeatures(model, memoryImages({ images }), { batch: 16, view: viewOf(model.config) });
  normalizeRows(strange.features);
  const { dim } = features;
  const rows = features.rows + images.length;
  const values = new Float32Array(rows * dim);
  values.set(features.values);
  values.set(strange.features.values, features.values.length);
  const all = { values, rows, dim };
  using onDevice = similaritiesOn(model.device, all);
  const comparing = { features: all, nearest: onDevice.nearest };
  for (const k of NEIGHBORS) {
    const scores = {
      "mean distance": await outlierScores({ ...comparing, k }),
      "local outlier factor": await localOutlierFactors(comparing, k),
    };
    for (const [name, of] of Object.entries(scores)) {
      const order = Array.from(of.keys()).sort((a, b) => of[b]! - of[a]!);
      const found = order.slice(0, images.length).filter((row) => row >= features.rows).length;
      const last = Math.max(...images.map((_, i) => order.indexOf(features.rows + i))) + 1;
      console.log(
        `outliers, ${name}, k ${k}: ${found} of ${images.length} strangers come first, the last at place ${last}`,
      );
    }
  }
}

/** Draws even colours, noise and stripes: three series of five images that are alike. */
function strangers(): readonly Image[] {
  const side = 64;
  const draw = (color: (row: number, col: number, channel: number) => number): Image => {
    const at = (i: number): number => color(Math.floor(i / 3 / side), Math.floor(i / 3) % side, i % 3);
    return { rows: side, cols: side, pixels: Uint8Array.from({ length: 3 * side * side }, (_, i) => at(i)) };
  };
  return SEEDS.flatMap((seed) => {
    const random = rng({ seed, purpose: "strangers" });
    const colors = [0, 1, 2].map(() => random.integer(256));
    return [
      draw((_, __, channel) => colors[channel]!),
      draw(() => random.integer(256)),
      draw((row, _, channel) => (Math.floor(row / (seed + 2)) % 2 === 0 ? colors[channel]! : 255)),
    ];
  });
}

/** Local outlier factors: Breunig et al., LOF: identifying density-based local outliers (2000). */
async function localOutlierFactors(comparing: ComparingOptions, neighbors: number): Promise<Float64Array> {
  const { k, rows, similarities } = await neighborsOf({ ...comparing, k: neighbors });
  const count = comparing.features.rows;
  const around = Array.from({ length: k }, (_, n) => n);
  const mean = (of: (n: number) => number): number => around.reduce((sum, n) => sum + of(n), 0) / k;
  const farthest = Float64Array.from({ length: count }, (_, row) => distanceOf(similarities[row * k + k - 1]!));
  const densities = Float64Array.from(
    { length: count },
    (_, row) =>
      1 /
      Math.max(
        1e-12,
        mean((n) => Math.max(farthest[rows[row * k + n]!]!, distanceOf(similarities[row * k + n]!))),
      ),
  );
  return Float64Array.from(densities, (density, row) => mean((n) => densities[rows[row * k + n]!]! / density));
}

/** Classifies all images by a few labels, of images chosen in several ways. */
async function measureChoice({ features, labels, classes }: Labelled): Promise<void> {
  for (const count of COUNTS) {
    for (const choice of ["random", ...CHOICES] as const) {
      const accuracies = new Map(
        VOTING.map((voting) => [voting, { found: [] as number[], estimated: [] as number[] }]),
      );
      for (const seed of SEEDS) {
        const drawn = rng({ seed, purpose: "images to choose among" })
          .permutation(features.rows)
          .subarray(0, Math.round(DRAWN * features.rows));
        const some = selectRows(features, drawn);
        const own = drawn.map((row) => labels[row]!);
        const rows =
          choice === "random"
            ? Int32Array.from({ length: count }, (_, i) => i)
            : await chooseRows({ features: some, count, by: choice });
        const given = { rows, labels: rows.map((row) => own[row]!), classes };
        const isGiven = new Set(rows);
        for (const voting of VOTING) {
          const spread = await spreadLabels({ features: some, given, voting });
          const right = own.filter((label, row) => !isGiven.has(row) && spread.labels[row] === label).length;
          accuracies.get(voting)!.found.push(right / (some.rows - count));
          accuracies.get(voting)!.estimated.push(spread.accuracy);
        }
      }
      for (const [voting, { found, estimated }] of accuracies) {
        console.log(
          `classify, ${count} labels, ${choice}, ${voting}: ${percent(found)}, leave-one-out ${percent(estimated)}`,
        );
      }
    }
  }
}

function percent(shares: readonly number[]): string {
  const { mean, spread } = meanAndSpread(shares.map((share) => 100 * share));
  return `${mean.toFixed(1)} ± ${spread.toFixed(1)} %`;
}

await main(process.argv.slice(2));
