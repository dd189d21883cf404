/** Which images k-NN compares while a network is trained. */
import type { Config } from "../config/settings.js";
import type { Subset, Splits } from "../images/split.js";
import { rng } from "../math/random.js";

/** An evaluation that nobody asked for looks at so many images at most, of which a fifth at most is classified. */
const MAX_IMAGES = 12_000;
/** It looks at no more images than the run was trained on, so that it takes a small part of the time, but at so many. */
const MIN_IMAGES = 100;
const TEST_SHARE = 1 / 5;

/** What k-NN compares: `test` images among `train` images. */
export interface KnnSplits extends Splits {
  /** Whether the test images are trained on too, without their labels, since none are held out. */
  readonly areTrainedOn: boolean;
}

/**
 * The images that k-NN compares: all of both parts where --knn-every asks for it and images are held out. Otherwise some, the
 * same ones for the same seed, `trainedOn` being how many images the steps of the run take; where none are held out, a fifth of
 * those trained on is classified by the others. Undefined where the images have no classes or are too few.
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
  const drawn = (subset: Subset, count: number): Int32Array => {
    const order = rng({ seed, purpose: "images that k-NN compares" }).permutation(subset.indices.length);
    return order.subarray(0, count).map((at) => subset.indices[at]!);
  };
  const sorted = (subset: Subset, indices: Int32Array): Subset => ({ ...subset, indices: indices.toSorted() });
  if (isHeldOut) {
    const classified = Math.min(test.indices.length, Math.ceil(most * TEST_SHARE));
    return {
      train: sorted(train, drawn(train, most - classified)),
      test: sorted(test, drawn(test, classified)),
      areTrainedOn: false,
    };
  }
  const all = drawn(train, most);
  const classified = Math.floor(all.length * TEST_SHARE);
  if (classified === 0) return undefined;
  return {
    train: sorted(train, all.subarray(classified)),
    test: sorted(train, all.subarray(0, classified)),
    areTrainedOn: true,
  };
}
