/**
 * Metrics of DAVIS for masks (Perazzi et al. 2016, section 5; Pont-Tuset et al. 2017,
 * https://arxiv.org/abs/1704.00675): region similarity J and boundary measure F, and their statistics over a sequence.
 * https://github.com/davisvideochallenge/davis2017-evaluation
 */
import type { Size } from "../images/pixels.js";

/** The mask of one object: 1 inside, 0 outside, [rows * cols]. */
export interface ObjectMask extends Size {
  readonly pixels: Uint8Array;
}

/** Computes J: intersection over union, 0 to 1; 1 if both masks are empty. */
export function regionSimilarity(annotation: ObjectMask, mask: ObjectMask): number {
  checkSizes("regionSimilarity", annotation, mask);
  let intersection = 0;
  let union = 0;
  for (const [i, pixel] of annotation.pixels.entries()) {
    intersection += pixel & mask.pixels[i]!;
    union += pixel | mask.pixels[i]!;
  }
  return union === 0 ? 1 : intersection / union;
}

/** Tolerance of boundaries as a share of the image's diagonal, rounded up to whole pixels. */
const TOLERANCE = 0.008;

/**
 * Computes F: the harmonic mean of boundary precision (the share of the mask's boundary near the annotation's) and
 * boundary recall (the reverse), 0 to 1; 1 if neither has a boundary.
 */
export function boundaryMeasure(annotation: ObjectMask, mask: ObjectMask): number {
  checkSizes("boundaryMeasure", annotation, mask);
  const radius = Math.ceil(TOLERANCE * Math.hypot(annotation.rows, annotation.cols));
  const wanted = boundary(annotation);
  const found = boundary(mask);
  const [wantedCount, foundCount] = [count(wanted.pixels), count(found.pixels)];
  if (wantedCount === 0 && foundCount === 0) return 1;
  if (wantedCount === 0 || foundCount === 0) return 0; // precision or recall is 0
  const precision = overlap(found, dilate(wanted, radius)) / foundCount;
  const recall = overlap(wanted, dilate(found, radius)) / wantedCount;
  return precision + recall === 0 ? 0 : (2 * precision * recall) / (precision + recall);
}

/** Marks pixels that differ from an existing neighbour to the right, below, or diagonally below right. */
function boundary({ rows, cols, pixels }: ObjectMask): ObjectMask {
  const out = new Uint8Array(rows * cols);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < cols; x++) {
      const at = y * cols + x;
      const own = pixels[at]!;
      const [hasRight, hasBelow] = [x + 1 < cols, y + 1 < rows];
      const differs =
        (hasRight && pixels[at + 1] !== own) ||
        (hasBelow && pixels[at + cols] !== own) ||
        (hasRight && hasBelow && pixels[at + cols + 1] !== own);
      if (differs) out[at] = 1;
    }
  }
  return { rows, cols, pixels: out };
}

/** Dilates a mask by a disc. */
function dilate({ rows, cols, pixels }: ObjectMask, radius: number): ObjectMask {
  const out = new Uint8Array(rows * cols);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < cols; x++) {
      if (pixels[y * cols + x] === 0) continue;
      for (let v = Math.max(0, y - radius); v <= Math.min(rows - 1, y + radius); v++) {
        const reach = Math.floor(Math.sqrt(radius ** 2 - (v - y) ** 2));
        out.fill(1, v * cols + Math.max(0, x - reach), v * cols + Math.min(cols - 1, x + reach) + 1);
      }
    }
  }
  return { rows, cols, pixels: out };
}

function count(pixels: Uint8Array): number {
  return pixels.reduce((sum, pixel) => sum + pixel, 0);
}

function overlap(a: ObjectMask, b: ObjectMask): number {
  return a.pixels.reduce((sum, pixel, i) => sum + (pixel & b.pixels[i]!), 0);
}

/** Statistics of a measure over the frames of a sequence. */
export interface Statistics {
  readonly mean: number;
  /** Share of frames above 0.5. */
  readonly recall: number;
  /** Mean of the first quarter of the frames minus that of the last. */
  readonly decay: number;
}

/** Computes the statistics of one object's measure from one value per frame. Throws without values. */
export function statisticsOf(values: readonly number[]): Statistics {
  if (values.length === 0) throw new Error("statisticsOf: expected at least one frame, got none");
  // Four bins that share their ends: from the first value to the last in even steps, halves rounded up.
  const ends = [0, 1, 2, 3, 4].map((i) => Math.round(((values.length - 1) * i) / 4 + 1e-10));
  const bin = (i: number): readonly number[] => values.slice(ends[i], ends[i + 1]! + 1);
  return {
    mean: meanOf(values),
    recall: meanOf(values.map((value) => (value > 0.5 ? 1 : 0))),
    decay: meanOf(bin(0)) - meanOf(bin(3)),
  };
}

/** Averages statistics component-wise. Throws without any. */
export function meanStatistics(all: readonly Statistics[]): Statistics {
  if (all.length === 0) throw new Error("meanStatistics: expected statistics, got none");
  const mean = (name: keyof Statistics): number => meanOf(all.map((each) => each[name]));
  return { mean: mean("mean"), recall: mean("recall"), decay: mean("decay") };
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function checkSizes(who: string, a: ObjectMask, b: ObjectMask): void {
  if (a.rows !== b.rows || a.cols !== b.cols) {
    throw new Error(`${who}: expected masks of one size, got [${a.rows}, ${a.cols}] and [${b.rows}, ${b.cols}]`);
  }
}
