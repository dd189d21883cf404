/** Compares results with the float64 reference. */
import { sizeOf } from "../../engine/index.js";
import * as reference from "../../reference/operations.js";
import type { Values } from "../../reference/operations.js";
import type { BenchRow, HostTensor } from "./row.js";

type Reference = (...inputs: Values[]) => Values;

/** The number of entries that are compared. */
const SAMPLES = 4;

/** Compares a few entries of the first axis; each must depend on the same entry of the first input only. */
export function rowwise(ref: Reference, samples = SAMPLES): BenchRow["check"] {
  return ([x, ...others], result) => {
    const rows = sample(x!.shape[0]!, samples);
    return deviation(take(result, rows), ref(take(x!, rows), ...others.map(toFloat64)));
  };
}

/** Compares a few entries of the gradient of sum(y * dy) with respect to the first input; dy is the last input. */
export function gradientRowwise(ref: Reference, samples = SAMPLES): BenchRow["check"] {
  return (inputs, result) => {
    const [x, ...rest] = inputs;
    const rows = sample(x!.shape[0]!, samples);
    const others = rest.slice(0, -1).map(toFloat64);
    const dy = take(rest.at(-1)!, rows);
    return gradientDeviation(take(result, rows), take(x!, rows), (moved) => dot(ref(moved, ...others).data, dy.data));
  };
}

/** The step of central differences. */
const STEP = 1e-5;

/** Compares a gradient with central differences of the objective, along its steepest axis and along one other direction. */
export function gradientDeviation(found: Values, point: Values, objective: (x: Values) => number): number {
  const along = (direction: Float64Array) => {
    const moved = (sign: number) => ({ ...point, data: point.data.map((v, i) => v + sign * STEP * direction[i]!) });
    return (objective(moved(1)) - objective(moved(-1))) / (2 * STEP);
  };
  const steepest = found.data.reduce((best, v, i) => (Math.abs(v) > Math.abs(found.data[best]!) ? i : best), 0);
  const axis = found.data.map((_, i) => (i === steepest ? 1 : 0));
  const signs = found.data.map((_, i) => (i % 3 === 0 ? 1 : -1));
  const everywhere = found.data.reduce((total, v) => total + Math.abs(v), 1e-12);
  const worst = Math.max(
    Math.abs(along(axis) / found.data[steepest]! - 1),
    Math.abs(along(signs) - dot(signs, found.data)) / everywhere,
  );
  return Number.isFinite(worst) ? worst : Infinity;
}

function dot(a: Float64Array, b: Float64Array): number {
  return a.reduce((total, v, i) => total + v * b[i]!, 0);
}

/** Picks evenly spaced entries of an axis, the first and the last included. */
export function sample(size: number, samples = SAMPLES): number[] {
  const count = Math.min(size, samples);
  return Array.from({ length: count }, (_, i) => (count === 1 ? size - 1 : Math.round((i * (size - 1)) / (count - 1))));
}

/** Converts a tensor to float64. */
export function toFloat64({ shape, data }: HostTensor): Values {
  return { shape, data: Float64Array.from(data) };
}

/** Takes entries of the first axis. */
export function take({ shape, data }: HostTensor, rows: readonly number[]): Values {
  const inner = sizeOf(shape.slice(1));
  const taken = new Float64Array(rows.length * inner);
  rows.forEach((row, i) => taken.set(data.subarray(row * inner, (row + 1) * inner), i * inner));
  return { shape: [rows.length, ...shape.slice(1)], data: taken };
}

/** Takes entries of the last axis. */
export function columns({ shape, data }: HostTensor, indices: readonly number[]): Values {
  const cols = shape.at(-1)!;
  return reference.values([...shape.slice(0, -1), indices.length], (i) => {
    return data[Math.floor(i / indices.length) * cols + indices[i % indices.length]!]!;
  });
}

/** Returns the largest difference over the largest expected value; infinite if a number is not finite. */
export function deviation(found: Values, expected: Values): number {
  const largest = expected.data.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-12);
  let worst = 0;
  expected.data.forEach((v, i) => {
    const d = Math.abs(found.data[i]! - v) / largest;
    worst = Number.isFinite(d) ? Math.max(worst, d) : Infinity;
  });
  return worst;
}
