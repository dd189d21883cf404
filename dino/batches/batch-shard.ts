/** Which images of a batch each of several devices takes. */
import { imagesPerPart } from "./crop-layout.js";

/** One of several devices that share every batch. */
export interface Shard {
  readonly rank: number;
  readonly size: number;
}

/**
 * Places in a batch of the images that a device takes: the same share of each of the parts that go through the network one
 * after another, so that those of all devices are the part. Throws where the shares are not equal.
 */
export function shardPositions(images: number, parts: number, { rank, size }: Shard): readonly number[] {
  checkEqualShards(images, parts, size);
  const part = imagesPerPart(images, parts);
  const share = part / size;
  return Array.from({ length: parts * share }, (_, i) => Math.floor(i / share) * part + rank * share + (i % share));
}

/** Throws where devices cannot have equal shares of each part of a batch. */
export function checkEqualShards(images: number, parts: number, size: number): void {
  if (Number.isInteger(imagesPerPart(images, parts) / size)) return;
  const each = parts === 1 ? "" : ` of each of the ${parts} parts of --accumulate`;
  throw new Error(
    `--batch ${images}: expected a multiple of ${size * parts}, so that ${size} ranks have equal shares${each}; ` +
      "it is the number of images of a step on all ranks together",
  );
}

/** Of numbers for the rows of a part, crop-major [crops * images of the part], those of a device's share: [crops * share]. */
export function shardRows(rows: Float32Array, share: number, { rank, size }: Shard): Float32Array {
  return rows.filter((_, row) => Math.floor(row / share) % size === rank);
}
