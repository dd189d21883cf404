/** Nearest neighbours found among images of the same cells, for sets too large to compare all images with all. */
import type { Device } from "../../engine/index.js";
import { similaritiesOn } from "../evaluation/device-similarities.js";
import { type FeatureRows, selectRows } from "../math/feature-rows.js";
import { nearestRows, type NeighborRows } from "../math/nearest-rows.js";
import { rng } from "../math/random.js";
import { neighborsOf } from "./neighbors.js";

/** Cells of an image, those of the nearest centers: more find more of the neighbours, in quadratically more time. */
const CELLS = 4;
/** Images of a cell that are compared with each other; cells of more, as of many copies of one image, are cut. */
const MOST_MEMBERS = 4000;
/** Images whose neighbours are found exactly to tell how many were missed. */
const CHECKED = 256;

export interface ApproximateOptions {
  readonly device: Device;
  /** Rows of length one. */
  readonly features: FeatureRows;
  readonly k: number;
  readonly seed: number;
  /** Images per center, each of which makes a cell; default 200. */
  readonly perCenter?: number;
  /** Called with the number of comparisons done. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Neighbours of which some may be missed. */
export interface ApproximateNeighbors extends NeighborRows {
  /** Share of the exact neighbours that were found, 0 to 1, by a sample of the images. */
  readonly recall: number;
}

/**
 * Finds `k` near others of each image: the nearest in its cells, which randomly drawn images are the centers of. The same
 * features and seed give the same neighbours. Needs more than k images.
 */
export async function approximateNeighbors(options: ApproximateOptions): Promise<ApproximateNeighbors> {
  const { device, features, k, seed, perCenter = 200, onProgress } = options;
  const { rows } = features;
  const random = rng({ seed, purpose: "cells" });
  const centers = random.permutation(rows).slice(0, Math.ceil(rows / perCenter));
  const cells = await cellsOf(device, features, centers);
  const best = bestOf(rows, k);
  const total = cells.reduce((sum, { length }) => sum + length ** 2, 0);
  let done = 0;
  for (const members of cells) {
    const inside = selectRows(features, members);
    using onDevice = similaritiesOn(device, inside);
    best.take(members, members, await neighborsOf({ features: inside, nearest: onDevice.nearest, k }));
    onProgress?.((done += members.length ** 2), total);
  }
  using all = similaritiesOn(device, features);
  const exactly = (of: Int32Array) => neighborsOf({ features, nearest: all.nearest, k, of });
  const every = Int32Array.from({ length: rows }, (_, row) => row);
  const checked = random.permutation(rows).slice(0, CHECKED);
  const exact = await exactly(checked);
  const recall = best.recall(checked, exact);
  best.take(checked, every, exact);
  const short = every.filter((row) => best.rows[(row + 1) * k - 1] === NONE);
  if (short.length > 0) best.take(short, every, await exactly(short));
  return { k, rows: best.rows, similarities: best.similarities, recall };
}

/** Lists the images of each cell, or of its parts, in ascending order. */
async function cellsOf(device: Device, features: FeatureRows, centers: Int32Array): Promise<readonly Int32Array[]> {
  const cells = Array.from(centers, (): number[] => []);
  using onDevice = similaritiesOn(device, selectRows(features, centers));
  for await (const { row, nearest } of nearestRows(features, Math.min(CELLS, centers.length), onDevice.nearest))
    for (const cell of nearest) cells[cell]!.push(row);
  return cells.flatMap((members) => {
    const parts = Array.from({ length: Math.ceil(members.length / MOST_MEMBERS) }, (_, i) => i * MOST_MEMBERS);
    const cut = parts.map((start) => Int32Array.from(members.slice(start, start + MOST_MEMBERS)));
    return cut.filter(({ length }) => length > 1);
  });
}

/** A place for which no neighbour was found yet. */
const NONE = -1;

/** Collects the `k` nearest of those found for each of `count` images. */
function bestOf(count: number, k: number) {
  const rows = new Int32Array(count * k).fill(NONE);
  const similarities = new Float32Array(count * k).fill(-Infinity);

  const put = (row: number, other: number, similarity: number): void => {
    const first = row * k;
    const isBefore = (at: number) =>
      similarities[at]! > similarity || (similarities[at] === similarity && rows[at]! <= other);
    let at = first + k - 1;
    if (rows[at] !== NONE && isBefore(at)) return;
    if (rows.subarray(first, first + k).includes(other)) return;
    for (; at > first && !isBefore(at - 1); at--) {
      rows[at] = rows[at - 1]!;
      similarities[at] = similarities[at - 1]!;
    }
    rows[at] = other;
    similarities[at] = similarity;
  };

  return {
    rows,
    similarities,
    /** Takes what was found for `of`, as places in `among`. */
    take(of: Int32Array, among: Int32Array, found: NeighborRows): void {
      for (let i = 0; i < found.rows.length; i++) {
        put(of[Math.floor(i / found.k)]!, among[found.rows[i]!]!, found.similarities[i]!);
      }
    },
    /** Returns the share of neighbours that it has. */
    recall(of: Int32Array, exact: NeighborRows): number {
      const isKnown = (other: number, i: number) => {
        const row = of[Math.floor(i / k)]!;
        return rows.subarray(row * k, (row + 1) * k).includes(other);
      };
      return exact.rows.filter(isKnown).length / exact.rows.length;
    },
  };
}
