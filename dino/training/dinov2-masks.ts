/** Masks of the global crops as inputs of DINOv2's step. */
import { type Device, input, type Input } from "../../engine/index.js";
import type { Shard } from "../batches/batch-shard.js";
import { batchMasks, type BatchMaskOptions, maskedPatches, masksOfShard } from "../batches/block-masks.js";
import type { Size } from "../images/pixels.js";
import { patchGrid } from "../model/positions.js";
import type { VitConfig } from "../model/vit-config.js";

/** Masks of the global crops of one part of the batch. */
export interface PartMasks extends Disposable {
  /** [crops, patches], 1 for masked patches. */
  readonly mask: Input;
  /** All tokens of the crops, those of masked patches first; `count` is the largest number of them. */
  readonly wanted: { readonly order: Input; readonly count: number };
  /** 1 / (masked patches of the crop): [count], 0 behind the masked patches. */
  readonly weights: Input;
  /** 1 / (masked patches of the whole batch on all devices): [count], 0 behind the masked patches. */
  readonly shares: Input;
  /** Patches of a crop, and tokens before them. */
  readonly patches: number;
  readonly before: number;
}

/** Creates the masks of a part of `crops` global crops, at most `mostMasked` patches of which are masked. */
export function partMasks(
  device: Device,
  vit: VitConfig,
  { crops, globalSize, mostMasked }: { readonly crops: number; readonly globalSize: Size; readonly mostMasked: number },
): PartMasks {
  const { rows, cols } = patchGrid(vit, globalSize.rows, globalSize.cols);
  const patches = rows * cols;
  const before = 1 + (vit.registers ?? 0);
  const mask = input(device, [crops, patches], { label: "masks" });
  const order = input(device, [crops * (before + patches)], { dtype: "u32", label: "masked patches" });
  const weights = input(device, [mostMasked], { label: "weights of masked patches" });
  const shares = input(device, [mostMasked], { label: "shares of masked patches" });
  return {
    ...{ mask, weights, shares, patches, before },
    wanted: { order, count: mostMasked },
    [Symbol.dispose]() {
      for (const x of [mask, order, weights, shares]) x[Symbol.dispose]();
    },
  };
}

/** Draws the masks of a step for the whole batch, and writes those of a device's images. */
export function drawMasks(
  parts: readonly PartMasks[],
  options: BatchMaskOptions,
  { seed, step, shard }: { readonly seed: number; readonly step: number; readonly shard: Shard },
): void {
  const masks = batchMasks(options, { seed, step });
  const own = masksOfShard(masks, { images: options.images, parts: parts.length, shard });
  writeMasks(parts, own, countOf(masks));
}

/**
 * Writes the masks of all parts: [crops of all parts, patches], 1 for masked patches, in the layout of the global crops. `total` is the
 * number of masked patches on all devices, by default those of these masks. Throws if more patches are masked than a part holds.
 */
export function writeMasks(parts: readonly PartMasks[], masks: Uint8Array, total = countOf(masks)): void {
  const each = masks.length / parts.length;
  for (const [i, part] of parts.entries()) writePart(part, masks.subarray(i * each, (i + 1) * each), total);
}

function writePart({ mask, wanted, weights, shares, patches, before }: PartMasks, masks: Uint8Array, total: number) {
  const { indices, weights: found } = maskedPatches(masks, patches);
  const { count } = wanted;
  if (indices.length > count)
    throw new Error(`writeMasks: ${indices.length} patches are masked; the step was recorded for at most ${count}`);
  mask.write(Float32Array.from(masks, (masked) => (masked === 0 ? 0 : 1)));
  wanted.order.write(tokenOrder(indices, masks.length / patches, { patches, before }));
  weights.write(Float32Array.from({ length: count }, (_, i) => found[i] ?? 0));
  shares.write(Float32Array.from({ length: count }, (_, i) => (i < indices.length ? 1 / total : 0)));
}

/** Returns a permutation of the tokens of crops: those of the patches at `indices`, then all others. */
function tokenOrder(
  indices: Int32Array,
  crops: number,
  { patches, before }: Pick<PartMasks, "patches" | "before">,
): Uint32Array {
  const tokens = before + patches;
  const first = Array.from(indices, (index) => Math.floor(index / patches) * tokens + before + (index % patches));
  const isFirst = new Uint8Array(crops * tokens);
  for (const token of first) isFirst[token] = 1;
  const others = [...isFirst.keys()].filter((token) => isFirst[token] === 0);
  return Uint32Array.from([...first, ...others]);
}

function countOf(masks: Uint8Array): number {
  return masks.reduce((sum, masked) => sum + (masked === 0 ? 0 : 1), 0);
}
