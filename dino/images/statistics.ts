/** Mean and standard deviation of the pixels of images, by which training normalises them. */
import { isFailure } from "./image-location.js";
import type { Image } from "./pixels.js";
import { evenSample, type Subset } from "./split.js";

type Triple = readonly [number, number, number];

/** What a sample of images is like. Values are from 0 to 1. */
export interface ImageStatistics {
  /** Images of the sample that were read. */
  readonly images: number;
  /** Mean and standard deviation by channel; each image counts alike, whatever its size. */
  readonly mean: Triple;
  readonly std: Triple;
  /** Least, median and greatest number of pixels on the shorter side. */
  readonly shortSide: Triple;
}

/** Mean of the values of each channel, and of their squares, from 0 to 1. */
interface Moments {
  readonly means: Triple;
  readonly squares: Triple;
}

/**
 * Measures a sample of a subset: at most `most` images, evenly spaced. Images that cannot be decoded are left out and recorded in
 * `images.failures`. Throws if none can be.
 */
export async function imageStatistics(
  subset: Subset,
  most: number,
  onProgress: (done: number, total: number) => void = () => undefined,
): Promise<ImageStatistics> {
  const { images } = subset;
  const sample = evenSample(subset, most);
  const moments: Moments[] = [];
  const sides: number[] = [];
  for (const [i, index] of sample.entries()) {
    const image = await images.decode(index);
    onProgress(i + 1, sample.length);
    if (isFailure(image)) continue;
    moments.push(momentsOf(image));
    sides.push(Math.min(image.rows, image.cols));
  }
  if (moments.length === 0) throw new Error(`${images.title}: none of ${sample.length} images could be read`);
  const averaged = (of: (each: Moments) => Triple) =>
    triple((c) => moments.reduce((sum, each) => sum + of(each)[c], 0) / moments.length);
  const mean = averaged(({ means }) => means);
  const squares = averaged(({ squares }) => squares);
  sides.sort((a, b) => a - b);
  return {
    images: moments.length,
    mean,
    std: triple((c) => Math.sqrt(Math.max(0, squares[c] - mean[c] ** 2))),
    shortSide: [sides[0]!, sides[Math.floor(sides.length / 2)]!, sides.at(-1)!],
  };
}

function momentsOf({ pixels }: Image): Moments {
  const [sums, squares] = [
    [0, 0, 0],
    [0, 0, 0],
  ];
  for (let i = 0; i < pixels.length; i++) {
    const value = pixels[i]!;
    sums[i % 3]! += value;
    squares[i % 3]! += value * value;
  }
  const count = pixels.length / 3;
  return { means: triple((c) => sums[c]! / count / 255), squares: triple((c) => squares[c]! / count / 255 ** 2) };
}

function triple(valueOf: (channel: 0 | 1 | 2) => number): Triple {
  return [valueOf(0), valueOf(1), valueOf(2)];
}
