import { elementGrid, grid, kernel } from "../../core/kernel.js";
import { differentiable, stopGradient, transient } from "../../core/recording.js";
import { axes, expectShape, formatShape, rowsOf, type Tensor } from "../../core/tensor.js";
import { updateAverage } from "../moving-average.js";
import { writeInto } from "../placement.js";
import { mean, meanLeading, sum } from "../sum.js";
import {
  backwardOf,
  chunksOf,
  type Logits,
  logitsAxes,
  logitsOf,
  meanOf,
  operandPrecision,
  perChunk,
  cacheSingleChunk,
  sourcesOf,
  withoutTape,
} from "./logits.js";
import { type Centering, sharpen } from "./targets.js";

const studentPart = kernel("distillation-student", {
  reads: ["student", "targets"],
  writes: ["part"],
  constants: ["ROWS", "COLS", "BATCH", "VIEWS", "TEMPERATURE"],
});
const studentWhole = kernel("distillation-losses", {
  reads: ["parts"],
  writes: ["losses", "statistics"],
  constants: ["ROWS", "CHUNKS", "BATCH", "VIEWS", "TEMPERATURE", "WEIGHT"],
});
const backwards = {
  reads: ["student", "targets", "statistics", "dLoss"],
  writes: ["dStudent"],
  constants: ["ROWS", "COLS", "BATCH", "VIEWS", "TEMPERATURE", "WEIGHT"],
} as const;
const backward = {
  f32: kernel("distillation-backward", backwards),
  f16: kernel("distillation-backward-f16", backwards),
};

/** Of `distillation`. */
export interface DistillationOptions {
  /** Crops that the teacher saw: the first ones of the student; 2 where it is left out. */
  readonly views?: number;
  readonly studentTemperature: number;
  /** A scalar, so that it may change on every run. */
  readonly teacherTemperature: Tensor;
  /** Columns that are made at a time of logits which are products, a multiple of 64, in f16 of 128; as many as fit where it is left out. */
  readonly chunkCols?: number;
}

/** The loss of DINO, and what it tells of the teacher's targets. */
export interface Distillation {
  /** Mean cross-entropy over all pairs of a view and a different crop: []. Gradients flow to the student alone. */
  readonly loss: Tensor;
  /** Mean entropy of the targets: []. Loss less entropy is the mean KL divergence. */
  readonly teacherEntropy: Tensor;
  /** Mean of the targets, which are softmax((teacher - center) / teacherTemperature): [cols]. */
  readonly meanTargets: Tensor;
  /** Mean of the teacher's rows, for the center: [cols]. */
  readonly teacherMean: Tensor;
}

/**
 * Cross-entropy of the student's rows against the teacher's centered and sharpened ones, over all pairs of different crops:
 * student [crops * batch, cols] and teacher [views * batch, cols], crop-major, centered by a center [cols] or [1, cols], or by one
 * that Sinkhorn-Knopp finds in the teacher's rows.
 * DINO, eq. 2 and 3 (https://arxiv.org/abs/2104.14294). Throws where no pair of different crops is there.
 *
 * Logits that are products are made a chunk of columns at a time, and again where they are needed again, so that no more of
 * them is ever in memory: maxima and sums of each chunk are joined to those of whole rows (online softmax, Milakov &
 * Gimelshein 2018, https://arxiv.org/abs/1805.02867). Where one chunk is all, nothing is made twice.
 *
 * Products in f16 take the gradient of the logits in f16 too, scaled as dLoss is, as official mixed precision does. An element
 * is at most dLoss / (studentTemperature * batch * (crops - 1)): with 65,536 prototypes, ten crops of 64 images and any loss
 * scale from 2^8 to 2^20 rounding moves the gradients by 2e-4 to 3e-4; what overflows the loss scale takes back.
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

  const teacherMean = meanOf(teacher); // first, so that nothing but its factors in f16 need be kept of the teacher
  const chunks = chunksOf([student, teacher], chunkCols);
  const centered = checkCentering(centering, cols);
  const { targetsOf, entropies } = sharpen(withoutTape(teacher), centered, teacherTemperature, chunks);
  const students = withoutTape(student);
  const studentOf = cacheSingleChunk(chunks, (chunk) => logitsOf(students, chunk));

  const sizes = { ROWS: rows, BATCH: batch, VIEWS: views, TEMPERATURE: studentTemperature };
  const weight = { WEIGHT: 1 / (views * (crops - 1) * batch) };
  const { parts, part } = perChunk(chunks, [rows, 4]);
  const meanTargets = transient([cols]);
  chunks.forEach((chunk, i) => {
    const targets = targetsOf(chunk);
    studentPart({ student: studentOf(chunk), targets, part: part(i) }, { ...sizes, COLS: chunk.cols }, grid(rows));
    writeInto(meanLeading(targets, [chunk.cols]), rowsOf(meanTargets, chunk.first, chunk.cols));
  });
  const losses = transient([rows]);
  const statistics = transient([rows, 2]);
  studentWhole({ parts, losses, statistics }, { ...sizes, ...weight, CHUNKS: chunks.length }, elementGrid(rows));

  const loss = differentiable(stopGradient(sum(losses)), sourcesOf(student), (dLoss) =>
    backwardOf(students, chunks, (chunk) => {
      const targets = targetsOf(chunk);
      const precision = operandPrecision(student);
      const dStudent = transient([rows, chunk.cols], precision);
      const constants = { ...sizes, ...weight, COLS: chunk.cols };
      backward[precision]({ student: studentOf(chunk), targets, statistics, dLoss, dStudent }, constants, grid(rows));
      return dStudent;
    }),
  );
  return { loss, teacherEntropy: mean(entropies), meanTargets, teacherMean };
}

/** The same, a center as [cols]. Throws where it is none of so many columns, and for a number of iterations that is none. */
function checkCentering(centering: Centering, cols: number): Centering {
  if ("iterations" in centering) {
    const { iterations } = centering;
    if (Number.isSafeInteger(iterations) && iterations > 0) return centering;
    throw new Error(`distillation: expected one Sinkhorn iteration or more, got ${iterations}`);
  }
  expectShape("distillation center", centering, centering.shape.length === 2 ? [1, cols] : [cols]);
  return { ...centering, shape: [cols] };
}

/**
 * In place, center = momentum * center + (1 - momentum) * mean: center [cols] or [1, cols], mean of the teacher's rows [cols].
 * DINO, eq. 4 (https://arxiv.org/abs/2104.14294).
 */
export function updateCenter(center: Tensor, batchMean: Tensor, momentum: number): void {
  const { cols } = axes("updateCenter mean", batchMean, "cols");
  expectShape("updateCenter center", center, center.shape.length === 2 ? [1, cols] : [cols]);
  updateAverage(center, { ...batchMean, shape: center.shape }, { keep: momentum, add: 1 - momentum });
}
