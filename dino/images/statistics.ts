/** Mean and standard deviation of the pixels of images, by which training normalises them. */
import { isFailure } from "./image-location.js";
import { channelsOf, type Image } from "./pixels.js";
import { evenSample, type Subset } from "./split.js";

/** What a sample of images is like. Values are from 0 to 1. */
export interface ImageStatistics {
  /** Images of the sample that were read. */
  readonly images: number;
  /** Mean and standard deviation by channel; each image counts alike, whatever its size. */
  readonly mean: readonly number[];
  readonly std: readonly number[];
  /** Least, median and greatest number of pixels on the shorter side. */
  readonly shortSide: readonly [number, number, number];
}

/** Mean of the values of each channel, and of their squares, from 0 to 1. */
interface Moments {
  readonly means: readonly number[];
  readonly squares: readonly number[];
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
  const averaged = (of: (each: Moments) => readonly number[]) =>
    of(moments[0]!).map((_, c) => moments.reduce((sum, each) => sum + of(each)[c]!, 0) / moments.length);
  const mean = averaged(({ means }) => means);
  const squares = averaged(({ squares }) => squares);
  sides.sort((a, b) => a - b);
  return {
    images: moments.length,
    mean,
    std: mean.map((value, c) => Math.sqrt(Math.max(0, squares[c]! - value ** 2))),
    shortSide: [sides[0]!, sides[Math.floor(sides.length / 2)]!, sides.at(-1)!],
  };
}

function momentsOf(image: Image): Moments {
  const { pixels } = image;
  const channels = channelsOf(image);
  const [sums, squares] = [new Float64Array(channels), new Float64Array(channels)];
  for (let channel = 0; channel < channels; channel++) {
    for (let i = channel; i < pixels.length; i += channels) {
      const value = pixels[i]!;
      sums[channel]! += value;
      squares[channel]! += value * value;
    }
  }
  const count = pixels.length / channels;
  return {
    means: Array.from(sums, (sum) => sum / count / 255),
    squares: Array.from(squares, (sum) => sum / count / 255 ** 2),
  };
}
