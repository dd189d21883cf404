/** What features say about images, for the colours of the map: groups, and how far images are from all others. */
import { groupsOfNeighbors, NOISE } from "../exploration/density-groups.js";
import { describeGroups, groupNames } from "../exploration/groups.js";
import { scoresOfNeighbors } from "../exploration/outliers.js";
import type { FeatureRows } from "../math/feature-rows.js";
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
}

/**
 * Returns the groups of dense images, if there are any, and the mean distance of each image from its neighbours: as `dino cluster` and
 * `dino outliers` find them, among the neighbours that the map was made of.
 */
export function featureColumns({ features, table, files }: FeatureColumnsOptions): readonly Column[] {
  const { rows, count: k, neighbors, distances } = table;
  const nearest = { k, rows: neighbors, similarities: distances.map((distance) => 1 - distance ** 2 / 2) };
  const scores = Array.from(scoresOfNeighbors(nearest, rows), (score) => Number(score.toFixed(4)));
  const strange: Column = { kind: "numbers", name: "distance from neighbours", numbers: scores };
  const grouping = describeGroups(features, groupsOfNeighbors(nearest, rows, Math.min(LEAST_GROUP, k)));
  if (grouping.groups.length < 2) return [strange];
  const codes = new Array<number>(rows).fill(NOISE);
  for (const [group, { rows: members }] of grouping.groups.entries()) for (const row of members) codes[row] = group;
  return [{ kind: "names", name: "group", names: groupNames(grouping, files), codes }, strange];
}
