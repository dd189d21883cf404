/** What features say about images, for colours and lists: groups, outliers, near-duplicates and doubtful classes. */
import { groupsOfNeighbors, NOISE } from "../exploration/density-groups.js";
import { describeGroups, groupNames } from "../exploration/groups.js";
import { TEMPERATURE } from "../exploration/neighbor-votes.js";
import { scoresOfNeighbors } from "../exploration/outliers.js";
import type { FeatureRows } from "../math/feature-rows.js";
import type { NeighborRows } from "../math/nearest-rows.js";
import type { NeighborTable } from "../math/umap.js";
import type { Column } from "./api.js";

/** Smallest group of images. */
const LEAST_GROUP = 10;

export interface FeatureColumnsOptions {
  /** Rows of length one. */
  readonly features: FeatureRows;
  readonly table: NeighborTable;
  /** The name of each row. */
  readonly files: readonly string[];
  /** The class of each row, if there are several: below 0 for none. */
  readonly classes?: ArrayLike<number> | undefined;
}

/**
 * Returns columns that the neighbours of the map give: the groups of `dino cluster`, if there are any; the mean distance from the
 * neighbours, by which `dino outliers` finds outliers; the similarity to the nearest image, which is that of a near-duplicate if it is
 * close to 1; and, where images have classes, how much more the neighbours vote for another class than for that of the image, -1 to 1.
 */
export function featureColumns({ features, table, files, classes }: FeatureColumnsOptions): readonly Column[] {
  const { rows, count: k, neighbors, distances } = table;
  const nearest = { k, rows: neighbors, similarities: distances.map((distance) => 1 - distance ** 2 / 2) };
  const numbers = (name: string, values: Iterable<number | null>): Column => {
    const rounded = Array.from(values, (value) => (value === null ? null : Number(value.toFixed(4))));
    return { kind: "numbers", name, numbers: rounded };
  };
  const others = [
    numbers("distance from neighbours", scoresOfNeighbors(nearest, rows)),
    numbers(
      "similarity to the nearest",
      Array.from({ length: rows }, (_, row) => nearest.similarities[row * k]!),
    ),
    ...(classes ? [numbers("doubt about the class", doubts(nearest, classes))] : []),
  ];
  const grouping = describeGroups(features, groupsOfNeighbors(nearest, rows, Math.min(LEAST_GROUP, k)));
  if (grouping.groups.length < 2) return others;
  const codes = new Array<number>(rows).fill(NOISE);
  for (const [group, { rows: members }] of grouping.groups.entries()) for (const row of members) codes[row] = group;
  return [{ kind: "names", name: "group", names: groupNames(grouping, files), codes }, ...others];
}

/** Returns the share of the votes of neighbours for the strongest other class, less that for the class of the image; null without one. */
function doubts({ k, rows: neighbors, similarities }: NeighborRows, classes: ArrayLike<number>): (number | null)[] {
  return Array.from({ length: classes.length }, (_, row) => {
    const own = classes[row]!;
    const votes = new Map<number, number>([[own, 0]]);
    let sum = 0;
    for (let i = row * k; i < (row + 1) * k; i++) {
      const other = classes[neighbors[i]!]!;
      if (other < 0) continue;
      const weight = Math.exp((similarities[i]! - similarities[row * k]!) / TEMPERATURE);
      votes.set(other, (votes.get(other) ?? 0) + weight);
      sum += weight;
    }
    if (own < 0 || sum === 0) return null;
    const ownVotes = votes.get(own)!;
    votes.delete(own);
    return (Math.max(0, ...votes.values()) - ownVotes) / sum;
  });
}
