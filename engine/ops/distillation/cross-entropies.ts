import { elementGrid, grid, kernel } from "../../core/kernel.js";
import { differentiable, transient } from "../../core/recording.js";
import type { Tensor } from "../../core/tensor.js";
import {
  backwardOf,
  cacheSingleChunk,
  type Chunk,
  type Logits,
  logitsAxes,
  logitsOf,
  operandPrecision,
  perChunk,
  sourcesOf,
  withoutTape,
} from "./logits.js";

const studentPart = kernel("distillation-student", {
  reads: ["student", "targets"],
  writes: ["part"],
  constants: ["ROWS", "COLS", "BATCH", "VIEWS", "FIRST_CROP", "TEMPERATURE"],
});
const studentWhole = kernel("distillation-losses", {
  reads: ["parts"],
  writes: ["losses", "statistics"],
  constants: ["ROWS", "CHUNKS", "BATCH", "VIEWS", "FIRST_CROP", "TEMPERATURE", "WEIGHT"],
});
const backwards = {
  reads: ["student", "targets", "statistics", "dLosses"],
  writes: ["dStudent"],
  constants: ["ROWS", "COLS", "BATCH", "VIEWS", "FIRST_CROP", "TEMPERATURE", "WEIGHT"],
} as const;
const backward = {
  f32: kernel("distillation-backward", backwards),
  f16: kernel("distillation-backward-f16", backwards),
};

/** Which rows of targets belong to a row of the student, and what it counts. */
export interface Pairs {
  /** Rows of a crop. */
  readonly batch: number;
  /** Crops that have targets, the first ones. */
  readonly views: number;
  /** Crop of the student's first row. */
  readonly firstCrop: number;
  readonly temperature: number;
  /** Factor of the cross-entropies. */
  readonly weight: number;
}

/**
 * Sums, for each row of the student, of its cross-entropies against the targets of other crops, times a weight: student
 * [rows, cols], targets [views * batch, cols] by chunk -> [rows]. Gradients flow to the student alone. `visit` is called with the
 * targets of every chunk.
 */
export function crossEntropies(
  student: Logits,
  targetsOf: (chunk: Chunk) => Tensor,
  chunks: readonly Chunk[],
  { batch, views, firstCrop, temperature, weight }: Pairs,
  visit: (targets: Tensor, chunk: Chunk) => void = () => undefined,
): Tensor {
  const { rows } = logitsAxes("crossEntropies student", student);
  const students = withoutTape(student);
  const studentOf = cacheSingleChunk(chunks, (chunk) => logitsOf(students, chunk));
  const sizes = { ROWS: rows, BATCH: batch, VIEWS: views, FIRST_CROP: firstCrop, TEMPERATURE: temperature };
  const { parts, part } = perChunk(chunks, [rows, 4]);
  chunks.forEach((chunk, i) => {
    const targets = targetsOf(chunk);
    studentPart({ student: studentOf(chunk), targets, part: part(i) }, { ...sizes, COLS: chunk.cols }, grid(rows));
    visit(targets, chunk);
  });
  const losses = transient([rows]);
  const statistics = transient([rows, 2]);
  studentWhole({ parts, losses, statistics }, { ...sizes, WEIGHT: weight, CHUNKS: chunks.length }, elementGrid(rows));
  return differentiable(losses, sourcesOf(student), (dLosses) =>
    backwardOf(students, chunks, (chunk) => {
      const targets = targetsOf(chunk);
      const precision = operandPrecision(student);
      const dStudent = transient([rows, chunk.cols], precision);
      const constants = { ...sizes, WEIGHT: weight, COLS: chunk.cols };
      backward[precision]({ student: studentOf(chunk), targets, statistics, dLosses, dStudent }, constants, grid(rows));
      return dStudent;
    }),
  );
}
