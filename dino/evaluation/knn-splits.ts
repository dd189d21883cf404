/** The choice of images for k-NN evaluation during training. */
import type { Config } from "../config/settings.js";
import type { Subset, Splits } from "../images/split.js";
import { rng } from "../math/random.js";

/** Maximum number of images of an evaluation by default; at most a fifth of them are classified. */
const MAX_IMAGES = 12_000;
/**
 * The default evaluation uses at most as many images as the steps of the run, so that it takes a small part of the
 * time, but at least this many.
 */
const MIN_IMAGES = 100;
const TEST_SHARE = 1 / 5;

/** The images of an evaluation: `test` images classified by `train` images. */
export interface KnnSplits extends Splits {
  /** Whether the test images are training images too, without their labels, because none are held out. */
  readonly areTrainedOn: boolean;
}

/**
 * Chooses the images of an evaluation: all if --knn-every is given and images are held out, otherwise a sample that
 * depends on the seed alone. `stepImages` is the number of images in all steps of the run. If no images are held out,
 * the rest of the sample classifies a fifth of it. Returns undefined if the images have no classes or are too few.
 */
export function knnSplits(
  { train, test }: Splits,
  { knnEvery, seed }: Pick<Config, "knnEvery" | "seed">,
  stepImages: number,
): KnnSplits | undefined {
  if (train.images.labels === undefined) return undefined;
  const isHeldOut = test.indices.length > 0;
  if (isHeldOut && test.images.labels === undefined) return undefined;
  if (isHeldOut && knnEvery !== null) return { train, test, areTrainedOn: false };
  const most = knnEvery === null ? Math.min(MAX_IMAGES, Math.max(MIN_IMAGES, stepImages)) : MAX_IMAGES;
  const sample = (subset: Subset, count: number): Int32Array => {
    const order = rng({ seed, purpose: "images that k-NN compares" }).permutation(subset.indices.length);
    return order.subarray(0, count).map((place) => subset.indices[place]!);
  };
  const sorted = (subset: Subset, indices: Int32Array): Subset => ({ ...subset, indices: indices.toSorted() });
  if (isHeldOut) {
    const classified = Math.min(test.indices.length, Math.ceil(most * TEST_SHARE));
    return {
      train: sorted(train, sample(train, most - classified)),
      test: sorted(test, sample(test, classified)),
      areTrainedOn: false,
    };
  }
  const all = sample(train, most);
  const classified = Math.floor(all.length * TEST_SHARE);
  if (classified === 0) return undefined;
  return {
    train: sorted(train, all.subarray(classified)),
    test: sorted(train, all.subarray(0, classified)),
    areTrainedOn: true,
  };
}
