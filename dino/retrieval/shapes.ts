/** Input sizes of images that keep their aspect ratio, and grouping of images of equal size. */
import { type DecodeFailure, isFailure } from "../images/image-location.js";
import type { ImageSet } from "../images/image-set.js";
import { type Box, type Size, sizeWithin } from "../images/pixels.js";
import { measureImage } from "../images/sources/folder-images.js";

export interface ShapeOptions {
  /** Maximum of the longer side in pixels; larger images are shrunk. */
  readonly side: number;
  /** Scales of each image, each 1 or less. */
  readonly scales: readonly number[];
  /** Crop of each image, clipped to the image; default: the whole image. */
  readonly boxes?: readonly Box[];
}

/** A crop of an image and its size after resizing. */
export interface ResizedBox {
  readonly box: Box;
  /** Size of the box at a scale of 1. */
  readonly size: Size;
}

/** Images with the same whole patches at every scale. */
export interface ShapeGroup {
  /** Size of the whole patches at each scale, in pixels. */
  readonly sizes: readonly Size[];
  readonly indices: readonly number[];
}

export interface Shapes {
  readonly groups: readonly ShapeGroup[];
  /** Crops by image; images that cannot be read have none. */
  readonly boxes: ReadonlyMap<number, ResizedBox>;
  readonly failures: readonly DecodeFailure[];
}

/** Images measured concurrently. */
const AT_ONCE = 64;

/**
 * Measures and groups all images of a set. Sides that hold no patch at the smallest scale are enlarged to one. Throws
 * if no side can hold one, for a box outside of its image, and if no image can be read.
 */
export async function groupByShape(images: ImageSet, patch: number, options: ShapeOptions): Promise<Shapes> {
  const { side, scales, boxes } = options;
  const smallest = Math.min(...scales);
  const least = Math.ceil(patch / smallest);
  if (side < least) {
    const where = smallest < 1 ? ` at a scale of ${smallest}` : "";
    throw new Error(`an image size of ${side} holds no patch of ${patch}${where}; expected ${least} or more`);
  }
  const groups = new Map<string, { readonly sizes: readonly Size[]; readonly indices: number[] }>();
  const resized = new Map<number, ResizedBox>();
  const failures: DecodeFailure[] = [];
  for (let from = 0; from < images.count; from += AT_ONCE) {
    const some = Array.from({ length: Math.min(AT_ONCE, images.count - from) }, (_, i) => from + i);
    const measured = await Promise.all(some.map((index) => measureImage(images, index)));
    for (const [i, whole] of measured.entries()) {
      const index = from + i;
      if (isFailure(whole)) {
        images.fail(index, whole);
        failures.push(whole);
        continue;
      }
      const box = boxes ? overlap(boxes[index]!, whole, images.name(index)) : boxOf(whole);
      const { rows, cols } = sizeWithin({ rows: box.height, cols: box.width }, side);
      const size = { rows: Math.max(least, rows), cols: Math.max(least, cols) };
      resized.set(index, { box, size });
      const sizes = scales.map((scale) => wholePatches(scaled(size, scale), patch));
      const key = JSON.stringify(sizes);
      const group = groups.get(key) ?? { sizes, indices: [] };
      group.indices.push(index);
      groups.set(key, group);
    }
  }
  return { groups: [...groups.values()], boxes: resized, failures };
}

/** Returns the size of an image at a scale. */
export function scaled({ rows, cols }: Size, scale: number): Size {
  return { rows: Math.floor(rows * scale), cols: Math.floor(cols * scale) };
}

function wholePatches({ rows, cols }: Size, patch: number): Size {
  return { rows: Math.floor(rows / patch) * patch, cols: Math.floor(cols / patch) * patch };
}

function boxOf({ rows, cols }: Size): Box {
  return { top: 0, left: 0, height: rows, width: cols };
}

/** Clips a box to an image. */
function overlap(box: Box, { rows, cols }: Size, name: string): Box {
  const [top, left] = [Math.max(0, box.top), Math.max(0, box.left)];
  const height = Math.min(rows, box.top + box.height) - top;
  const width = Math.min(cols, box.left + box.width) - left;
  if (!(height > 0 && width > 0)) {
    const { top: y0, left: x0, height: boxRows, width: boxCols } = box;
    throw new Error(
      `${name}: expected a box within ${cols} x ${rows} pixels, got left ${x0}, top ${y0}, width ${boxCols}, height ${boxRows}`,
    );
  }
  return { top, left, height, width };
}
