import { type FeatureRows, rowLength } from "../math/feature-rows.js";

/** Largest difference between two features that count as the same, and tolerance of row lengths. */
const SAME = 1e-6;
const LENGTH_TOLERANCE = 5e-3;

/**
 * Throws unless `features` are rows of length one (see normalizeRows) of at least two different images; `task` begins
 * the message. Rows of zeros are allowed, as in knnClassify.
 */
export function checkRows(task: string, features: FeatureRows): void {
  const { values, rows, dim } = features;
  if (rows < 2) throw new Error(`${task}: expected at least 2 images, got ${rows}`);
  if (values.length !== rows * dim) {
    throw new Error(`${task}: features [${rows}, ${dim}] take ${rows * dim} values, got ${values.length}`);
  }
  for (let row = 0; row < rows; row++) {
    const length = rowLength(features, row);
    if (length <= LENGTH_TOLERANCE || Math.abs(length - 1) <= LENGTH_TOLERANCE) continue;
    throw new Error(
      Number.isFinite(length)
        ? `${task}: row ${row} has length ${length}, expected 1; pass the features through normalizeRows`
        : `${task}: expected features of finite numbers, got others in row ${row}; compute them again`,
    );
  }
  if (!values.some((value, i) => Math.abs(value - values[i % dim]!) > SAME)) {
    throw new Error(`${task}: expected different images, got ${rows} with the same features`);
  }
}
