import { elementGrid, grid, kernel } from "../core/kernel.js";
import { differentiable, transient } from "../core/recording.js";
import { axes, sizeOf, type Tensor } from "../core/tensor.js";

const forward = kernel("cross-entropy", {
  reads: ["x", "labels"],
  writes: ["losses", "logTotals"],
  constants: ["ROWS", "COLS", "EACH"],
});
const backward = kernel("cross-entropy-backward", {
  reads: ["x", "labels", "logTotals", "dy"],
  writes: ["dx"],
  constants: ["COLS", "EACH"],
});
const ranking = kernel("label-rank", {
  reads: ["x", "labels"],
  writes: ["ranks"],
  constants: ["ROWS", "COLS", "EACH"],
});

/**
 * The cross-entropy -log softmax(x)[label] of each row: x [batch, ..., classes], labels [batch] in u32, each below `classes`
 * and shared by all rows of its batch entry -> [batch, ...]. As torch.nn.functional.cross_entropy without its mean.
 */
export function crossEntropy(x: Tensor, labels: Tensor): Tensor {
  const constants = rowsWithLabels("crossEntropy", x, labels);
  const losses = transient(x.shape.slice(0, -1));
  const logTotals = transient(losses.shape);
  forward({ x, labels, losses, logTotals }, constants, grid(constants.ROWS));
  return differentiable(losses, [x], (dy) => {
    const dx = transient(x.shape);
    backward({ x, labels, logTotals, dy, dx }, constants, elementGrid(sizeOf(x.shape)));
    return [dx];
  });
}

/**
 * Rank of the labelled class: the number of classes with a higher score, or an equal score and a lower index.
 * x [batch, ..., classes], labels [batch] in u32, as for `crossEntropy` -> [batch, ...]. Not differentiable.
 */
export function labelRank(x: Tensor, labels: Tensor): Tensor {
  const constants = rowsWithLabels("labelRank", x, labels);
  const ranks = transient(x.shape.slice(0, -1));
  ranking({ x, labels, ranks }, constants, grid(constants.ROWS));
  return ranks;
}

/** Returns the rows of scores, and the rows per label. Throws if the batches differ. */
function rowsWithLabels(what: string, x: Tensor, labels: Tensor): Readonly<Record<"ROWS" | "COLS" | "EACH", number>> {
  const { rows, classes } = axes(`${what} x`, x, "...rows", "classes");
  const { batch } = axes(`${what} labels`, labels, "batch");
  if (x.shape.length < 2 || x.shape[0] !== batch) {
    throw new Error(`${what}: expected x [${batch}, ..., classes] for ${batch} labels, got [${x.shape.join(", ")}]`);
  }
  if (labels.dtype !== "u32") throw new Error(`${what} labels: expected u32, got ${labels.dtype}`);
  return { ROWS: rows, COLS: classes, EACH: rows / batch };
}
