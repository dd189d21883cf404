import { transient } from "../../core/recording.js";
import { axes, expectShape, formatShape, rowsOf, type Tensor } from "../../core/tensor.js";
import { updateAverage } from "../moving-average.js";
import { writeInto } from "../placement.js";
import { mean, meanLeading, sum } from "../sum.js";
import { crossEntropies } from "./cross-entropies.js";
import { chunksOf, type Logits, logitsAxes, meanOf, withoutTape } from "./logits.js";
import { type Centering, checkCentering, sharpen } from "./targets.js";

/** Options of `distillation`. */
export interface DistillationOptions {
  /** Crops given to the teacher, the first of the student's crops; default 2. */
  readonly views?: number;
  readonly studentTemperature: number;
  /** Scalar tensor, which may change on every run. */
  readonly teacherTemperature: Tensor;
  /** Columns per chunk of logits that are products: a multiple of 64, in f16 of 128; by default as many as fit. */
  readonly chunkCols?: number;
}

/** The loss of DINO, and statistics of the teacher's targets. */
export interface Distillation {
  /** Mean cross-entropy over all pairs of a view and a different crop: []. Gradients flow to the student alone. */
  readonly loss: Tensor;
  /** What each row of the student adds to the loss: [rows]. Those of the views come first. */
  readonly losses: Tensor;
  /** Mean entropy of the targets: []. Loss less entropy is the mean KL divergence. */
  readonly teacherEntropy: Tensor;
  /** Mean of the targets, which are softmax((teacher - center) / teacherTemperature): [cols]. */
  readonly meanTargets: Tensor;
  /** Mean of the teacher's rows, for the center: [cols]. */
  readonly teacherMean: Tensor;
}

/**
 * Cross-entropy of the student's rows against the teacher's centered and sharpened ones, over all pairs of different crops:
 * student [crops * batch, cols] and teacher [views * batch, cols], crop-major, centered by a center [cols] or [1, cols], or by
 * Sinkhorn-Knopp over the teacher's rows.
 * DINO, eq. 2 and 3 (https://arxiv.org/abs/2104.14294). Throws if there is no pair of different crops.
 *
 * Logits that are products are computed in chunks of columns, and recomputed for each use, so that only one chunk is in memory
 * at a time. Maxima and sums of chunks are merged into those of whole rows (online softmax, Milakov & Gimelshein 2018,
 * https://arxiv.org/abs/1805.02867). A single chunk is computed only once.
 *
 * Products in f16 use gradients of the logits in f16 too, scaled like dLoss, as official mixed precision does. An element
 * is at most dLoss / (studentTemperature * batch * (crops - 1)): with 65,536 prototypes, ten crops of 64 images and any loss
 * scale from 2^8 to 2^20 rounding moves the gradients by 2e-4 to 3e-4; on overflow the loss scale shrinks.
 */
export function distillation(
  student: Logits,
  teacher: Logits,
  centering: Centering,
  { views = 2, studentTemperature, teacherTemperature, chunkCols }: DistillationOptions,
): Distillation {
  const { rows, cols } = logitsAxes("distillation student", student);
  const { rows: teacherRows, cols: teacherCols } = logitsAxes("distillation teacher", teacher);
  const batch = teacherRows / views;
  const crops = rows / batch;
  if (!Number.isInteger(batch) || !Number.isInteger(crops) || crops < views || crops < 2) {
    throw new Error(
      `distillation: expected student [crops * batch, cols] and teacher [${views} * batch, cols] with at least ` +
        `${Math.max(views, 2)} crops, got ${formatShape([rows, cols])} and ${formatShape([teacherRows, teacherCols])}`,
    );
  }
  if (teacherCols !== cols) throw new Error(`distillation teacher: expected ${cols} columns, got ${teacherCols}`);
  expectShape("distillation teacherTemperature", teacherTemperature, []);

  const teacherMean = meanOf(teacher); // first, so that only the teacher's f16 factors stay live
  const chunks = chunksOf([student, teacher], chunkCols);
  const centered = checkCentering("distillation", centering, cols);
  const { targetsOf, entropies } = sharpen(withoutTape(teacher), centered, teacherTemperature, chunks);
  const meanTargets = transient([cols]);
  const pairs = {
    ...{ batch, views, firstCrop: 0, temperature: studentTemperature },
    weight: 1 / (views * (crops - 1) * batch),
  };
  const losses = crossEntropies(student, targetsOf, chunks, pairs, (targets, chunk) =>
    writeInto(meanLeading(targets, [chunk.cols]), rowsOf(meanTargets, chunk.first, chunk.cols)),
  );
  return { loss: sum(losses), losses, teacherEntropy: mean(entropies), meanTargets, teacherMean };
}

/**
 * Updates in place: center = momentum * center + (1 - momentum) * mean, center [cols] or [1, cols], mean of the teacher's rows [cols].
 * DINO, eq. 4 (https://arxiv.org/abs/2104.14294).
 */
export function updateCenter(center: Tensor, batchMean: Tensor, momentum: number): void {
  const { cols } = axes("updateCenter mean", batchMean, "cols");
  expectShape("updateCenter center", center, center.shape.length === 2 ? [1, cols] : [cols]);
  updateAverage(center, { ...batchMean, shape: center.shape }, { keep: momentum, add: 1 - momentum });
}
