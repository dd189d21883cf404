/** Splits of an image set: training and held-out images. */
import { firstUniform } from "../math/random.js";
import type { ImageSet } from "./image-set.js";

/** A subset of an image set. */
export interface Subset {
  readonly images: ImageSet;
  readonly indices: Int32Array;
}

/** Training and held-out split. */
export interface Splits {
  readonly train: Subset;
  /** Empty if nothing is held out. */
  readonly test: Subset;
}

/** Returns all images of a set. */
export function fullSubset(images: ImageSet): Subset {
  return { images, indices: new Int32Array(images.count).map((_, index) => index) };
}

/** Returns the first images of a subset, at most `count`. */
export function firstImages({ images, indices }: Subset, count: number): Subset {
  return { images, indices: indices.slice(0, count) };
}

/** Returns the indices of at most `most` images of a subset, evenly spaced. */
export function evenSample({ indices }: Subset, most: number): readonly number[] {
  const count = Math.min(most, indices.length);
  return Array.from({ length: count }, (_, i) => indices[Math.floor((i * indices.length) / count)]!);
}

/** Returns the first `count` images of each class, or all if a class has fewer. Throws for images without labels. */
export function firstOfEachClass({ images, indices }: Subset, count = 1): readonly number[] {
  const { labels } = images;
  if (labels === undefined) throw new Error("first images of each class: expected images with classes");
  const found = images.classes.map((): number[] => []);
  for (const index of indices) {
    const ofClass = found[labels[index]!]!;
    if (ofClass.length < count) ofClass.push(index);
  }
  return found.flat();
}

/**
 * Splits image indices into training and held-out ones, each by an independent draw: appending images does not move
 * others. `heldOut` is the expected share, 0 to 1. Splits with different `purpose` have independent draws.
 */
export function splitImages(
  count: number,
  { heldOut, seed, purpose = "split" }: { readonly heldOut: number; readonly seed: number; readonly purpose?: string },
): { readonly train: Int32Array; readonly test: Int32Array } {
  if (!(heldOut >= 0 && heldOut <= 1)) throw new Error(`splitImages heldOut: expected 0 to 1, got ${heldOut}`);
  const isTest = new Uint8Array(count);
  const uniform = firstUniform({ seed, purpose });
  let held = 0;
  for (let index = 0; heldOut > 0 && index < count; index++) {
    if (uniform(index) < heldOut) held += isTest[index] = 1;
  }
  const parts = { train: new Int32Array(count - held), test: new Int32Array(held) };
  for (let index = 0, trains = 0, tests = 0; index < count; index++) {
    if (isTest[index]) parts.test[tests++] = index;
    else parts.train[trains++] = index;
  }
  return parts;
}
