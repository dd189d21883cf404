/** Masks of patches for masked image modelling: blocks at random places, as DINOv2 draws them. */
import type { GridSize } from "../../engine/index.js";
import { rng } from "../math/random.js";
import { type Shard, shardPositions } from "./batch-shard.js";
import { cropPosition, GLOBAL_CROPS } from "./crop-layout.js";

/** Limits of the blocks of a mask. */
export interface BlockOptions extends GridSize {
  /** Least area of a block in patches, unless fewer are left to mask; 4 in DINOv2. */
  readonly minPatches: number;
  /** Greatest area of a block; see `halfOfPatches`. */
  readonly maxPatches: number;
  /** Least ratio of height to width, below 1; its inverse is the greatest. 0.3 in DINOv2. */
  readonly minAspect: number;
}

/** Random numbers of a mask. */
export interface MaskDraws {
  uniformIn(low: number, high: number): number;
  /** An integer from 0 to n - 1. */
  integer(n: number): number;
}

/** Places tried for each block. */
const TRIES = 10;

/**
 * Draws a mask of `count` patches, a few less where no block fits any more: [rows * cols], 1 for masked patches. Blocks are added one
 * after another: BEiT, algorithm 1 (https://arxiv.org/abs/2106.08254), as the official code of DINOv2 varies it.
 */
export function blockMask(options: BlockOptions, count: number, draws: MaskDraws): Uint8Array<ArrayBuffer> {
  const mask = new Uint8Array(options.rows * options.cols);
  let left = count;
  while (left > 0) {
    const added = addBlock(mask, options, Math.min(left, options.maxPatches), draws);
    if (added === 0) break;
    left -= added;
  }
  return mask;
}

/** Masks one more block that covers at most `most` new patches; returns their number, 0 if no try fits. */
function addBlock(
  mask: Uint8Array,
  { rows, cols, minPatches, minAspect }: BlockOptions,
  most: number,
  draws: MaskDraws,
): number {
  const logAspect = Math.log(minAspect);
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const area = draws.uniformIn(minPatches, most);
    const aspect = Math.exp(draws.uniformIn(logAspect, -logAspect));
    const height = Math.round(Math.sqrt(area * aspect));
    const width = Math.round(Math.sqrt(area / aspect));
    if (height >= rows || width >= cols) continue;
    const top = draws.integer(rows - height + 1);
    const left = draws.integer(cols - width + 1);
    const lines = Array.from({ length: height }, (_, i) => {
      const first = (top + i) * cols + left;
      return mask.subarray(first, first + width);
    });
    const added = lines.reduce((sum, line) => sum + line.filter((masked) => masked === 0).length, 0);
    if (added === 0 || added > most) continue;
    for (const line of lines) line.fill(1);
    return added;
  }
  return 0;
}

/** Returns the greatest area of a block in DINOv2: half of the patches of a crop, rounded down by rows, then by columns. */
export function halfOfPatches(imageRows: number, imageCols: number, patch: number): number {
  return Math.floor((Math.floor((0.5 * imageRows) / patch) * imageCols) / patch);
}

/** Masks of the global crops of a batch. */
export interface BatchMaskOptions extends BlockOptions {
  /** Images of a step, on all devices. */
  readonly images: number;
  /** Share of the global crops that get a mask; 0.5 in DINOv2. */
  readonly probability: number;
  /** Least and greatest share of masked patches in those; 0.1 and 0.5 in DINOv2. */
  readonly ratios: readonly [number, number];
}

/** Returns the number of global crops of a step that have masked patches. */
export function maskedCrops({ images, probability }: Pick<BatchMaskOptions, "images" | "probability">): number {
  return Math.floor(GLOBAL_CROPS * images * probability);
}

/**
 * Returns the ends of the bins of shares, one bin for each crop with a mask: [bins + 1], evenly spaced in f32 as by torch.linspace.
 */
function binEnds({ ratios: [low, high], ...crops }: BatchMaskOptions): Float32Array {
  const bins = maskedCrops(crops);
  const [start, end] = [Math.fround(low), Math.fround(high)];
  const step = Math.fround(Math.fround(end - start) / bins);
  return Float32Array.from({ length: bins + 1 }, (_, i) =>
    i < (bins + 1) / 2 ? start + Math.fround(step * i) : end - Math.fround(step * (bins - i)),
  );
}

/** Returns the number of patches that a share of them is, rounded down in f32. */
function patchesIn({ rows, cols }: GridSize, share: number): number {
  return Math.floor(Math.fround(rows * cols * share));
}

/**
 * Returns an upper bound of the number of masked patches in the global crops of some images of a batch, by default all: the size
 * of the tensors that hold them.
 */
export function mostMasked(options: BatchMaskOptions, images = options.images): number {
  const most = [...binEnds(options).slice(1)].map((end) => patchesIn(options, end)); // ascending
  return most.slice(-GLOBAL_CROPS * images).reduce((sum, count) => sum + count, 0);
}

/**
 * Draws the masks of all global crops of a step: [2 * images, rows * cols], crop-major, 1 for masked patches. A pure function of
 * seed and step. The shares of masked patches are spread evenly over the batch: each bin gives one crop its mask.
 */
export function batchMasks(
  options: BatchMaskOptions,
  { seed, step }: { readonly seed: number; readonly step: number },
): Uint8Array<ArrayBuffer> {
  const patches = options.rows * options.cols;
  const crops = GLOBAL_CROPS * options.images;
  const ends = binEnds(options);
  const masks = new Uint8Array(crops * patches);
  const chosen = rng({ seed, epoch: step, purpose: "masked crops" })
    .permutation(crops)
    .subarray(0, ends.length - 1);
  for (const [bin, crop] of chosen.entries()) {
    const random = rng({ seed, epoch: step, index: crop, purpose: "block mask" });
    const share = random.uniformIn(ends[bin]!, ends[bin + 1]!);
    masks.set(blockMask(options, patchesIn(options, share), random), crop * patches);
  }
  return masks;
}

/** Masked patches of crops. */
export interface MaskedPatches {
  /** Positions in [crops * patches], ascending. */
  readonly indices: Int32Array<ArrayBuffer>;
  /** 1 / (masked patches of the same crop), for each of them. */
  readonly weights: Float32Array<ArrayBuffer>;
}

/** Lists the masked patches of masks [crops, patches]. */
export function maskedPatches(masks: Uint8Array, patches: number): MaskedPatches {
  const indices: number[] = [];
  const weights: number[] = [];
  for (let first = 0; first < masks.length; first += patches) {
    const before = indices.length;
    for (let i = first; i < first + patches; i++) if (masks[i] !== 0) indices.push(i);
    const found = indices.length - before;
    for (let i = 0; i < found; i++) weights.push(1 / found);
  }
  return { indices: Int32Array.from(indices), weights: Float32Array.from(weights) };
}

/**
 * Returns the masks of a device's images out of those of the whole batch, crop-major: [2 * images, patches] -> [2 * share, patches],
 * in the layout of its global crops, see `cropPosition`.
 */
export function masksOfShard(
  masks: Uint8Array,
  { images, parts, shard }: { readonly images: number; readonly parts: number; readonly shard: Shard },
): Uint8Array<ArrayBuffer> {
  const patches = masks.length / (GLOBAL_CROPS * images);
  const positions = shardPositions(images, parts, shard);
  const layout = { crops: GLOBAL_CROPS, images: positions.length, parts };
  const own = new Uint8Array(GLOBAL_CROPS * positions.length * patches);
  for (let crop = 0; crop < GLOBAL_CROPS; crop++) {
    for (const [image, position] of positions.entries()) {
      const from = (crop * images + position) * patches;
      own.set(masks.subarray(from, from + patches), cropPosition(layout, crop, image) * patches);
    }
  }
  return own;
}
