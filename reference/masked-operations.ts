/** Float64 forwards of the operations on masked patches. */
import { logSoftmax, rowsOf, scale, sharpened, sinkhorn, type Values, values } from "./operations.js";

/** Sum of the cross-entropies -sum(q * log softmax(student / temperature)) of the rows, times their weights. */
const weightedLoss = (student: Values, q: Values, weights: Values, studentTemperature: number): Values => {
  const { cols } = rowsOf(student);
  const logP = logSoftmax(scale(1 / studentTemperature)(student));
  let loss = 0;
  q.data.forEach((target, i) => (loss -= weights.data[Math.floor(i / cols)]! * target * logP.data[i]!));
  return values([], () => loss);
};

export const maskedDistillation =
  (studentTemperature: number) =>
  (student: Values, teacher: Values, center: Values, temperature: Values, weights: Values): Values =>
    weightedLoss(student, sharpened(teacher, center, temperature), weights, studentTemperature);

/** Sinkhorn-Knopp over the rows with a weight; the others have no targets. */
export const maskedSinkhornDistillation =
  (studentTemperature: number, iterations: number) =>
  (student: Values, teacher: Values, temperature: Values, weights: Values): Values => {
    const { cols } = rowsOf(teacher);
    const kept = [...weights.data.keys()].filter((row) => weights.data[row] !== 0);
    const q = sinkhorn(iterations)(
      values([kept.length, cols], (i) => teacher.data[kept[Math.floor(i / cols)]! * cols + (i % cols)]!),
      temperature,
    );
    const targets = values(teacher.shape, (i) => {
      const place = kept.indexOf(Math.floor(i / cols));
      return place < 0 ? 0 : q.data[place * cols + (i % cols)]!;
    });
    return weightedLoss(student, targets, weights, studentTemperature);
  };

/** Mean of the rows with a weight. */
export const meanOfMasked = (x: Values, weights: Values): Values => {
  const { rows, cols } = rowsOf(x);
  const kept = [...weights.data.keys()].filter((row) => weights.data[row] !== 0);
  return values([cols], (c) => {
    let sum = 0;
    for (let row = 0; row < rows; row++) if (kept.includes(row)) sum += x.data[row * cols + c]!;
    return sum / kept.length;
  });
};
