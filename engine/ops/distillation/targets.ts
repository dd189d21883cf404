import { elementGrid, grid, kernel } from "../../core/kernel.js";
import { constant, transient } from "../../core/recording.js";
import { rowsOf, type Tensor } from "../../core/tensor.js";
import { repeat } from "../sum.js";
import { type Chunk, type Logits, logitsAxes, logitsOf, perChunk, cacheSingleChunk } from "./logits.js";

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

const balancing = kernel("sinkhorn-center", {
  reads: ["x", "temperature", "statistics"],
  writes: ["center"],
  constants: ["ROWS", "COLS"],
});

/** Finds the center out of the rows themselves, so that all columns of the targets have about the same sum. */
export interface Sinkhorn {
  readonly iterations: number;
  /** The same columns of other devices, on which further rows are: [cols] -> [devices, cols]. Alone if left out. */
  readonly gather?: (x: Tensor) => Tensor;
}

/** What the rows of the teacher are centered by: a given center [cols], or one found. */
export type Centering = Tensor | Sinkhorn;

/** What the rows of softmax((teacher - center) / temperature) are normalised by, and their entropies. */
interface Normalised {
  /** [rows, 2]: max x and sum exp((x - max x) / temperature) of the whole row x = teacher - center. */
  readonly statistics: Tensor;
  /** [rows] */
  readonly entropies: Tensor;
}

interface Centered extends Normalised {
  /** [cols] */
  readonly center: Tensor;
}

/**
 * The targets softmax((teacher - center) / temperature), a chunk at a time, and their entropies [rows].
 *
 * Sinkhorn-Knopp scales the columns of exp(teacher / temperature) to equal sums, then its rows to the sum 1, and so on; what
 * comes out is diag(u) exp(teacher / temperature) diag(v), which is such a softmax with center = -temperature * log v. So all it
 * has to find is a center, for which it looks at the teacher's rows once an iteration, a chunk at a time.
 */
export function sharpen(
  teacher: Logits,
  centering: Centering,
  temperature: Tensor,
  chunks: readonly Chunk[],
): { readonly targetsOf: (chunk: Chunk) => Tensor; readonly entropies: Tensor } {
  const { rows, cols } = logitsAxes("teacher", teacher);
  const teacherOf = cacheSingleChunk(chunks, (chunk) => logitsOf(teacher, chunk));

  /** Looks at all rows, where `centerOf` has the center for the columns x of a chunk. */
  const normalise = (centerOf: (chunk: Chunk, x: Tensor) => Tensor): Normalised => {
    const { parts, part } = perChunk(chunks, [rows, 3]);
    chunks.forEach((chunk, i) => {
      const x = teacherOf(chunk);
      const constants = { ROWS: rows, COLS: chunk.cols };
      teacherPart({ x, center: centerOf(chunk, x), temperature, part: part(i) }, constants, grid(rows));
    });
    const statistics = transient([rows, 2]);
    const entropies = transient([rows]);
    const constants = { ROWS: rows, CHUNKS: chunks.length };
    teacherWhole({ parts, temperature, statistics, entropies }, constants, elementGrid(rows));
    return { statistics, entropies };
  };

  /** An iteration of Sinkhorn-Knopp: the columns, of rows that are normalised as `statistics` says, then the rows again. */
  const balance = (statistics: Tensor, gather: Sinkhorn["gather"]): Centered => {
    const center = transient([cols]);
    const normalised = normalise((chunk, x) => {
      const part = columnsOf(center, chunk);
      const own = gather ? transient([chunk.cols]) : part;
      balancing({ x, temperature, statistics, center: own }, { ROWS: rows, COLS: chunk.cols }, elementGrid(chunk.cols));
      if (!gather) return part;
      const all = gather(own); // the logarithms of sums are summed up as those of rows are
      const devices = all.shape[0]!;
      balancing(
        { x: all, temperature, statistics: identityStatistics(devices), center: part },
        { ROWS: devices, COLS: chunk.cols },
        elementGrid(chunk.cols),
      );
      return part;
    });
    return { center, ...normalised };
  };

  const sinkhorn = ({ iterations, gather }: Sinkhorn): Centered => {
    let found = balance(identityStatistics(rows), gather);
    for (let i = 1; i < iterations; i++) found = balance(found.statistics, gather);
    return found;
  };
  const centeredBy = (center: Tensor): Centered => ({ center, ...normalise((chunk) => columnsOf(center, chunk)) });

  const { center, statistics, entropies } = "iterations" in centering ? sinkhorn(centering) : centeredBy(centering);
  const targetsOf = cacheSingleChunk(chunks, (chunk) => {
    const x = teacherOf(chunk);
    const targets = transient([rows, chunk.cols]);
    const constants = { ROWS: rows, COLS: chunk.cols };
    sharpening({ x, center: columnsOf(center, chunk), temperature, statistics, targets }, constants, grid(rows));
    return targets;
  });
  return { targetsOf, entropies };
}

/** Statistics of rows that nothing is to be normalised by: [rows, 2]. */
function identityStatistics(rows: number): Tensor {
  return repeat(constant([2], [0, 1]), [rows, 2]);
}

/** A chunk of what there is one of for each column: [cols] -> [chunk's cols]. */
function columnsOf(x: Tensor, { first, cols }: Chunk): Tensor {
  return rowsOf(x, first, cols);
}
