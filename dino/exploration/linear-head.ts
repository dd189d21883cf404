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
export function linearVotes(features: FeatureRows, { rows, labels, classes }: GivenLabels): Float64Array {
  const count = rows.length;
  const width = features.dim + 1;
  const inputs = Array.from(rows, (row) => inputOf(features, row));
  const gram = Matrix.from1DArray(width, width, gramOf(inputs, width));
  const sums = Array.from({ length: classes }, () => new Float64Array(width)); // of the inputs of each class
  for (const [i, input] of inputs.entries()) input.forEach((value, c) => (sums[labels[i]!]![c]! += value));

  let best:
    { readonly loss: number; readonly temperature: number; weights: Float64Array[]; leftOut: number[][] } | undefined;
  for (const penalty of PENALTIES) {
    const penalised = gram.clone().add(Matrix.eye(width).mul(penalty * count));
    const inverse = Float64Array.from(new CholeskyDecomposition(penalised).solve(Matrix.eye(width)).to1DArray());
    const weights = sums.map((sum) => product(inverse, sum));
    const leftOut = inputs.map((input, i) => {
      const rest = 1 - Math.min(dot(input, product(inverse, input)), MAX_LEVERAGE);
      return weights.map((weight, c) => {
        const target = labels[i] === c ? 1 : 0;
        return target - (target - dot(input, weight)) / rest;
      });
    });
    for (const temperature of TEMPERATURES) {
      let loss = 0;
      for (let i = 0; i < count; i++) loss -= Math.log(softmax(leftOut[i]!, temperature)[labels[i]!]! + 1e-12);
      if (best === undefined || loss < best.loss) best = { loss, temperature, weights, leftOut };
    }
  }
  const { temperature, weights, leftOut } = best!;
  const votes = new Float64Array(features.rows * classes);
  for (let row = 0; row < features.rows; row++) {
    const input = inputOf(features, row);
    const scores = weights.map((weight) => dot(input, weight));
    votes.set(softmax(scores, temperature), row * classes);
  }
  for (const [i, row] of rows.entries()) votes.set(softmax(leftOut[i]!, temperature), row * classes);
  return votes;
}

/** Returns the features of an image and a 1 for the bias: [dim + 1]. */
function inputOf({ values, dim }: FeatureRows, row: number): Float64Array {
  const input = new Float64Array(dim + 1).fill(1);
  input.set(values.subarray(row * dim, (row + 1) * dim));
  return input;
}

/** Sums the products of all pairs of numbers of each input: [count, width] -> [width, width]. */
function gramOf(inputs: readonly Float64Array[], width: number): Float64Array {
  const gram = new Float64Array(width * width);
  for (const input of inputs) {
    for (let a = 0; a < width; a++) {
      const value = input[a]!;
      for (let b = 0; b < width; b++) gram[a * width + b]! += value * input[b]!;
    }
  }
  return gram;
}

/** Multiplies a symmetric matrix with a vector: [width, width], [width] -> [width]. */
function product(matrix: Float64Array, vector: Float64Array): Float64Array {
  const width = vector.length;
  const out = new Float64Array(width);
  for (let a = 0; a < width; a++) {
    let sum = 0;
    for (let b = 0; b < width; b++) sum += matrix[a * width + b]! * vector[b]!;
    out[a] = sum;
  }
  return out;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let c = 0; c < a.length; c++) sum += a[c]! * b[c]!;
  return sum;
}

function softmax(scores: readonly number[], temperature: number): readonly number[] {
  const most = Math.max(...scores);
  const powers = scores.map((score) => Math.exp((score - most) / temperature));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}
