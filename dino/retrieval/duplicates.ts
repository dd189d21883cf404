/** Images that are nearly the same, by their features. */
import { basename } from "node:path";
import type { Device } from "../../engine/index.js";
import { isFailure } from "../images/image-location.js";
import type { FeatureRows } from "../math/feature-rows.js";
import type { Picture } from "../pictures/drawing.js";
import { contactSheet, type SheetCell, type SheetRow } from "./contact-sheet.js";
import type { IndexedImages } from "./indexed-images.js";
import { type Pair, similarPairs } from "./similar-pairs.js";

export interface DuplicatesOptions {
  readonly device: Device;
  /** Rows of length one: see normalizeRows. */
  readonly features: FeatureRows;
  /** From which similarity on two images count as nearly the same, above 0 and below 1. */
  readonly threshold: number;
  readonly onProgress?: (done: number, total: number) => void;
}

/** An image of a group, and how like it is to the one of the group that is most like it. */
export interface Member {
  readonly row: number;
  readonly similarity: number;
}

export interface Duplicates {
  /** Images linked by pairs, directly or over others: the largest group first, and in each the earlier row. */
  readonly groups: readonly (readonly Member[])[];
  /** How many pairs are at least so similar, the highest similarity first and five of them below the threshold. */
  readonly counts: readonly { readonly atLeast: number; readonly pairs: number }[];
  /** The closest pairs below the threshold: if they look the same, it is too high. */
  readonly below: readonly Pair[];
  /** The least similar pairs that count as the same: if they look different, it is too low. */
  readonly above: readonly Pair[];
}

/** Between the similarities of `counts`, of which so many lie below the threshold. */
const STEP = 0.01;
const STEPS_BELOW = 5;
/** Copies of a file in other sizes and formats are often as similar as this. */
const NEAR_ONE = [0.995, 0.999];
/** Pairs kept on either side of the threshold. */
const MOST_PAIRS = 4;

/** Finds groups of images that are nearly the same, and what helps to choose the threshold. */
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

/** Similarities from next to 1 down to five steps below the threshold, which is one of them. */
function levelsAround(threshold: number): readonly number[] {
  const levels = new Set([threshold, ...NEAR_ONE.filter((level) => level > threshold)]);
  for (let i = -STEPS_BELOW; threshold + i * STEP < 1; i++) levels.add(Number((threshold + i * STEP).toFixed(10)));
  return [...levels].filter((level) => level > 0).sort((a, b) => b - a);
}

interface Best {
  /** In order. */
  readonly kept: readonly Pair[];
  add(pair: Pair): void;
}

/** Keeps a few pairs that come first in an order. */
function bestPairs(order: (a: Pair, b: Pair) => number): Best {
  const kept: Pair[] = [];
  return {
    kept,
    add(pair) {
      if (kept.length === MOST_PAIRS && order(kept.at(-1)!, pair) <= 0) return;
      kept.push(pair);
      kept.sort(order);
      if (kept.length > MOST_PAIRS) kept.pop();
    },
  };
}

/** Numbers in sets that can be joined. */
interface DisjointSets {
  join(a: number, b: number): void;
  /** The smallest number of the set. */
  find(a: number): number;
}

/** Each number from 0 to count - 1 in a set of its own at first: Tarjan's forest with path halving. */
export function disjointSets(count: number): DisjointSets {
  const parents = Int32Array.from({ length: count }, (_, i) => i);
  const find = (a: number): number => {
    let at = a;
    while (parents[at] !== at) {
      parents[at] = parents[parents[at]!]!;
      at = parents[at]!;
    }
    return at;
  };
  return {
    find,
    join(a, b) {
      const [x, y] = [find(a), find(b)];
      parents[Math.max(x, y)] = Math.min(x, y);
    },
  };
}

/** Most groups on a sheet, and most images of each. */
const MOST_GROUPS = 50;
const MOST_MEMBERS = 32;

/** The largest groups, and the pairs on either side of the threshold. */
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
  for (const [i, group] of groups.slice(0, MOST_GROUPS).entries()) {
    const cells = await Promise.all(group.slice(0, MOST_MEMBERS).map(cell));
    const more = group.length > cells.length ? `, the first ${cells.length} of them` : "";
    rows.push({ title: `group ${i + 1}: ${group.length} images${more}`, cells });
  }
  const sides = [
    [above, `least similar pairs that count as the same, by ${threshold}: if they look different, raise the threshold`],
    [below, `closest pairs below ${threshold}: if they look the same, lower the threshold`],
  ] as const;
  for (const [pairs, title] of sides) {
    const both = pairs.flatMap(({ first, second, similarity }) => [first, second].map((row) => ({ row, similarity })));
    if (both.length > 0) rows.push({ title, cells: await Promise.all(both.map(cell)) });
  }
  const shown = groups.length > MOST_GROUPS ? `, the first ${MOST_GROUPS} of ${groups.length} groups` : "";
  return contactSheet(`Nearly the same by the cosine of their features${shown}`, rows);
}
