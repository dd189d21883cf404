import { expect } from "chai";
import fc from "fast-check";
import { rng } from "../../../dino/math/random.js";
import type { Device } from "../../../engine/core/device.js";
import {
  add,
  batchNorm,
  evaluate,
  fill,
  gelu,
  gradients,
  input,
  type Input,
  layernorm,
  linear,
  mul,
  record,
  recompute,
  sizeOf,
  softmax,
  stopGradient,
  sum,
  type Tensor,
} from "../../../engine/index.js";
import { testDevice } from "../../support/device.js";
import { rejection } from "../../support/rejection.js";

const ROWS = 6;
const COLS = 8;

/** How a stretch of the network is computed: as it stands, or again for the gradients. */
type Wrap = (fn: () => Tensor) => Tensor;

const asItStands: Wrap = (fn) => fn();

describe("recompute", () => {
  let device: Device;
  let x: Input;
  let weight: Input;
  let gain: Input;
  before(async () => {
    device = await testDevice();
    const random = rng({ seed: 9, purpose: "recompute test" });
    const normal = (...shape: number[]): Input => {
      const tensor = input(device, shape);
      tensor.write(Float32Array.from({ length: sizeOf(shape) }, () => random.normal()));
      return tensor;
    };
    [x, weight, gain] = [normal(ROWS, COLS), normal(COLS, COLS), normal(COLS)];
  });
  after(() => [x, weight, gain].forEach((tensor) => tensor[Symbol.dispose]()));

  /** Layers that share their parameters; each takes the last tensor and one that may lie far back. */
  const layers: readonly ((y: Tensor, far: Tensor) => Tensor)[] = [
    (y) => add(y, gelu(linear(layernorm(y, gain, stopGradient(gain)), weight))),
    (y, far) => mul(softmax(y), far),
    (y, far) => add(gelu(far), linear(y, weight)),
    (y) => add(y, y),
    (y, far) => add(far, stopGradient(y)),
    (y) => y,
    (_, far) => far,
  ];

  const layer = (made: readonly Tensor[], [which, far]: readonly [number, number]) =>
    layers[which % layers.length]!(made.at(-1)!, made[far % made.length]!);

  /** Loss and all gradients of a chain of layers, of which `wrap` computes the stretches that `lengths` cut it into. */
  const lossAndGradients = (choices: readonly (readonly [number, number])[], lengths: readonly number[], wrap: Wrap) =>
    evaluate(device, () => {
      const made: Tensor[] = [x];
      for (let start = 0, i = 0; start < choices.length; i++) {
        const stretch = choices.slice(start, (start += lengths[i % lengths.length]!));
        const before = [...made];
        const run = () => stretch.reduce((all, choice) => [...all, layer(all, choice)], before).at(-1)!;
        made.push(wrap(run));
      }
      const loss = sum(mul(made.at(-1)!, x));
      const found = gradients(loss, fill([], 1), [x, weight, gain]);
      return { loss, ...Object.fromEntries(found.flatMap((dx, i) => (dx ? [[`gradient ${i}`, dx]] : []))) };
    });

  const chains = fc.array(fc.tuple(fc.nat(), fc.nat()), { minLength: 1, maxLength: 8 });
  const cuts = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 });

  it("gives the same loss, bit for bit, and the same gradients for any chain and any stretches, also nested", async () => {
    const nested: Wrap = (fn) => recompute(() => recompute(fn));
    await fc.assert(
      fc.asyncProperty(chains, cuts, fc.boolean(), async (choices, lengths, deep) => {
        const expected: Record<string, Float32Array> = await lossAndGradients(choices, lengths, asItStands);
        const found: Record<string, Float32Array> = await lossAndGradients(choices, lengths, deep ? nested : recompute);
        expect(Object.keys(found)).to.deep.equal(Object.keys(expected));
        expect(found["loss"]).to.deep.equal(expected["loss"]);
        for (const [name, values] of Object.entries(expected)) {
          // a tensor used inside and outside has its gradients added in another order
          const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-12);
          values.forEach((value, i) => expect(Math.abs(found[name]![i]! - value) / largest, name).to.be.below(1e-5));
        }
      }),
      { numRuns: 25 },
    );
  });

  it("keeps what goes into each stretch alone", async () => {
    const [stretches, width] = [8, 40];
    const wide = (fn: Wrap) => () => {
      let y: Tensor = x;
      for (let i = 0; i < stretches; i++) {
        const before = y;
        y = fn(() => {
          let z = before;
          for (let index = 0; index < width; index++) z = gelu(z);
          return z;
        });
      }
      return { dx: gradients(sum(y), fill([], 1), [x])[0]! };
    };
    using whole = await record(device, wide(asItStands));
    using again = await record(device, wide(recompute));
    const tensor = 4 * ROWS * COLS;
    expect(whole.lowerBoundBytes).to.be.within(stretches * width * tensor, (stretches * width + 4) * tensor);
    expect(again.lowerBoundBytes).to.be.within((stretches + width - 2) * tensor, (stretches + width + 4) * tensor);
    expect(again.bytes).to.equal(again.lowerBoundBytes); // all tensors are of one size
  });

  it("leaves the tape as it was where the function throws", async () => {
    const { dx } = await evaluate(device, () => {
      const y = mul(x, x);
      expect(() =>
        recompute(() => {
          throw new Error("none");
        }),
      ).to.throw("none");
      return { dx: gradients(sum(y), fill([], 1), [x])[0]! };
    });
    const { twice } = await evaluate(device, () => ({ twice: add(x, x) }));
    expect(dx).to.deep.equal(twice);
  });

  it("refuses a function that changes what outlives it", async () => {
    using average = input(device, [COLS], { label: "running mean" });
    const statistics = { runningMean: average, runningVariance: average };
    const message = await rejection(
      record(device, () => ({ y: recompute(() => batchNorm(x, gain, gain, statistics)) })),
    );
    expect(message).to.equal(
      "recompute: moving-average writes average (running mean), which outlives the function and would be written " +
        "by its second run too; leave that outside of it",
    );
  });

  it("refuses gradients of its gradients, which it could not give", async () => {
    const message = await rejection(
      record(device, () => {
        const [dx] = gradients(sum(recompute(() => mul(mul(x, x), x))), fill([], 1), [x]);
        return { second: gradients(sum(dx!), fill([], 1), [x])[0]! };
      }),
    );
    expect(message).to.equal("recompute: second gradients are not supported; call the function without recompute");
  });
});
