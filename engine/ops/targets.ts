import { elementGrid, grid, kernel } from "../kernel.js";
import { transient } from "../recording.js";
import { rowsOf, type Tensor } from "../tensor.js";
import { type Chunk, type Logits, logitsAxes, logitsOf, perChunk, remade } from "./logits.js";

const teacherPart = kernel("distillation-teacher", {
  reads: ["x", "center", "temperature"],
  writes: ["part"],
  constants: ["ROWS", "COLS"],
});
const teacherWhole = kernel("distillation-entropies", {
  reads: ["parts", "temperature"],
  writes: ["statistics", "entropies"],
  constants: ["ROWS", "CHUNKS"],
});
const sharpening = kernel("distillation-targets", {
  reads: ["x", "center", "temperature", "statistics"],
  writes: ["targets"],
  constants: ["ROWS", "COLS"],
});

/** The targets softmax((teacher - center) / temperature), a chunk at a time, and their entropies [rows]. */
export function sharpen(
  teacher: Logits,
  center: Tensor,
  temperature: Tensor,
  chunks: readonly Chunk[],
): { readonly targetsOf: (chunk: Chunk) => Tensor; readonly entropies: Tensor } {
  const { rows } = logitsAxes("teacher", teacher);
  const teacherOf = remade(chunks, (chunk) => logitsOf(teacher, chunk));
  const centerOf = ({ first, cols }: Chunk) => rowsOf(center, first, cols);

  const { parts, part } = perChunk(chunks, [rows, 3]);
  chunks.forEach((chunk, i) => {
    const x = teacherOf(chunk);
    teacherPart(
      { x, center: centerOf(chunk), temperature, part: part(i) },
      { ROWS: rows, COLS: chunk.cols },
      grid(rows),
    );
  });
  const statistics = transient([rows, 2]);
  const entropies = transient([rows]);
  teacherWhole({ parts, temperature, statistics, entropies }, { ROWS: rows, CHUNKS: chunks.length }, elementGrid(rows));

  const targetsOf = remade(chunks, (chunk) => {
    const x = teacherOf(chunk);
    const targets = transient([rows, chunk.cols]);
    const constants = { ROWS: rows, COLS: chunk.cols };
    sharpening({ x, center: centerOf(chunk), temperature, statistics, targets }, constants, grid(rows));
    return targets;
  });
  return { targetsOf, entropies };
}
