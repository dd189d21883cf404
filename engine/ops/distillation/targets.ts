import { elementGrid, grid, kernel } from "../../core/kernel.js";
import { constant, transient } from "../../core/recording.js";
import { expectShape, rowsOf, type Tensor } from "../../core/tensor.js";
import { selectRows } from "../replace-rows.js";
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

/** Sinkhorn-Knopp centering: the center is computed from the rows, so that all columns of the targets have about the same sum. */
export interface Sinkhorn {
  readonly iterations: number;
  /** Gathers the column values of all devices that share the batch: [cols] -> [devices, cols]. By default there is one device. */
  readonly gather?: (x: Tensor) => Tensor;
  /** Rows to count, those where this is not 0: [rows]. By default all. */
  readonly present?: Tensor;
}

/** Centering of the teacher: a given center [cols], or Sinkhorn-Knopp. */
export type Centering = Tensor | Sinkhorn;

/** Returns the centering, with a center as [cols]. Throws for a center of another size, and for an invalid number of iterations. */
export function checkCentering(what: string, centering: Centering, cols: number): Centering {
  if ("iterations" in centering) {
    const { iterations } = centering;
    if (Number.isSafeInteger(iterations) && iterations > 0) return centering;
    throw new Error(`${what}: expected one Sinkhorn iteration or more, got ${iterations}`);
  }
  expectShape(`${what} center`, centering, centering.shape.length === 2 ? [1, cols] : [cols]);
  return { ...centering, shape: [cols] };
}

/** Normalization statistics and entropies of the rows of softmax((teacher - center) / temperature). */
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
 * Returns the targets softmax((teacher - center) / temperature), by chunk, and their entropies [rows].
 *
 * Sinkhorn-Knopp alternately scales the columns of exp(teacher / temperature) to equal sums and its rows to the sum 1. The
 * result is diag(u) exp(teacher / temperature) diag(v), which is the softmax with center = -temperature * log v. So it only
 * computes a center, in one pass over the teacher's rows per iteration, by chunk.
 */
export function sharpen(
  teacher: Logits,
  centering: Centering,
  temperature: Tensor,
  chunks: readonly Chunk[],
): { readonly targetsOf: (chunk: Chunk) => Tensor; readonly entropies: Tensor } {
  const { rows, cols } = logitsAxes("teacher", teacher);
  const teacherOf = cacheSingleChunk(chunks, (chunk) => logitsOf(teacher, chunk));

  /** Computes the statistics of all rows; `centerOf` returns the center of a chunk, given its columns x. */
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

  /** Runs one iteration of Sinkhorn-Knopp: balances the columns of rows normalised by `statistics`, then normalises the rows. */
  const balance = (all: Tensor, { gather, present }: Sinkhorn): Centered => {
    const statistics = present ? selectRows(constant([1, 2], ABSENT), all, present) : all;
    const center = transient([cols]);
    const normalised = normalise((chunk, x) => {
      const part = columnsOf(center, chunk);
      const own = gather ? transient([chunk.cols]) : part;
      balancing({ x, temperature, statistics, center: own }, { ROWS: rows, COLS: chunk.cols }, elementGrid(chunk.cols));
      if (!gather) return part;
      const gathered = gather(own); // log-sums of devices are combined like those of rows
      const devices = gathered.shape[0]!;
      balancing(
        { x: gathered, temperature, statistics: identityStatistics(devices), center: part },
        { ROWS: devices, COLS: chunk.cols },
        elementGrid(chunk.cols),
      );
      return part;
    });
    return { center, ...normalised };
  };

  const sinkhorn = (options: Sinkhorn): Centered => {
    let found = balance(identityStatistics(rows), options);
    for (let i = 1; i < options.iterations; i++) found = balance(found.statistics, options);
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

/**
 * Statistics of a row that adds nothing to the sum of a column: its largest element is beyond all logits, yet finite when divided by a
 * temperature. Where no row is present, the center is as far below, and remains so with those of other devices.
 */
const ABSENT = [1e20, 1];

/** Identity statistics, max 0 and sum 1: [rows, 2]. */
function identityStatistics(rows: number): Tensor {
  return repeat(constant([2], [0, 1]), [rows, 2]);
}

/** Returns the columns of a chunk: [cols] -> [chunk's cols]. */
function columnsOf(x: Tensor, { first, cols }: Chunk): Tensor {
  return rowsOf(x, first, cols);
}
