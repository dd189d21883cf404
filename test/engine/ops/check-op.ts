import { expect } from "chai";
import { rng, type Rng } from "../../../dino/math/random.js";
import type { Device } from "../../../engine/core/device.js";
import { evaluate, fill, gradients, input, type Input, mul, sum, type Tensor } from "../../../engine/index.js";
import type { Values } from "../../../reference/operations.js";

/** One line of the op table: a GPU function, its float64 reference and the shapes to try it on. */
export interface OpRow {
  readonly op: string;
  readonly gpu: (...inputs: Tensor[]) => Tensor;
  readonly ref: (...inputs: Values[]) => Values;
  readonly inputs: readonly (readonly number[])[];
  /** Draws an element of an input; by default standard normal. */
  readonly draw?: (rng: Rng, input: number) => number;
  /** Inputs without a gradient. */
  readonly fixed?: readonly number[];
  /** Tolerances relative to the largest expected value: [forward, gradient], default [1e-5, 1e-4]. */
  readonly tolerance?: readonly [number, number];
}

/** Coordinates of an input whose derivative is checked one by one (fewer in large rows); the others only along a direction. */
const COORDINATES = { usual: 12, large: 2 };
const LARGE = 1e5;

const STEP = 1e-5;

/** Central differences of sum(output * weight) by one input: at some of its coordinates, and along random signs. */
interface Differences {
  readonly coordinates: readonly number[];
  readonly atCoordinates: readonly number[];
  readonly signs: Int8Array;
  readonly alongSigns: number;
}

/** The differences of each trained input: they depend on the row alone, and a row is checked on several sets of kernels. */
const differencesOf = new WeakMap<OpRow, readonly Differences[]>();

/**
 * Compares the forward with the float64 reference, and the gradient of sum(output * weight) with central differences of
 * the reference: at some coordinates and along a random direction through all of them.
 */
export async function checkOp(row: OpRow, device: Device): Promise<void> {
  const random = rng({ seed: 7, purpose: "op table" });
  const [forwardTolerance, gradientTolerance] = row.tolerance ?? [1e-5, 1e-4];
  const draw = row.draw ?? ((r: Rng) => r.normal());
  const host: Values[] = row.inputs.map((shape, i) => {
    const size = shape.reduce((a, b) => a * b, 1);
    return { shape, data: Float64Array.from({ length: size }, () => Math.fround(draw(random, i))) };
  });
  const expected = row.ref(...host);
  const weight = Float64Array.from(expected.data, () => Math.fround(random.normal()));
  const tensors: Input[] = [];
  try {
    for (const { shape, data } of host) {
      const x = input(device, shape);
      x.write(data);
      tensors.push(x);
    }
    const w = input(device, expected.shape);
    w.write(weight);
    tensors.push(w);
    const inputs = tensors.slice(0, -1);
    const trained = inputs.filter((_, i) => !row.fixed?.includes(i));
    let shape: readonly number[] = [];
    const found = await evaluate(device, () => {
      const y = row.gpu(...inputs);
      shape = y.shape;
      const grads = gradients(sum(mul(y, w)), fill([], 1), trained);
      const outputs: Record<string, Tensor> = { y };
      grads.forEach((g, i) => (outputs[`grad${i}`] = g ?? fail(`no gradient for input ${i}`)));
      return outputs;
    });
    expect(shape, "shape").to.deep.equal(expected.shape);
    expectClose("forward", found["y"]!, expected.data, forwardTolerance);

    let differences = differencesOf.get(row);
    if (differences === undefined) {
      const which = trained.map((x) => inputs.indexOf(x));
      differencesOf.set(
        row,
        (differences = which.map((position) => differentiate(row, host, position, weight, random))),
      );
    }
    trained.forEach((x, j) => {
      const which = inputs.indexOf(x);
      const analytic = found[`grad${j}`]!;
      const { coordinates, atCoordinates, signs, alongSigns } = differences[j]!;
      const largest = analytic.reduce((most, g) => Math.max(most, Math.abs(g)), 1e-12);
      coordinates.forEach((c, n) => {
        expect(
          Math.abs(analytic[c]! - atCoordinates[n]!) / largest,
          `gradient of input ${which} at ${c}: ${analytic[c]} against ${atCoordinates[n]}`,
        ).to.be.below(gradientTolerance);
      });
      const mine = analytic.reduce((s, g, i) => s + g * signs[i]!, 0);
      const scale = analytic.reduce((s, g) => s + Math.abs(g), 1e-12);
      expect(Math.abs(mine - alongSigns) / scale, `gradient of input ${which} along a direction`).to.be.below(
        gradientTolerance,
      );
    });
  } finally {
    for (const x of tensors) x[Symbol.dispose]();
  }
}

function differentiate(
  row: OpRow,
  host: readonly Values[],
  which: number,
  weight: Float64Array,
  random: Rng,
): Differences {
  const objective = (values: readonly Values[]) => row.ref(...values).data.reduce((s, v, i) => s + v * weight[i]!, 0);
  const along = (move: (x: Float64Array, by: number) => void): number => {
    const moved = (by: number) =>
      host.map((v, i) => {
        if (i !== which) return v;
        const data = v.data.slice();
        move(data, by);
        return { shape: v.shape, data };
      });
    return (objective(moved(STEP)) - objective(moved(-STEP))) / (2 * STEP);
  };
  const { data } = host[which]!;
  const count = weight.length > LARGE ? COORDINATES.large : COORDINATES.usual;
  const coordinates =
    data.length <= count ? [...data.keys()] : Array.from({ length: count }, () => random.integer(data.length));
  const signs = Int8Array.from(data, () => (random.uniform() < 0.5 ? -1 : 1));
  return {
    coordinates,
    signs,
    atCoordinates: coordinates.map((c) => along((x, by) => (x[c] = x[c]! + by))),
    alongSigns: along((x, by) => x.forEach((_, i) => (x[i] = x[i]! + by * signs[i]!))),
  };
}

function expectClose(what: string, actual: Float32Array, expected: Float64Array, tolerance: number): void {
  const largest = expected.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-12);
  let worst = 0;
  let where = -1;
  expected.forEach((v, i) => {
    const deviation = Math.abs(actual[i]! - v) / largest;
    if (!(deviation <= worst)) [worst, where] = [deviation, i];
  });
  expect(worst, `${what}: at ${where} ${actual[where]} against ${expected[where]}`).to.be.below(tolerance);
}

function fail(message: string): never {
  throw new Error(message);
}
