/** Labelled features from files. */
import { readFeatures } from "./feature-files.js";
import { type LabelledSplits, classIndices } from "./labelled.js";

/** Reads the labelled features of two files. Throws if one cannot be read or has no labels, or if they do not match. */
export async function readLabelled(trainPath: string, testPath: string): Promise<LabelledSplits> {
  const [train, test] = [await readWithLabels(trainPath), await readWithLabels(testPath)];
  if (train.features.dim !== test.features.dim) {
    throw new Error(
      `${testPath}: expected features of ${train.features.dim} numbers, as in ${trainPath}, got ${test.features.dim}`,
    );
  }
  const numbers = classIndices(test.list.classes, train.list.classes);
  return {
    train: { features: train.features, labels: train.labels },
    test: { features: test.features, labels: test.labels.map((label) => numbers[label]!) },
    classes: train.list.classes,
    failures: [...train.list.failures, ...test.list.failures],
  };
}

async function readWithLabels(path: string) {
  const { features, list } = await readFeatures(path);
  if (list.labels === undefined) {
    throw new Error(`${path}: expected features of images with classes; those of ${list.data} have none`);
  }
  if (features.rows === 0) throw new Error(`${path}: expected features of at least one image, got none`);
  return { features, list, labels: Int32Array.from(list.labels) };
}
