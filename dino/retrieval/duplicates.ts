/** Near-duplicate detection by features. */
import { basename } from "node:path";
import type { Device } from "../../engine/index.js";
import { isFailure } from "../images/image-location.js";
import { disjointSets } from "../math/disjoint-sets.js";
import type { FeatureRows } from "../math/feature-rows.js";
import type { Picture } from "../pictures/drawing.js";
import { contactSheet, type SheetCell, type SheetRow } from "./contact-sheet.js";
import type { IndexedImages } from "./indexed-images.js";
import { type Pair, similarPairs } from "./similar-pairs.js";

export interface DuplicatesOptions {
  readonly device: Device;
  /** Rows of length one: see normalizeRows. */
  readonly features: FeatureRows;
  /** Minimum similarity of duplicates, above 0 and below 1. */
  readonly threshold: number;
  readonly onProgress?: (done: number, total: number) => void;
}

/** An image of a group, with its similarity to the most similar other image of the group. */
export interface Member {
  readonly row: number;
  readonly similarity: number;
}

export interface Duplicates {
  /** Images connected by pairs, directly or transitively: the largest group first, rows in ascending order. */
  readonly groups: readonly (readonly Member[])[];
  /** Number of pairs of at least each similarity, in descending order; five similarities are below the threshold. */
  readonly counts: readonly { readonly atLeast: number; readonly pairs: number }[];
  /** The most similar pairs below the threshold; if they show the same, the threshold is too high. */
  readonly below: readonly Pair[];
  /** The least similar pairs above the threshold; if they differ, the threshold is too low. */
  readonly above: readonly Pair[];
}

/** Step between the similarities of `counts`, and the number of steps below the threshold. */
const STEP = 0.01;
const STEPS_BELOW = 5;
/** Typical similarities of copies of a file in other sizes and formats. */
const NEAR_ONE = [0.995, 0.999];
/** Maximum number of pairs reported on either side of the threshold. */
const MAX_PAIRS = 4;

/** Finds groups of near-duplicates, and pairs that help to choose the threshold. */
export async function findDuplicates(options: DuplicatesOptions): Promise<Duplicates> {
  const { device, features, threshold, onProgress } = options;
  const groups = disjointSets(features.rows);
  const closest = new Float64Array(features.rows);
  const levels = levelsAround(threshold);
  const counts = levels.map((atLeast) => ({ atLeast, pairs: 0 }));
  const below = bestPairs((a, b) => b.similarity - a.similarity);
  const above = bestPairs((a, b) => a.similarity - b.similarity);
  await similarPairs({
    device,
    features,
    atLeast: levels.at(-1)!,
    ...(onProgress && { onProgress }),
    onPair: (pair) => {
      const { first, second, similarity } = pair;
      for (const level of counts) if (similarity >= level.atLeast) level.pairs++;
      if (similarity < threshold) {
        below.add(pair);
        return;
      }
      above.add(pair);
      groups.join(first, second);
      closest[first] = Math.max(closest[first]!, similarity);
      closest[second] = Math.max(closest[second]!, similarity);
    },
  });
  const members = new Map<number, Member[]>();
  for (const [row, similarity] of closest.entries()) {
    if (similarity === 0) continue; // alone
    const first = groups.find(row);
    const group = members.get(first) ?? [];
    group.push({ row, similarity });
    members.set(first, group);
  }
  return {
    groups: [...members.values()].sort((a, b) => b.length - a.length || a[0]!.row - b[0]!.row),
    counts,
    below: below.kept,
    above: above.kept,
  };
}

/** Returns similarities from just below 1 to five steps below the threshold, including the threshold. */
function levelsAround(threshold: number): readonly number[] {
  const levels = new Set([threshold, ...NEAR_ONE.filter((level) => level > threshold)]);
  for (let i = -STEPS_BELOW; threshold + i * STEP < 1; i++) levels.add(Number((threshold + i * STEP).toFixed(10)));
  return [...levels].filter((level) => level > 0).sort((a, b) => b - a);
}

interface Best {
  /** The best pairs, in order. */
  readonly kept: readonly Pair[];
  add(pair: Pair): void;
}

/** Collects the first few pairs of an order. */
function bestPairs(order: (a: Pair, b: Pair) => number): Best {
  const kept: Pair[] = [];
  return {
    kept,
    add(pair) {
      if (kept.length === MAX_PAIRS && order(kept.at(-1)!, pair) <= 0) return;
      kept.push(pair);
      kept.sort(order);
      if (kept.length > MAX_PAIRS) kept.pop();
    },
  };
}

/** Maximum number of groups on a sheet, and of images per group. */
const MAX_GROUPS = 50;
const MAX_MEMBERS = 32;

/** Draws the largest groups, and the pairs on either side of the threshold. */
export async function duplicatesSheet(
  { groups, above, below }: Duplicates,
  images: IndexedImages,
  threshold: number,
): Promise<Picture> {
  const cell = async ({ row, similarity }: Member): Promise<SheetCell> => {
    const image = await images.decode(row);
    const name = basename(images.path(row));
    return { image: isFailure(image) ? undefined : image, name, note: similarity.toFixed(4) };
  };
  const rows: SheetRow[] = [];
  for (const [i, group] of groups.slice(0, MAX_GROUPS).entries()) {
    const cells = await Promise.all(group.slice(0, MAX_MEMBERS).map(cell));
    const more = group.length > cells.length ? `, first ${cells.length} shown` : "";
    rows.push({ title: `group ${i + 1}: ${group.length} images${more}`, cells });
  }
  const sides = [
    [above, `least similar pairs above ${threshold}: if they differ, raise the threshold`],
    [below, `most similar pairs below ${threshold}: if they show the same, lower the threshold`],
  ] as const;
  for (const [pairs, title] of sides) {
    const both = pairs.flatMap(({ first, second, similarity }) => [first, second].map((row) => ({ row, similarity })));
    if (both.length > 0) rows.push({ title, cells: await Promise.all(both.map(cell)) });
  }
  const shown = groups.length > MAX_GROUPS ? `, first ${MAX_GROUPS} of ${groups.length} groups` : "";
  return contactSheet(`Near-duplicates by cosine similarity of features${shown}`, rows);
}
