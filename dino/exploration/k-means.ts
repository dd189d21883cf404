/** Spherical k-means: groups of images whose features point in similar directions. */
import {
  compareRows,
  dotProducts,
  type FeatureRows,
  normalizeRows,
  selectRows,
  sliceRows,
  type Similarities,
} from "../math/feature-rows.js";
import { rng, type Rng } from "../math/random.js";
import type { ComparingOptions } from "../retrieval/neighbors.js";
import { checkRows } from "./check-rows.js";

/** Options of `kMeans`. */
export interface KMeansOptions extends ComparingOptions {
  /** Number of groups. */
  readonly groups: number;
  /** Default 0. */
  readonly seed?: number | undefined;
  /** Number of random starts, of which the best counts; default 8. */
  readonly starts?: number | undefined;
}

/** Groups of images, each with a center. */
export interface KMeans {
  /** The group of each image: [rows]. */
  readonly labels: Int32Array;
  /** Normalised means: [groups, dim]. */
  readonly centers: FeatureRows;
  /** Mean cosine between images and the center of their group. */
  readonly similarity: number;
}

const MAX_ITERATIONS = 100;
/** Squared distance of features that count as the same. */
const SAME = 1e-6;

/**
 * Groups images by k-means on the unit sphere, from k-means++ starts. The same seed gives the same groups. Throws for
 * more groups than different images.
 *
 * Dhillon and Modha, Concept decompositions for large sparse text data using clustering (2001); Arthur and Vassilvitskii,
 * k-means++ (2007).
 */
export async function kMeans(options: KMeansOptions): Promise<KMeans> {
  const { features, groups, seed = 0, starts = 8, similarities = dotProducts, onProgress } = options;
  checkRows("cluster", features);
  if (!Number.isInteger(groups) || groups < 1 || groups > features.rows) {
    throw new Error(`cluster: expected 1 to ${features.rows} groups, the number of images, got ${groups}`);
  }
  let best: KMeans | undefined;
  for (let start = 0; start < starts; start++) {
    const centers = drawCenters(features, groups, rng({ seed, index: start, purpose: "k-means start" }));
    const found = await improve(features, centers, similarities);
    if (best === undefined || found.similarity > best.similarity) best = found;
    onProgress?.(start + 1, starts);
  }
  if (best === undefined) throw new Error(`cluster: expected at least 1 start, got ${starts}`);
  return best;
}

/** Draws centers among the images, each with a probability that grows with the squared distance from those before. */
function drawCenters(features: FeatureRows, groups: number, random: Rng): FeatureRows {
  const { rows } = features;
  const chosen = new Int32Array(groups);
  chosen[0] = random.integer(rows);
  const squares = new Float64Array(rows).fill(Infinity);
  for (let group = 1; group < groups; group++) {
    const latest = chosen[group - 1]!;
    const similarity = dotProducts(sliceRows(features, latest, latest + 1), features);
    let sum = 0;
    for (let row = 0; row < rows; row++) {
      const square = 2 - 2 * similarity[row]!;
      squares[row] = Math.min(squares[row]!, square > SAME ? square : 0);
      sum += squares[row]!;
    }
    if (sum === 0) {
      throw new Error(`cluster: expected at most ${group} groups, the number of different images, got ${groups}`);
    }
    let left = random.uniform() * sum;
    let drawn = -1;
    for (let row = 0; row < rows && left >= 0; row++) {
      if (squares[row] === 0) continue;
      left -= squares[row]!;
      drawn = row;
    }
    chosen[group] = drawn;
  }
  return selectRows(features, chosen);
}

/** Alternates between assigning images to centers and moving centers, until no image changes its group. */
async function improve(features: FeatureRows, first: FeatureRows, similarities: Similarities): Promise<KMeans> {
  const { rows } = features;
  let centers = first;
  let before = new Int32Array(rows).fill(-1);
  for (let iteration = 1; ; iteration++) {
    const labels = new Int32Array(rows);
    const closest = new Float32Array(rows).fill(-Infinity);
    for await (const { row: group, similarity } of compareRows(centers, features, similarities)) {
      for (let row = 0; row < rows; row++) {
        if (similarity[row]! <= closest[row]!) continue;
        closest[row] = similarity[row]!;
        labels[row] = group;
      }
    }
    fillEmptyGroups(labels, closest, centers.rows);
    const isSettled = labels.every((label, row) => label === before[row]);
    centers = groupMeans(features, labels, centers.rows);
    if (isSettled || iteration === MAX_ITERATIONS) {
      return { labels, centers, similarity: closest.reduce((sum, value) => sum + value, 0) / rows };
    }
    before = labels;
  }
}

/** Gives each empty group the image farthest from its center, of a group that keeps another. */
function fillEmptyGroups(labels: Int32Array, closest: Float32Array, groups: number): void {
  const sizes = new Int32Array(groups);
  for (const label of labels) sizes[label]!++;
  for (let group = 0; group < groups; group++) {
    if (sizes[group]! > 0) continue;
    let farthest = -1;
    for (const [row, label] of labels.entries()) {
      if (sizes[label]! > 1 && (farthest < 0 || closest[row]! < closest[farthest]!)) farthest = row;
    }
    sizes[labels[farthest]!]!--;
    sizes[group] = 1;
    labels[farthest] = group;
    closest[farthest] = 1;
  }
}

/** Returns the mean of each group, scaled to length one: [rows, dim], [rows] -> [groups, dim]. Labels below 0 count nowhere. */
export function groupMeans({ values, rows, dim }: FeatureRows, labels: Int32Array, groups: number): FeatureRows {
  const sums = new Float64Array(groups * dim);
  for (let row = 0; row < rows; row++) {
    if (labels[row]! < 0) continue;
    const to = labels[row]! * dim;
    for (let c = 0; c < dim; c++) sums[to + c]! += values[row * dim + c]!;
  }
  return normalizeRows({ values: Float32Array.from(sums), rows: groups, dim });
}
