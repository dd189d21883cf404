import { grid, kernel } from "../kernel.js";
import { differentiable, reshape, stopGradient, transient } from "../recording.js";
import { axes, expectShape, formatShape, type Tensor } from "../tensor.js";
import { updateAverage } from "./moving-average.js";
import { mean, sum, sumLeading } from "./sum.js";

const sharpening = kernel("distillation-targets", {
  reads: ["x", "center", "temperature"],
  writes: ["q", "entropies"],
  constants: ["ROWS", "COLS"],
});
const constants = ["ROWS", "COLS", "BATCH", "VIEWS", "TEMPERATURE", "WEIGHT"] as const;
const forward = kernel("distillation", { reads: ["student", "targets"], writes: ["losses", "statistics"], constants });
const backward = kernel("distillation-backward", {
  reads: ["student", "targets", "statistics", "dLoss"],
  writes: ["dStudent"],
  constants,
});

export interface DistillationOptions {
  /** Crops that the teacher saw: the first ones of the student; 2 where it is left out. */
  readonly views?: number;
  readonly studentTemperature: number;
  /** A scalar, so that it may change on every run. */
  readonly teacherTemperature: Tensor;
}

export interface Distillation {
  /** Mean cross-entropy over all pairs of a view and a different crop: []. Gradients flow to the student alone. */
  readonly loss: Tensor;
  /** Mean entropy of the targets: []. Loss less entropy is the mean KL divergence. */
  readonly teacherEntropy: Tensor;
  /** softmax((teacher - center) / teacherTemperature): [views * batch, cols]. */
  readonly targets: Tensor;
}

/**
 * Cross-entropy of the student's rows against the teacher's centered and sharpened ones, over all pairs of different crops:
 * student [crops * batch, cols] and teacher [views * batch, cols], crop-major, center [cols] or [1, cols].
 * DINO, eq. 2 and 3 (https://arxiv.org/abs/2104.14294). Throws where no pair of different crops is there.
 */
export function distillation(
  student: Tensor,
  teacher: Tensor,
  center: Tensor,
  { views = 2, studentTemperature, teacherTemperature }: DistillationOptions,
): Distillation {
  const { rows, cols } = axes("distillation student", student, "rows", "cols");
  const { teacherRows } = axes("distillation teacher", teacher, "teacherRows", "teacherCols");
  const batch = teacherRows / views;
  const crops = rows / batch;
  if (!Number.isInteger(batch) || !Number.isInteger(crops) || crops < views || crops < 2) {
    throw new Error(
      `distillation: expected student [crops * batch, cols] and teacher [${views} * batch, cols] with at least ` +
        `${Math.max(views, 2)} crops, got ${formatShape(student.shape)} and ${formatShape(teacher.shape)}`,
    );
  }
  expectShape("distillation teacher", teacher, [teacherRows, cols]);
  expectShape("distillation center", center, center.shape.length === 2 ? [1, cols] : [cols]);
  expectShape("distillation teacherTemperature", teacherTemperature, []);

  const targets = transient(teacher.shape);
  const entropies = transient([teacherRows]);
  sharpening(
    { x: teacher, center, temperature: teacherTemperature, q: targets, entropies },
    { ROWS: teacherRows, COLS: cols },
    grid(teacherRows),
  );

  const sizes = { ROWS: rows, COLS: cols, BATCH: batch, VIEWS: views };
  const settings = { ...sizes, TEMPERATURE: studentTemperature, WEIGHT: 1 / (views * (crops - 1) * batch) };
  const losses = transient([rows]);
  const statistics = transient([rows, 2]);
  forward({ student, targets, losses, statistics }, settings, grid(rows));
  const loss = differentiable(stopGradient(sum(losses)), [student], (dLoss) => {
    const dStudent = transient(student.shape);
    backward({ student, targets, statistics, dLoss, dStudent }, settings, grid(rows));
    return [dStudent];
  });
  return { loss, teacherEntropy: mean(entropies), targets };
}

/**
 * In place, center = momentum * center + (1 - momentum) * mean over the rows of teacher:
 * center [cols] or [1, cols], teacher [rows, cols]. DINO, eq. 4 (https://arxiv.org/abs/2104.14294).
 */
export function updateCenter(center: Tensor, teacher: Tensor, momentum: number): void {
  const { rows, cols } = axes("updateCenter teacher", teacher, "rows", "cols");
  expectShape("updateCenter center", center, center.shape.length === 2 ? [1, cols] : [cols]);
  const sums = reshape(sumLeading(stopGradient(teacher), [cols]), center.shape);
  updateAverage(center, sums, { keep: momentum, add: (1 - momentum) / rows });
}
