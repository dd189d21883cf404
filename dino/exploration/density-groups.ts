/**
 * HDBSCAN: groups of any shape where images lie dense, and noise between them.
 * Campello, Moulavi and Sander, Density-based clustering based on hierarchical density estimates (2013).
 */
import { disjointSets } from "../math/disjoint-sets.js";
import type { NeighborRows } from "../math/nearest-rows.js";
import { type ComparingOptions, distanceOf, neighborsOf } from "../retrieval/neighbors.js";
import { checkRows } from "./check-rows.js";

/** Options of `densityGroups`. */
export interface DensityOptions extends ComparingOptions {
  /** Smallest group, at least 2; sparser or smaller ones are noise. */
  readonly minSize: number;
  /** Images up to which all pairs count; default 2048. Larger sets take the graph of nearest neighbours. */
  readonly exactUpTo?: number | undefined;
}

/** The label of an image in no group. */
export const NOISE = -1;

/** Neighbours per image in the graph of a large set. */
const NEIGHBORS = 64;
/** Shortest distance that counts, so that copies have a finite density. */
const SHORTEST = 1e-6;

/**
 * Returns the group of each image, or NOISE: [rows]. Distances are Euclidean, of unit vectors; `min_samples` of the
 * paper is `minSize`, which counts the image itself.
 */
export async function densityGroups(options: DensityOptions): Promise<Int32Array> {
  const { minSize, exactUpTo = 2048, ...comparing } = options;
  const { rows } = options.features;
  checkRows("cluster", options.features);
  if (!Number.isInteger(minSize) || minSize < 2 || minSize > rows) {
    throw new Error(`cluster: expected a smallest group of 2 to ${rows} images, the number of images, got ${minSize}`);
  }
  const k = rows <= exactUpTo ? rows - 1 : Math.max(NEIGHBORS, minSize);
  return groupsOfNeighbors(await neighborsOf({ ...comparing, k }), rows, minSize);
}

/** Returns the group of each image by known neighbours, at least `minSize - 1` of each: see `densityGroups`. */
export function groupsOfNeighbors(nearest: NeighborRows, rows: number, minSize: number): Int32Array {
  return selectGroups(condense(spanningLinks(nearest, rows, minSize), rows, minSize), rows);
}

/** A merge of two nodes; nodes below `rows` are images, node rows + i is the i-th merge. */
interface Merge {
  readonly nodes: readonly [number, number];
  readonly distance: number;
  readonly size: number;
}

/**
 * Merges the images along the shortest links of mutual reachability (Kruskal); parts of the graph that no neighbour joins
 * are merged last, at the largest distance.
 */
function spanningLinks({ k, rows: others, similarities }: NeighborRows, rows: number, minSize: number): Merge[] {
  const core = Float32Array.from({ length: rows }, (_, row) => distanceOf(similarities[row * k + minSize - 2]!));
  const order = new BigUint64Array(rows * k);
  const keys = new Uint32Array(order.buffer); // low word: the place; high word: the bits of a distance, which sort alike
  const distances = new Float32Array(1);
  const bits = new Uint32Array(distances.buffer);
  const reach = (at: number): number =>
    Math.max(Math.fround(distanceOf(similarities[at]!)), core[Math.floor(at / k)]!, core[others[at]!]!);
  for (let at = 0; at < order.length; at++) {
    distances[0] = reach(at);
    keys[2 * at] = at;
    keys[2 * at + 1] = bits[0]!;
  }
  order.sort();

  const sets = disjointSets(rows);
  const nodeOf = Int32Array.from({ length: rows }, (_, row) => row); // the latest node of a set, at its smallest row
  const merges: Merge[] = [];
  const sizeOf = (node: number): number => (node < rows ? 1 : merges[node - rows]!.size);
  const join = (a: number, b: number, distance: number): void => {
    const [first, second] = [sets.find(a), sets.find(b)];
    if (first === second) return;
    const nodes = [nodeOf[first]!, nodeOf[second]!] as const;
    merges.push({ nodes, distance, size: sizeOf(nodes[0]) + sizeOf(nodes[1]) });
    sets.join(first, second);
    nodeOf[sets.find(first)] = rows + merges.length - 1;
  };
  for (let i = 0; i < order.length && merges.length < rows - 1; i++) {
    const at = keys[2 * i]!;
    join(Math.floor(at / k), others[at]!, reach(at));
  }
  for (let row = 1; row < rows; row++) join(0, row, 2);
  return merges;
}

/** A group of the condensed tree. */
interface Candidate {
  /** Its images. */
  readonly members: readonly number[];
  /** Density at which it splits from its parent. */
  readonly birth: number;
  readonly parent: number;
  /** Sum of the densities up to which each image stays, from birth on. */
  stability: number;
}

/** Condenses the merges to groups of at least `minSize` images, parents before children. */
function condense(merges: readonly Merge[], rows: number, minSize: number): readonly Candidate[] {
  const sizeOf = (node: number): number => (node < rows ? 1 : merges[node - rows]!.size);
  const candidates: Candidate[] = [{ members: [], birth: 0, parent: -1, stability: 0 }];
  const open = [{ node: rows + merges.length - 1, candidate: 0 }];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { distance, size } = merges[next.node - rows]!;
    const density = 1 / Math.max(distance, SHORTEST);
    const own = candidates[next.candidate]!;
    const large = partsOf(next.node, merges, rows).filter((node) => sizeOf(node) >= minSize);
    const [only] = large;
    if (large.length === 1) {
      own.stability += (density - own.birth) * (size - sizeOf(only!));
      open.push({ node: only!, candidate: next.candidate });
      continue;
    }
    own.stability += (density - own.birth) * size;
    for (const node of large) {
      const members = imagesBelow(node, merges, rows);
      candidates.push({ members, birth: density, parent: next.candidate, stability: 0 });
      open.push({ node, candidate: candidates.length - 1 });
    }
  }
  return candidates;
}

/** Returns the nodes that a merge joins, together with the merges below it at the same distance. */
function partsOf(top: number, merges: readonly Merge[], rows: number): readonly number[] {
  const { nodes, distance } = merges[top - rows]!;
  const parts: number[] = [];
  const open = [...nodes];
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (node >= rows && merges[node - rows]!.distance === distance) open.push(...merges[node - rows]!.nodes);
    else parts.push(node);
  }
  return parts;
}

function imagesBelow(top: number, merges: readonly Merge[], rows: number): readonly number[] {
  const images: number[] = [];
  const open = [top];
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (node < rows) images.push(node);
    else open.push(...merges[node - rows]!.nodes);
  }
  return images;
}

/** Selects the groups of largest total stability, none within another, and never the group of all images. */
function selectGroups(candidates: readonly Candidate[], rows: number): Int32Array {
  const below = new Float64Array(candidates.length);
  const isBetter = new Uint8Array(candidates.length);
  for (let i = candidates.length - 1; i > 0; i--) {
    const { stability, parent } = candidates[i]!;
    isBetter[i] = Number(stability >= below[i]!);
    below[parent]! += Math.max(stability, below[i]!);
  }
  const labels = new Int32Array(rows).fill(NOISE);
  const isInside = new Uint8Array(candidates.length);
  let groups = 0;
  for (let i = 1; i < candidates.length; i++) {
    const { members, parent } = candidates[i]!;
    isInside[i] = isInside[parent]! || isBetter[i]!;
    if (isInside[parent] || !isBetter[i]) continue;
    for (const row of members) labels[row] = groups;
    groups++;
  }
  return labels;
}
