/** Labels of some of the images. */
export interface GivenLabels {
  /** The labelled images, each once. */
  readonly rows: Int32Array;
  /** The class of each of these images, 0 to classes - 1. */
  readonly labels: Int32Array;
  /** Number of classes. */
  readonly classes: number;
}

/**
 * Throws unless labels are given for at least two images and two classes, each image is one of `count` and has one label
 * of the classes; `task` begins the message.
 */
export function checkGivenLabels(task: string, { rows, labels, classes }: GivenLabels, count: number): void {
  if (rows.length !== labels.length) {
    throw new Error(`${task}: expected a label for each of ${rows.length} images, got ${labels.length}`);
  }
  if (rows.length < 2) throw new Error(`${task}: expected labels of at least 2 images, got ${rows.length}`);
  const strange = rows.find((row) => !(row >= 0 && row < count));
  if (strange !== undefined) throw new Error(`${task}: expected labels of rows 0 to ${count - 1}, got ${strange}`);
  if (new Set(rows).size < rows.length) throw new Error(`${task}: expected one label per image, got several for one`);
  const unknown = labels.find((label) => !(label >= 0 && label < classes));
  if (unknown !== undefined) {
    throw new Error(
      `${task}: expected labels from 0 to ${classes - 1}, the number of classes less one, got ${unknown}`,
    );
  }
  if (new Set(labels).size < 2) throw new Error(`${task}: expected images of at least two classes, got one class only`);
}
