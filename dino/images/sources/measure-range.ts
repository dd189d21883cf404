/** Measures the range of the values in image files. */
import type { Subset } from "../split.js";
import { evenSample } from "../split.js";
import { scanImage } from "./decode.js";

/** Images that are read, evenly spaced. */
const SAMPLE = 50;
/** Values taken of each channel of an image, or of each band of a large one, evenly spaced. */
const VALUES = 20_000;
/** Shares of the values below black and white. */
const PERCENTILES = [0.005, 0.995] as const;

/**
 * Returns the percentiles 0.5 and 99.5 of the values of a sample: two numbers for each channel, or two in all if the
 * images differ in the number of channels. Values that are not finite, or marked as missing, do not count. Images that cannot be
 * decoded are left out. Throws if none can be.
 */
export async function measureRange({ images, indices }: Subset): Promise<readonly number[]> {
  const sample = evenSample({ images, indices }, SAMPLE);
  const found: number[][] = [];
  const counts = new Set<number>();
  let reason: string | undefined;
  for (const index of sample) {
    let channels = 0; // of this image
    try {
      await scanImage(images.location(index), images.decoding, (values, each, first = 0) => {
        channels = Math.max(channels, first + each);
        take(values, each, (channel) => (found[first + channel] ??= []));
      });
      counts.add(channels);
    } catch (error) {
      reason ??= `${images.name(index)}: ${(error as Error).message}`;
    }
  }
  const groups = (counts.size === 1 ? found : [found.flat()]).map((values) => Float64Array.from(values).sort());
  if (groups.length === 0 || groups.some(({ length }) => length === 0)) {
    throw new Error(
      `--range auto: expected images with finite values, got none among ${sample.length} of ${images.title}` +
        (reason === undefined ? "" : `; ${reason}`),
    );
  }
  return groups.flatMap((sorted) => {
    const [low, high] = PERCENTILES.map((share) => rounded(sorted[Math.round(share * (sorted.length - 1))]!));
    return [low!, high! > low! ? high! : low! + 1]; // of a constant channel
  });
}

/** Adds some values of each channel to its list. */
function take(values: ArrayLike<number>, channels: number, listOf: (channel: number) => number[]): void {
  const step = channels * Math.max(1, Math.floor(values.length / channels / VALUES));
  for (let channel = 0; channel < channels; channel++) {
    const list = listOf(channel);
    for (let i = channel; i < values.length; i += step) if (Number.isFinite(values[i]!)) list.push(values[i]!);
  }
}

function rounded(value: number): number {
  return Number(value.toPrecision(6));
}
