/** Splitting batches between devices. */
import { imagesPerPart } from "./crop-layout.js";

/** The rank of a device among those that share every batch. */
export interface Shard {
  readonly rank: number;
  readonly size: number;
}

/** The shard of a device that has every batch to itself. */
export const WHOLE_BATCH: Shard = { rank: 0, size: 1 };

/**
 * Returns the positions in a batch of a device's images: an equal share of each part of the batch, so that all devices
 * together process the same part. Throws if the shares are not equal.
 */
export function shardPositions(images: number, parts: number, { rank, size }: Shard): readonly number[] {
  checkEqualShards(images, parts, size);
  const part = imagesPerPart(images, parts);
  const share = part / size;
  return Array.from({ length: parts * share }, (_, i) => Math.floor(i / share) * part + rank * share + (i % share));
}

/** Throws unless each device gets an equal share of each part of a batch. */
export function checkEqualShards(images: number, parts: number, size: number): void {
  if (Number.isInteger(imagesPerPart(images, parts) / size)) return;
  const each = parts === 1 ? "" : ` of each of the ${parts} parts of --accumulate`;
  throw new Error(
    `--batch ${images}: expected a multiple of ${size * parts}, so that ${size} ranks have equal shares${each}; ` +
      "it is the number of images of a step on all ranks together",
  );
}

/**
 * Selects a device's share of per-row values of a part, crop-major: [crops * images of the part] -> [crops * share].
 */
export function shardRows(rows: Float32Array, share: number, { rank, size }: Shard): Float32Array {
  return rows.filter((_, row) => Math.floor(row / share) % size === rank);
}
