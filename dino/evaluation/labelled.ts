/** Features of images whose classes are known: what k-NN and linear classifiers learn from, and are measured on. */
import type { DecodeFailure } from "../images/image-location.js";
import type { Subset, Splits } from "../images/split.js";
import type { FeatureRows } from "../math/feature-rows.js";
import type { Extracted } from "../model/extract.js";

export interface Labelled {
  /** Not normalised. */
  readonly features: FeatureRows;
  /** The class of each row, as a number. */
  readonly labels: Int32Array;
}

/** Features to learn from and features to be measured on, whose labels mean the same. */
export interface LabelledSplits {
  readonly train: Labelled;
  readonly test: Labelled;
  /** Of the train images. */
  readonly classes: readonly string[];
  readonly failures: readonly DecodeFailure[];
}

/** Makes the features of a part; the title says of which. */
export type Extract = (subset: Subset, title: string) => Promise<Extracted>;

/** The features of both parts. Throws, before any is made, where checkParts does. */
export async function labelledFeatures(splits: Splits, extract: Extract): Promise<LabelledSplits> {
  const numbers = checkSplits(splits);
  const train = await extract(splits.train, "train images");
  const test = await extract(splits.test, "test images");
  return {
    train: labelled(splits.train, train),
    test: labelled(splits.test, test, numbers),
    classes: splits.train.images.classes,
    failures: [...train.failures, ...test.failures],
  };
}

/** Features of a part with their labels, or the numbers that stand for these elsewhere. */
export function labelled(subset: Subset, { features, indices }: Extracted, numbers?: readonly number[]): Labelled {
  const labels = labelsOf(subset, indices);
  return { features, labels: numbers ? labels.map((label) => numbers[label]!) : labels };
}

function labelsOf({ images }: Subset, indices: ArrayLike<number>): Int32Array {
  return Int32Array.from(indices, (index) => images.labels![index]!);
}

/**
 * The number that each class of the test images has among those of the train images. Throws unless both parts have images with
 * classes, and the train images every class of the test images.
 */
export function checkSplits({ train, test }: Splits): readonly number[] {
  for (const [what, { images, indices }] of [["train", train] as const, ["test", test] as const]) {
    if (images.labels === undefined) {
      throw new Error(
        `the ${what} images have no classes; put the images of each class into a subfolder of its name, at least two`,
      );
    }
    if (indices.length === 0) throw new Error(`there are no ${what} images; hold out another share`);
  }
  return classIndices(test.images.classes, train.images.classes);
}

/** The number of each of the `names` among the `classes`. Throws for one that is not among them. */
export function classIndices(names: readonly string[], classes: readonly string[]): readonly number[] {
  return names.map((name) => {
    const number = classes.indexOf(name);
    if (number >= 0) return number;
    const known = classes.length <= 20 ? classes.join(", ") : `${classes.slice(0, 20).join(", ")}, ...`;
    throw new Error(`the test images have a class ${name}, which the train images lack (${known})`);
  });
}
