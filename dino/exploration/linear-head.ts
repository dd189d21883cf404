/** A linear classifier of few labelled images, in closed form: ridge regression on one-hot labels. */
import { CholeskyDecomposition, Matrix } from "ml-matrix";
import type { FeatureRows } from "../math/feature-rows.js";
import type { GivenLabels } from "./given-labels.js";

/** Strengths of the penalty, relative to the number of labelled images, of which the best is taken. */
const PENALTIES = [1e-4, 1e-3, 1e-2, 1e-1];
/** Temperatures of the softmax of the scores, of which the best is taken. */
const TEMPERATURES = [0.02, 0.05, 0.1, 0.2, 0.5, 1];
/** Leverage at which the leave-one-out score would divide by 0. */
const MAX_LEVERAGE = 1 - 1e-9;

/**
 * Returns the probability of each class: [rows, classes]. Those of labelled images are of a head trained without the
 * image; penalty and temperature have the lowest cross-entropy of these. Penalties apply to the bias, too.
 *
 * The leave-one-out score of image i is y - (y - score) / (1 - leverage), exact for ridge regression: Hastie, Tibshirani
 * and Friedman, The Elements of Statistical Learning, 7.10.1.
 */
export function linearVotes(features: FeatureRows, given: GivenLabels): Float64Array {
  const { rows, labels, classes } = given;
  const count = rows.length;
  const inputs = new Matrix(count, features.dim + 1); // [count, dim + 1], the last column is the bias
  for (const [i, row] of rows.entries()) inputs.setRow(i, inputOf(features, row));
  const targets = Matrix.zeros(count, classes);
  for (const [i, label] of labels.entries()) targets.set(i, label, 1);
  const transposed = inputs.transpose();
  const gram = transposed.mmul(inputs); // [dim + 1, dim + 1]
  const products = transposed.mmul(targets); // [dim + 1, classes]

  let best: { readonly loss: number; readonly temperature: number; weights: Matrix; leftOut: Matrix } | undefined;
  for (const penalty of PENALTIES) {
    const penalised = gram.clone();
    for (let c = 0; c <= features.dim; c++) penalised.set(c, c, penalised.get(c, c) + penalty * count);
    const solver = new CholeskyDecomposition(penalised);
    const weights = solver.solve(products); // [dim + 1, classes]
    const hat = solver.solve(transposed); // [dim + 1, count]
    const leftOut = inputs.mmul(weights); // [count, classes]
    for (let i = 0; i < count; i++) {
      let leverage = 0;
      for (let c = 0; c <= features.dim; c++) leverage += inputs.get(i, c) * hat.get(c, i);
      const rest = 1 - Math.min(leverage, MAX_LEVERAGE);
      for (let j = 0; j < classes; j++) {
        const target = targets.get(i, j);
        leftOut.set(i, j, target - (target - leftOut.get(i, j)) / rest);
      }
    }
    for (const temperature of TEMPERATURES) {
      let loss = 0;
      for (let i = 0; i < count; i++) loss -= Math.log(softmax(leftOut.getRow(i), temperature)[labels[i]!]! + 1e-12);
      if (best === undefined || loss < best.loss) best = { loss, temperature, weights, leftOut };
    }
  }
  const { temperature, weights, leftOut } = best!;
  const all = new Float64Array(features.rows * classes);
  const product = weights.transpose(); // [classes, dim + 1]
  for (let row = 0; row < features.rows; row++) {
    const input = inputOf(features, row);
    const scores = Array.from({ length: classes }, (_, j) =>
      input.reduce((sum, value, c) => sum + value * product.get(j, c), 0),
    );
    all.set(softmax(scores, temperature), row * classes);
  }
  for (const [i, row] of rows.entries()) all.set(softmax(leftOut.getRow(i), temperature), row * classes);
  return all;
}

/** Returns the features of an image and a 1 for the bias. */
function inputOf({ values, dim }: FeatureRows, row: number): readonly number[] {
  return [...values.subarray(row * dim, (row + 1) * dim), 1];
}

function softmax(scores: readonly number[], temperature: number): readonly number[] {
  const most = Math.max(...scores);
  const powers = scores.map((score) => Math.exp((score - most) / temperature));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}
