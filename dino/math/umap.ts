/**
 * UMAP: places for rows in a plane that keep neighbours close. McInnes et al. 2018, https://arxiv.org/abs/1802.03426; the
 * sections below are those of the paper.
 */
import { rng } from "./random.js";

/** The nearest neighbours of each row, the nearest first, without the row itself. */
export interface NeighborTable {
  readonly rows: number;
  /** Neighbours of a row. */
  readonly count: number;
  /** Rows of the neighbours, [rows, count]. */
  readonly neighbors: Int32Array;
  /** Their distances, [rows, count]. */
  readonly distances: Float32Array;
}

export interface UmapOptions {
  readonly table: NeighborTable;
  /** Places to start from, [rows, 2], such as two principal components. */
  readonly start: ArrayLike<number>;
  readonly seed: number;
  /** Called after every epoch. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** Edges by their source; both directions of an edge are listed. */
interface Graph {
  /** First edge of each row, [rows + 1]. */
  readonly starts: Int32Array;
  readonly targets: Int32Array;
  /** Membership strengths, above 0 and at most 1. */
  readonly weights: Float32Array;
}

/** The curve 1 / (1 + A d^(2B)) fits a minimum distance of 0.1 and a spread of 1, the defaults of the authors' program. */
const A = 1.5769434603113077;
const B = 0.8950608779109733;
/** Rows drawn to push away for every edge that pulls. */
const PUSHES = 5;
/** Maximum of a step along an axis. */
const CLIP = 4;
/** Widths of the area that the start is scaled to, by the number of rows: wider ones leave gaps between unconnected groups. */
const WIDTHS = { least: 4, most: 20, ofRows: (rows: number) => Math.sqrt(rows) / 8 };
/** Up to this number of rows, 500 epochs; more rows take 200, since each is pulled by as many others per epoch. */
const FEW_ROWS = 10_000;
/** Time between two breaths, in which signals and timers are handled. */
const BREATH_MS = 200;

/** Lays rows out in a plane: -> [rows, 2]. The same input and seed give the same places. */
export async function umap({ table, start, seed, onProgress }: UmapOptions): Promise<Float64Array> {
  const { rows } = table;
  const epochs = rows <= FEW_ROWS ? 500 : 200;
  const graph = fuzzyUnion(membershipStrengths(table), rows);
  const places = scaledStart(start, rows, seed);
  const epoch = openLayout(graph, places, { epochs, seed });
  let breathed = performance.now();
  for (let n = 0; n < epochs; n++) {
    epoch(n);
    onProgress?.(n + 1, epochs);
    if (performance.now() - breathed < BREATH_MS) continue;
    await new Promise((resolve) => setTimeout(resolve));
    breathed = performance.now();
  }
  return places;
}

/** Computes how strongly each row belongs to its neighbours' surroundings (section 3.1, algorithms 2 and 3). */
function membershipStrengths(table: NeighborTable): Graph {
  const { rows, count, neighbors, distances } = table;
  const target = Math.log2(Math.max(2, count));
  const weights = new Float32Array(rows * count);
  let mean = 0;
  for (const distance of distances) mean += distance / distances.length;
  for (let row = 0; row < rows; row++) {
    const own = distances.subarray(row * count, (row + 1) * count);
    const nearest = own.find((distance) => distance > 0) ?? 0;
    const width = Math.max(widthOf(own, nearest, target), 1e-3 * (nearest > 0 ? meanOf(own) : mean), 1e-12);
    for (let i = 0; i < count; i++) weights[row * count + i] = Math.exp(-Math.max(0, own[i]! - nearest) / width);
  }
  return { starts: Int32Array.from({ length: rows + 1 }, (_, row) => row * count), targets: neighbors, weights };
}

/** Finds the width for which the strengths add up to `target`, by binary search. */
function widthOf(distances: Float32Array, nearest: number, target: number): number {
  let [low, high, width] = [0, Infinity, 1];
  for (let i = 0; i < 64; i++) {
    let sum = 0;
    for (const distance of distances) sum += Math.exp(-Math.max(0, distance - nearest) / width);
    if (Math.abs(sum - target) < 1e-5) break;
    if (sum > target) high = width;
    else low = width;
    width = high === Infinity ? 2 * width : (low + high) / 2;
  }
  return Math.min(width, 1e6);
}

function meanOf(values: Float32Array): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum / values.length;
}

/** Joins both directions of each edge: a + b - a b (section 3.1). */
function fuzzyUnion({ starts, targets, weights }: Graph, rows: number): Graph {
  const turned = turnedAround({ starts, targets, weights }, rows);
  const most = 2 * targets.length;
  const union = { starts: new Int32Array(rows + 1), targets: new Int32Array(most), weights: new Float32Array(most) };
  const placeOf = new Int32Array(rows).fill(-1); // of each target in the row at hand
  let end = 0;
  for (let row = 0; row < rows; row++) {
    const first = end;
    for (let e = starts[row]!; e < starts[row + 1]!; e++) {
      placeOf[targets[e]!] = end;
      union.targets[end] = targets[e]!;
      union.weights[end++] = weights[e]!;
    }
    for (let e = turned.starts[row]!; e < turned.starts[row + 1]!; e++) {
      const other = turned.targets[e]!;
      const back = turned.weights[e]!;
      const at = placeOf[other]!;
      if (at >= first) union.weights[at]! += back - union.weights[at]! * back;
      else {
        union.targets[end] = other;
        union.weights[end++] = back;
      }
    }
    union.starts[row + 1] = end;
  }
  return { starts: union.starts, targets: union.targets.slice(0, end), weights: union.weights.slice(0, end) };
}

/** Turns all edges around. */
function turnedAround({ starts, targets, weights }: Graph, rows: number): Graph {
  const turned = {
    starts: new Int32Array(rows + 1),
    targets: new Int32Array(targets.length),
    weights: new Float32Array(targets.length),
  };
  for (const target of targets) turned.starts[target + 1]!++;
  for (let row = 0; row < rows; row++) turned.starts[row + 1]! += turned.starts[row]!;
  const next = turned.starts.slice();
  for (let row = 0; row < rows; row++) {
    for (let e = starts[row]!; e < starts[row + 1]!; e++) {
      const at = next[targets[e]!]!++;
      turned.targets[at] = row;
      turned.weights[at] = weights[e]!;
    }
  }
  return turned;
}

/** Scales the start to `WIDTH`, with a little noise that separates equal rows. */
function scaledStart(start: ArrayLike<number>, rows: number, seed: number): Float64Array {
  const random = rng({ seed, purpose: "map start" });
  let largest = 0;
  for (let i = 0; i < 2 * rows; i++) largest = Math.max(largest, Math.abs(start[i]!));
  const width = Math.min(WIDTHS.most, Math.max(WIDTHS.least, WIDTHS.ofRows(rows)));
  const scale = largest > 0 ? width / 2 / largest : 0;
  return Float64Array.from({ length: 2 * rows }, (_, i) => scale * start[i]! + 1e-4 * random.normal());
}

/**
 * Opens the layout by stochastic gradient descent (section 3.2, algorithm 5), and returns its epoch, from 0. An edge pulls
 * every 1 / weight epochs, and pushes other rows away.
 */
function openLayout(
  { starts, targets, weights }: Graph,
  places: Float64Array,
  { epochs, seed }: { readonly epochs: number; readonly seed: number },
): (n: number) => void {
  const rows = starts.length - 1;
  let largest = 0;
  for (const weight of weights) largest = Math.max(largest, weight);
  const period = weights.map((weight) => largest / weight);
  const next = period.slice();
  const random = smallIntegers(seed, rows);
  return (n) => {
    const rate = 1 - n / epochs;
    for (let row = 0; row < rows; row++) {
      for (let e = starts[row]!; e < starts[row + 1]!; e++) {
        if (next[e]! > n) continue;
        next[e]! += period[e]!;
        pull(places, row, targets[e]!, rate);
        for (let push = 0; push < PUSHES; push++) pushAway(places, row, random(), rate);
      }
    }
  };
}

/** Moves two rows towards each other. */
function pull(places: Float64Array, row: number, other: number, rate: number): void {
  const dx = places[2 * row]! - places[2 * other]!;
  const dy = places[2 * row + 1]! - places[2 * other + 1]!;
  const slope = pullAt(dx * dx + dy * dy);
  const moveX = rate * clip(slope * dx);
  const moveY = rate * clip(slope * dy);
  places[2 * row]! -= moveX;
  places[2 * row + 1]! -= moveY;
  places[2 * other]! += moveX;
  places[2 * other + 1]! += moveY;
}

/** Moves a row away from another. */
function pushAway(places: Float64Array, row: number, other: number, rate: number): void {
  const dx = places[2 * row]! - places[2 * other]!;
  const dy = places[2 * row + 1]! - places[2 * other + 1]!;
  const slope = pushAt(dx * dx + dy * dy);
  places[2 * row]! += rate * clip(slope * dx);
  places[2 * row + 1]! += rate * clip(slope * dy);
}

function clip(step: number): number {
  return step > CLIP ? CLIP : step < -CLIP ? -CLIP : step;
}

/** Bits of a float32 that a table leaves out. */
const DROPPED = 15;

/** Gradient of the negative log of the curve by the squared distance. */
const pullAt = tabulated((square) => (2 * A * B * square ** (B - 1)) / (A * square ** B + 1));
/** Gradient of the log of 1 - the curve by the squared distance, bounded near 0 as in the authors' program. */
const pushAt = tabulated((square) => (2 * B) / ((0.001 + square) * (A * square ** B + 1)));

/**
 * Tabulates a function of numbers above 0, which is 0 at 0: at the upper 8 bits of the mantissa, within 0.2 %. Powers take
 * ten times as long.
 */
function tabulated(value: (x: number) => number): (x: number) => number {
  const float = new Float32Array(1);
  const bits = new Uint32Array(float.buffer);
  const table = new Float32Array(2 ** (31 - DROPPED));
  for (let i = 1; i < table.length; i++) {
    bits[0] = (i << DROPPED) + (1 << (DROPPED - 1));
    table[i] = value(float[0]!);
  }
  return (x) => {
    float[0] = x;
    return table[bits[0]! >> DROPPED]!;
  };
}

/** Returns a fast generator of integers from 0 to `n` - 1: xorshift32 (Marsaglia 2003), with a seed. */
function smallIntegers(seed: number, n: number): () => number {
  const state = Uint32Array.of(rng({ seed, purpose: "map pushes" }).bits() | 1);
  return () => {
    let x = state[0]!;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    state[0] = x;
    return Math.floor((x >>> 0) * (2 ** -32 * n));
  };
}
