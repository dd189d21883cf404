/** Choice of images that represent a set, to be labelled. */
import { compareRows, dotProducts, type FeatureRows, selectRows, sliceRows } from "../math/feature-rows.js";
import type { ComparingOptions } from "../retrieval/neighbors.js";
import { checkRows } from "./check-rows.js";
import { groupMeans } from "./k-means.js";

/** Ways to choose images. */
export const CHOICES = ["cover", "farthest"] as const;

/** Options of `chooseRows`. */
export interface ChoiceOptions extends ComparingOptions {
  /** Number of images to choose. */
  readonly count: number;
  /**
   * "cover" (default) chooses images that are similar to many others, "farthest" images that are far from those before,
   * which are often outliers.
   */
  readonly by?: (typeof CHOICES)[number] | undefined;
  /** Images that count as chosen before. */
  readonly given?: ArrayLike<number> | undefined;
}

/** Images up to which all may be chosen by "cover"; of larger sets, this many evenly spaced ones. */
const MAX_CANDIDATES = 4096;

/**
 * Chooses images of a set, in the order of their use: the first few are a good choice, too. "cover" maximises the sum of
 * the cosines of all images with the most similar chosen one (facility location), "farthest" is the greedy algorithm of
 * the k-center problem. Throws for more images than there are besides the given ones.
 */
export async function chooseRows(options: ChoiceOptions): Promise<Int32Array> {
  const { features, count, by = "cover", given = [] } = options;
  checkRows("select", features);
  const isGiven = new Uint8Array(features.rows);
  for (const row of Array.from(given)) isGiven[row] = 1;
  const free = features.rows - isGiven.reduce((sum, value) => sum + value, 0);
  if (!Number.isInteger(count) || count < 1 || count > free) {
    throw new Error(`select: expected 1 to ${free} images, the number of images to choose from, got ${count}`);
  }
  /** The similarity of each image to the most similar chosen one. */
  const closest = new Float32Array(features.rows).fill(-1);
  for (const [row, is] of isGiven.entries()) if (is) approach(closest, similaritiesTo(features, row));
  return by === "farthest"
    ? chooseFarthest(features, { count, isGiven, closest })
    : chooseCover(options, { count, isGiven, closest });
}

interface State {
  readonly count: number;
  readonly isGiven: Uint8Array;
  readonly closest: Float32Array;
}

function similaritiesTo(features: FeatureRows, row: number): ArrayLike<number> {
  return dotProducts(sliceRows(features, row, row + 1), features);
}

function approach(closest: Float32Array, similarity: ArrayLike<number>): void {
  for (let row = 0; row < closest.length; row++) closest[row] = Math.max(closest[row]!, similarity[row]!);
}

/** Chooses the image least similar to those before again and again, at first the one closest to the mean of all. */
function chooseFarthest(features: FeatureRows, { count, isGiven, closest }: State): Int32Array {
  const isTaken = Uint8Array.from(isGiven);
  const chosen = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const isFirst = i === 0 && !isGiven.includes(1);
    const mean = isFirst ? groupMeans(features, new Int32Array(features.rows), 1) : undefined;
    const order = mean ? dotProducts(mean, features).map((similarity) => -similarity) : closest;
    let next = -1;
    for (let row = 0; row < features.rows; row++) {
      if (!isTaken[row] && (next < 0 || order[row]! < order[next]!)) next = row;
    }
    chosen[i] = next;
    isTaken[next] = 1;
    approach(closest, similaritiesTo(features, next));
  }
  return chosen;
}

/**
 * Chooses the image that adds most to the sum again and again. What an image adds only falls (the sum is submodular), so
 * only images whose last known addition is the largest are compared anew: Minoux, Accelerated greedy algorithms (1978).
 */
async function chooseCover(options: ChoiceOptions, { count, isGiven, closest }: State): Promise<Int32Array> {
  const { features, similarities = dotProducts, onProgress } = options;
  const free = Int32Array.from(isGiven.keys()).filter((row) => !isGiven[row]);
  const most = Math.max(count, Math.min(MAX_CANDIDATES, free.length));
  const candidates = Int32Array.from({ length: most }, (_, i) => free[Math.floor((i * free.length) / most)]!);
  const added = (similarity: ArrayLike<number>): number =>
    closest.reduce((sum, value, row) => sum + Math.max(0, similarity[row]! - value), 0);

  const additions = new Float64Array(most);
  for await (const { row, similarity } of compareRows(selectRows(features, candidates), features, similarities)) {
    additions[row] = added(similarity);
    onProgress?.(row + 1, most);
  }
  const knownAt = new Int32Array(most);
  const chosen = new Int32Array(count);
  for (let i = 0; i < count;) {
    const best = additions.reduce((best, value, place) => (value > additions[best]! ? place : best), 0);
    const similarity = similaritiesTo(features, candidates[best]!);
    if (knownAt[best] === i) {
      chosen[i++] = candidates[best]!;
      approach(closest, similarity);
      additions[best] = -Infinity;
    } else {
      additions[best] = added(similarity);
      knownAt[best] = i;
    }
  }
  return chosen;
}
