import { expectShape, formatShape, type Tensor } from "../../core/tensor.js";
import { mul } from "../mul.js";
import { sum } from "../sum.js";
import { crossEntropies } from "./cross-entropies.js";
import { chunksOf, type Logits, logitsAxes, meanOf, withoutTape } from "./logits.js";
import type { DistillationOptions } from "./loss.js";
import { type Centering, checkCentering, sharpen } from "./targets.js";

/** Which rows are masked patches, and what they count; a number that varies from run to run. */
export interface MaskedRows {
  /** Factors of the cross-entropies: [rows], 0 for rows that are no masked patches. */
  readonly weights: Tensor;
  /** Factors of the teacher's rows in their mean: [rows], 1 / masked patches, 0 for other rows. */
  readonly shares: Tensor;
}

/** The loss on masked patches. */
export interface MaskedDistillation {
  /** Sum of the cross-entropies times their weights: []. Gradients flow to the student alone. */
  readonly loss: Tensor;
  /** Mean of the teacher's rows, for the center: [cols]. */
  readonly teacherMean: Tensor;
}

/**
 * Cross-entropy of the student's rows against the same rows of the teacher, centered and sharpened: both [rows, cols]. Sinkhorn-Knopp
 * leaves out rows whose weight is 0. The loss on masked patches of iBOT, eq. 2 (https://arxiv.org/abs/2111.07832), with the weights
 * and centerings of DINOv2. Logits that are products are computed in chunks of columns, as for `distillation`.
 */
export function maskedDistillation(
  student: Logits,
  teacher: Logits,
  centering: Centering,
  { weights, shares }: MaskedRows,
  { studentTemperature, teacherTemperature, chunkCols }: Omit<DistillationOptions, "views">,
): MaskedDistillation {
  const { rows, cols } = logitsAxes("maskedDistillation student", student);
  const { rows: teacherRows, cols: teacherCols } = logitsAxes("maskedDistillation teacher", teacher);
  if (teacherRows !== rows || teacherCols !== cols) {
    throw new Error(
      `maskedDistillation teacher: expected ${formatShape([rows, cols])}, got ${formatShape([teacherRows, teacherCols])}`,
    );
  }
  expectShape("maskedDistillation weights", weights, [rows]);
  expectShape("maskedDistillation shares", shares, [rows]);
  expectShape("maskedDistillation teacherTemperature", teacherTemperature, []);

  const teacherMean = meanOf(teacher, shares);
  const chunks = chunksOf([student, teacher], chunkCols);
  const checked = checkCentering("maskedDistillation", centering, cols);
  const centered = "iterations" in checked ? { ...checked, present: weights } : checked;
  const { targetsOf } = sharpen(withoutTape(teacher), centered, teacherTemperature, chunks);
  const pairs = { batch: rows, views: 1, firstCrop: 1, temperature: studentTemperature, weight: 1 };
  const losses = crossEntropies(student, targetsOf, chunks, pairs);
  return { loss: sum(mul(losses, weights)), teacherMean };
}
