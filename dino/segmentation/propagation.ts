/**
 * Label propagation: carries the labels of a video's first frame to the others by the similarity of patch features, as
 * in the official eval_video_segmentation.py (after Jabri et al. 2020, https://arxiv.org/abs/2006.14613).
 */
import { type Device, type Input, input, matmul, type Program, record, slice } from "../../engine/index.js";
import type { Size } from "../images/pixels.js";

/** The context of a patch in earlier frames. */
export interface PropagationOptions {
  /** Number of preceding frames in the context, besides the first frame: n_last_frames. */
  readonly lastFrames: number;
  /** Number of most similar patches whose labels are averaged, including ties with the last: topk. */
  readonly topk: number;
  /** Radius of the context in patches, vertically and horizontally; 0 for the whole frame: size_mask_neighborhood. */
  readonly radius: number;
}

/** The official defaults. */
export const usualPropagation: PropagationOptions = { lastFrames: 7, topk: 5, radius: 12 };

/** A label has the weight exp(similarity / temperature). */
const TEMPERATURE = 0.1;

/** A frame with labels. */
export interface LabelledFrame {
  /** Features of unit length: [patches, dim]. */
  readonly features: Float32Array;
  /** Class weights of each patch: [patches, classes]. */
  readonly labels: Float32Array;
}

/** Propagates labels through videos of one size. Dispose of it to free its memory. */
export interface Propagator extends Disposable {
  /** Starts a video with its labelled frame. */
  begin(first: LabelledFrame): void;
  /**
   * Returns the labels of the next frame: features [patches, dim] of unit length -> [patches, classes]. Throws before
   * `begin`.
   */
  next(features: Float32Array): Promise<Float32Array>;
}

export interface PropagatorOptions extends PropagationOptions {
  /** Patches of a frame. */
  readonly grid: Size;
  readonly dim: number;
  /** Limit on the memory of similarities, which determines the rows of patches per band; default 64 MiB. */
  readonly bytes?: number;
}

/** Prepares a device for frames of one size. */
export function openPropagator(device: Device, options: PropagatorOptions): Propagator {
  const { grid, dim, lastFrames, topk, radius, bytes = 64 * 2 ** 20 } = options;
  const patches = grid.rows * grid.cols;
  const frame = (label: string): Input => input(device, [patches, dim], { label });
  const target = frame("features of the next frame");
  /** The first frame, followed by a ring buffer of the preceding frames. */
  const context = Array.from({ length: 1 + lastFrames }, (_, i) => ({ features: frame(`features of frame ${i}`) }));
  const bands = bandsOf(grid, { radius, frames: context.length, bytes });
  const programs: Program<`${number}`>[] = []; // one per band, recorded on first use
  let labels: Float32Array[] = [];
  let frameCount = 0;

  const remember = (slot: number, known: LabelledFrame): void => {
    context[slot]!.features.write(known.features);
    labels[slot] = known.labels;
  };

  /** Records the products of a band's patches with those around them in each frame: [queries, keys]. */
  const recordBand = (band: Band): Promise<Program<`${number}`>> =>
    record(device, () => {
      const queries = slice(target, 0, band.top * grid.cols, band.rows * grid.cols);
      const products = context.map(({ features }, i) => {
        const keys = slice(features, 0, band.keyTop * grid.cols, band.keyRows * grid.cols);
        return [`${i}`, matmul(queries, keys, { b: true })] as const;
      });
      return Object.fromEntries(products);
    });

  return {
    begin(first) {
      labels = [];
      frameCount = 1;
      remember(0, first);
    },
    async next(features) {
      if (frameCount === 0) throw new Error("propagator: expected begin() before next()");
      for (const band of bands.slice(programs.length)) programs.push(await recordBand(band));
      target.write(features);
      const classes = labels[0]!.length / patches;
      const found = new Float32Array(patches * classes);
      for (const [b, band] of bands.entries()) {
        const program = programs[b]!;
        await program.run();
        const similarities: Float32Array[] = [];
        for (let i = 0; i < labels.length; i++) similarities.push(await program.read(`${i}`));
        propagateBand({ band, grid, radius, topk, classes, similarities, labels }, found);
      }
      if (lastFrames > 0) remember(1 + ((frameCount - 1) % lastFrames), { features, labels: found });
      frameCount++;
      return found;
    },
    [Symbol.dispose]() {
      for (const program of programs) program[Symbol.dispose]();
      for (const { features } of context) features[Symbol.dispose]();
      target[Symbol.dispose]();
    },
  };
}

/** Rows of patches, and all rows within their radius. */
export interface Band {
  readonly top: number;
  readonly rows: number;
  readonly keyTop: number;
  readonly keyRows: number;
}

/** Splits a grid into bands whose similarities with all frames take at most `bytes`, or into single rows. */
export function bandsOf(
  { rows, cols }: Size,
  { radius, frames, bytes }: { readonly radius: number; readonly frames: number; readonly bytes: number },
): readonly Band[] {
  const reach = radius === 0 ? rows : radius;
  const take = (height: number): number => 4 * frames * height * cols * Math.min(rows, height + 2 * reach) * cols;
  let height = 1;
  while (height < rows && take(height + 1) <= bytes) height++;
  return Array.from({ length: Math.ceil(rows / height) }, (_, i) => {
    const top = i * height;
    const end = Math.min(rows, top + height);
    const keyTop = Math.max(0, top - reach);
    return { top, rows: end - top, keyTop, keyRows: Math.min(rows, end + reach) - keyTop };
  });
}

export interface BandOptions {
  readonly band: Band;
  readonly grid: Size;
  readonly radius: number;
  readonly topk: number;
  readonly classes: number;
  /** Cosines between the band's patches and those around them in each frame, [queries, keys]. */
  readonly similarities: readonly Float32Array[];
  /** Labels of each frame, [patches, classes]. */
  readonly labels: readonly Float32Array[];
}

/**
 * Writes the mean label of each patch's most similar ones, weighted by exp(similarity / 0.1), to `out` [patches,
 * classes].
 */
function propagateBand(options: BandOptions, out: Float32Array): void {
  const { band, grid, radius, topk, classes, similarities, labels } = options;
  const { rows, cols } = grid;
  const keys = band.keyRows * cols;
  const reach = radius === 0 ? Math.max(rows, cols) : radius;
  const best = new Float32Array(topk);
  for (let q = 0; q < band.rows * cols; q++) {
    const [y, x] = [band.top + Math.floor(q / cols), q % cols];
    const [top, bottom] = [Math.max(0, y - reach), Math.min(rows - 1, y + reach)];
    const [left, right] = [Math.max(0, x - reach), Math.min(cols - 1, x + reach)];

    best.fill(-Infinity); // in descending order
    for (const row of similarities) {
      for (let v = top; v <= bottom; v++) {
        const from = q * keys + (v - band.keyTop) * cols;
        for (let u = left; u <= right; u++) insert(best, row[from + u]!);
      }
    }

    const least = best[topk - 1]!;
    const at = (y * cols + x) * classes;
    let mass = 0;
    for (const [f, row] of similarities.entries()) {
      const label = labels[f]!;
      for (let v = top; v <= bottom; v++) {
        const from = q * keys + (v - band.keyTop) * cols;
        for (let u = left; u <= right; u++) {
          const similarity = row[from + u]!;
          if (similarity < least) continue;
          const weight = Math.exp((similarity - best[0]!) / TEMPERATURE);
          mass += weight;
          for (let c = 0; c < classes; c++) out[at + c]! += weight * label[(v * cols + u) * classes + c]!;
        }
      }
    }
    for (let c = 0; c < classes; c++) out[at + c]! /= mass;
  }
}

/** Inserts a value into the largest values, in descending order, and drops the smallest. */
function insert(largest: Float32Array, value: number): void {
  let at = largest.length - 1;
  if (value <= largest[at]!) return;
  for (; at > 0 && largest[at - 1]! < value; at--) largest[at] = largest[at - 1]!;
  largest[at] = value;
}

/** Encodes labels one-hot: [patches] -> [patches, classes]. */
export function oneHot(labels: Uint8Array, classes: number): Float32Array {
  const out = new Float32Array(labels.length * classes);
  for (const [i, label] of labels.entries()) out[i * classes + label] = 1;
  return out;
}

/**
 * Computes the label of every pixel: [patches, classes] -> [rows * factor, cols * factor]. Each class is enlarged
 * bilinearly and scaled to 0 to 1 over the frame, to 1 if constant and positive; the largest wins, ties go to the first
 * class.
 */
export function labelPixels(labels: Float32Array, grid: Size, factor: number): Uint8Array {
  const { rows, cols } = grid;
  const classes = labels.length / (rows * cols);
  const [height, width] = [rows * factor, cols * factor];
  const winner = new Uint8Array(height * width);
  const most = new Float32Array(height * width).fill(-Infinity);
  const down = neighbours(rows, factor);
  const across = neighbours(cols, factor);
  const map = new Float32Array(height * width);
  for (let c = 0; c < classes; c++) {
    let [low, high] = [Infinity, -Infinity];
    for (let y = 0; y < height; y++) {
      const { first: y0, second: y1, share: below } = down[y]!;
      for (let x = 0; x < width; x++) {
        const { first: x0, second: x1, share: right } = across[x]!;
        const value = (row: number, col: number): number => labels[(row * cols + col) * classes + c]!;
        const upper = value(y0, x0) * (1 - right) + value(y0, x1) * right;
        const lower = value(y1, x0) * (1 - right) + value(y1, x1) * right;
        const mixed = upper * (1 - below) + lower * below;
        map[y * width + x] = mixed;
        low = Math.min(low, mixed);
        high = Math.max(high, mixed);
      }
    }
    const stretch = (value: number): number => (high > low ? (value - low) / (high - low) : Math.sign(value));
    for (const [i, value] of map.entries()) {
      const stretched = stretch(value);
      if (stretched > most[i]!) [most[i], winner[i]] = [stretched, c];
    }
  }
  return winner;
}

/**
 * Returns the two neighbours of every enlarged position and the weight of the second; pixel centers are aligned, not
 * corners.
 */
function neighbours(length: number, factor: number) {
  return Array.from({ length: length * factor }, (_, i) => {
    const position = Math.max(0, (i + 0.5) / factor - 0.5);
    const first = Math.min(Math.floor(position), length - 1);
    return { first, second: Math.min(first + 1, length - 1), share: position - first };
  });
}
