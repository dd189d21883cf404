import { expect } from "chai";
import { rng, type Rng } from "../../../dino/math/random.js";
import type { Device } from "../../../engine/core/device.js";
import { fill, gradients, input, type Input, mul, record, sum, type Tensor } from "../../../engine/index.js";
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

/** Values for a row: its inputs, the output that the reference makes of them, and a weight for each element of that. */
export interface DrawnRow {
  readonly inputs: readonly Values[];
  readonly expected: Values;
  readonly weight: Float64Array;
  /** For further draws. */
  readonly random: Rng;
}

/** Draws values for a row, always the same. */
export function drawRow(row: OpRow): DrawnRow {
  const random = rng({ seed: 7, purpose: "op table" });
  const draw = row.draw ?? ((r: Rng) => r.normal());
  const inputs: Values[] = row.inputs.map((shape, i) => {
    const size = shape.reduce((a, b) => a * b, 1);
    return { shape, data: Float64Array.from({ length: size }, () => Math.fround(draw(random, i))) };
  });
  const expected = row.ref(...inputs);
  const weight = Float64Array.from(expected.data, () => Math.fround(random.normal()));
  return { inputs, expected, weight, random };
}

/** A row recorded on a device: its forward, and the gradients of sum(output * weight). */
export interface RecordedRow extends Disposable {
  readonly inputs: readonly Input[];
  readonly weight: Input;
  /** Shape of the output. */
  readonly shape: readonly number[];
  /** Positions of the inputs that have gradients. */
  readonly trained: readonly number[];
  /** Runs the row; `gradients` are in the order of `trained`. */
  readonly run: () => Promise<{ readonly y: Float32Array; readonly gradients: readonly Float32Array[] }>;
}

/** Records a row on a device, with the drawn values as its inputs. */
export async function recordRow(row: OpRow, device: Device, drawn: DrawnRow): Promise<RecordedRow> {
  const owned: Disposable[] = [];
  const dispose = () => owned.forEach((each) => each[Symbol.dispose]());
  const upload = ({ shape, data }: Values): Input => {
    const x = input(device, shape);
    owned.push(x);
    x.write(data);
    return x;
  };
  try {
    const inputs = drawn.inputs.map(upload);
    const weight = upload({ shape: drawn.expected.shape, data: drawn.weight });
    const trained = [...inputs.keys()].filter((i) => !row.fixed?.includes(i));
    const variables = trained.map((i) => inputs[i]!);
    let shape: readonly number[] = [];
    const program = await record(device, () => {
      const y = row.gpu(...inputs);
      shape = y.shape;
      const found = gradients(sum(mul(y, weight)), fill([], 1), variables);
      const outputs: Record<string, Tensor> = { y };
      found.forEach((g, n) => (outputs[`gradient ${n}`] = g ?? fail(`no gradient for input ${trained[n]}`)));
      return outputs;
    });
    owned.push(program);
    const run = async () => {
      await program.run();
      const y = await program.read("y");
      const all: Float32Array[] = [];
      for (const n of trained.keys()) all.push(await program.read(`gradient ${n}`));
      return { y, gradients: all };
    };
    return { inputs, weight, shape, trained, run, [Symbol.dispose]: dispose };
  } catch (error) {
    dispose();
    throw error;
  }
}

/**
 * Compares the forward with the float64 reference, and the gradient of sum(output * weight) with central differences of
 * the reference: at some coordinates and along a random direction through all of them.
 */
export async function checkOp(row: OpRow, device: Device): Promise<void> {
  const [forwardTolerance, gradientTolerance] = row.tolerance ?? [1e-5, 1e-4];
  const drawn = drawRow(row);
  using recorded = await recordRow(row, device, drawn);
  const { trained } = recorded;
  const found = await recorded.run();
  expect(recorded.shape, "shape").to.deep.equal(drawn.expected.shape);
  expectClose("forward", found.y, drawn.expected.data, forwardTolerance);

  let differences = differencesOf.get(row);
  if (differences === undefined)
    differencesOf.set(row, (differences = trained.map((which) => differentiate(row, drawn, which))));
  trained.forEach((which, n) => {
    const analytic = found.gradients[n]!;
    const { coordinates, atCoordinates, signs, alongSigns } = differences[n]!;
    const largest = analytic.reduce((most, g) => Math.max(most, Math.abs(g)), 1e-12);
    coordinates.forEach((c, k) => {
      expect(
        Math.abs(analytic[c]! - atCoordinates[k]!) / largest,
        `gradient of input ${which} at ${c}: ${analytic[c]} against ${atCoordinates[k]}`,
      ).to.be.below(gradientTolerance);
    });
    const mine = analytic.reduce((s, g, i) => s + g * signs[i]!, 0);
    const scale = analytic.reduce((s, g) => s + Math.abs(g), 1e-12);
    expect(Math.abs(mine - alongSigns) / scale, `gradient of input ${which} along a direction`).to.be.below(
      gradientTolerance,
    );
  });
}

function differentiate(row: OpRow, { inputs, weight, random }: DrawnRow, which: number): Differences {
  const objective = (values: readonly Values[]) => row.ref(...values).data.reduce((s, v, i) => s + v * weight[i]!, 0);
  const along = (move: (x: Float64Array, by: number) => void): number => {
    const moved = (by: number) =>
      inputs.map((v, i) => {
        if (i !== which) return v;
        const data = v.data.slice();
        move(data, by);
        return { shape: v.shape, data };
      });
    return (objective(moved(STEP)) - objective(moved(-STEP))) / (2 * STEP);
  };
  const { data } = inputs[which]!;
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
