/** Labelled features, for k-NN and linear classifiers. */
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

/** Labelled features of train and test images, with common class numbers. */
export interface LabelledSplits {
  readonly train: Labelled;
  readonly test: Labelled;
  /** Classes of the train images. */
  readonly classes: readonly string[];
  readonly failures: readonly DecodeFailure[];
}

/** Extracts the features of a subset; the title names it in progress output. */
export type Extract = (subset: Subset, title: string) => Promise<Extracted>;

/** Extracts the features of both splits. Throws before extraction as `checkSplits` does. */
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

/** Adds labels to the features of a subset; `numbers` maps its class numbers to others. */
export function labelled(subset: Subset, { features, indices }: Extracted, numbers?: readonly number[]): Labelled {
  const labels = labelsOf(subset, indices);
  return { features, labels: numbers ? labels.map((label) => numbers[label]!) : labels };
}

function labelsOf({ images }: Subset, indices: ArrayLike<number>): Int32Array {
  return Int32Array.from(indices, (index) => images.labels![index]!);
}

/**
 * Maps the classes of the test images to those of the train images. Throws unless both splits have labelled images, and
 * the train images have every class of the test images.
 */
export function checkSplits({ train, test }: Splits): readonly number[] {
  for (const [what, { images, indices }] of [["train", train] as const, ["test", test] as const]) {
    if (images.labels === undefined) {
      const folders =
        "put the images of each class into a subfolder of its name, at least two; " +
        "of a folder with train/ and val/, name each: --train FOLDER/train --test FOLDER/val";
      throw new Error(`the ${what} images have no classes; ${images.whyUnlabelled ?? folders}`);
    }
    if (indices.length === 0) throw new Error(`expected ${what} images, got none; hold out another share`);
  }
  return classIndices(test.images.classes, train.images.classes);
}

/** Returns the index of each name in `classes`. Throws for an unknown name. */
export function classIndices(names: readonly string[], classes: readonly string[]): readonly number[] {
  return names.map((name) => {
    const number = classes.indexOf(name);
    if (number >= 0) return number;
    const known = classes.length <= 20 ? classes.join(", ") : `${classes.slice(0, 20).join(", ")}, ...`;
    throw new Error(`the test images have a class ${name}, which the train images lack (${known})`);
  });
}
