import { expect } from "chai";
import {
  adamw,
  createParams,
  type Gradients,
  lars,
  type Layout,
  layoutOf,
  type Optimizer,
  type Params,
  type ParamSpec,
  record,
  scalars,
  sgd,
} from "../../engine/index.js";
import { testDevice } from "../support/device.js";
import { golden, type GoldenTensors, relmax } from "./golden.js";

interface Run {
  readonly norm_last_layer: boolean;
  readonly freeze_last_layer: number;
  readonly regularized: readonly string[];
  readonly not_regularized: readonly string[];
  readonly steps: readonly {
    readonly step: number;
    readonly epoch: number;
    readonly lr: number;
    readonly weight_decay: number;
    readonly grad_none: readonly string[];
  }[];
  readonly hyper: {
    readonly betas?: readonly [number, number];
    readonly eps?: number;
    readonly momentum?: number;
    readonly eta?: number;
  };
}

interface Clipping {
  readonly clip: number;
  readonly names: readonly string[];
  readonly norms: readonly number[];
  readonly clipped: readonly string[];
}

interface Cancelling {
  readonly epoch: number;
  readonly freeze_last_layer: number;
  readonly cancelled: readonly string[];
}

interface Optimizers {
  readonly runs: Readonly<Record<string, Run>>;
  readonly clip_gradients: readonly Clipping[];
  readonly cancel_gradients_last_layer: readonly Cancelling[];
}

const { runs, clip_gradients, cancel_gradients_last_layer } = golden.json<Optimizers>("optimizer");

const freezes = ({ name }: ParamSpec): boolean => name.includes("last_layer");

/** Gradient value for parameters without an official gradient; must not matter. */
const NOT_A_GRADIENT = 1000;

function createOptimizer(kind: string, params: Params, { hyper }: Run): Optimizer {
  switch (kind) {
    case "adamw": {
      const [beta1, beta2] = hyper.betas!;
      return adamw(params, { freezes, beta1, beta2, epsilon: hyper.eps! });
    }
    case "sgd":
      return sgd(params, { freezes, momentum: hyper.momentum! });
    case "lars":
      return lars(params, { freezes, momentum: hyper.momentum!, eta: hyper.eta! });
    default:
      throw new Error(`optimizers: no optimizer "${kind}"`);
  }
}

function layoutIn(tensors: GoldenTensors, prefix: string, trainable: (name: string) => boolean): Layout {
  const names = tensors.names.filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length));
  return layoutOf(names.map((name) => ({ name, shape: tensors.shape(prefix + name), trainable: trainable(name) })));
}

/** Returns the tensors with a prefix, in layout order; a constant for missing ones. */
function valuesIn({ entries }: Layout, tensors: GoldenTensors, prefix: string): Map<string, Float32Array> {
  return new Map(
    entries.map(({ name, size }) => [
      name,
      tensors.has(prefix + name) ? tensors.f32(prefix + name) : new Float32Array(size).fill(NOT_A_GRADIENT),
    ]),
  );
}

describe("golden optimizers", () => {
  for (const [kind, run] of Object.entries(runs)) {
    it(`${kind}: every parameter after each of ${run.steps.length} steps`, async () => {
      const tensors = golden.tensors(`optim_${kind}`);
      const device = await testDevice();
      const trained = new Set([...run.regularized, ...run.not_regularized]);
      const layout = layoutIn(tensors, "p0.", (name) => trained.has(name));
      using params = createParams(device, layout, "student");
      using handedIn = createParams(device, layout, "gradients");
      using optimizer = createOptimizer(kind, params, run);
      using knobs = scalars(device, "lr", "weightDecay", "frozen");
      const gradients: Gradients = { layout, flat: handedIn.flat };
      using step = await record(device, () => optimizer.step(gradients, knobs));

      params.write(valuesIn(layout, tensors, "p0."));
      for (const { step: number, epoch, lr, weight_decay, grad_none } of run.steps) {
        const given = valuesIn(layout, tensors, `g${number}.`);
        for (const name of grad_none) given.get(name)!.fill(NOT_A_GRADIENT);
        handedIn.write(given);
        knobs.write({ lr, weightDecay: weight_decay, frozen: epoch < run.freeze_last_layer ? 1 : 0 });
        await step.run();
        for (const [name, found] of await params.read()) {
          const expected = tensors.f32(`p${number}.${name}`);
          expect(relmax(found, expected), `step ${number}, ${name}`).to.be.below(5e-6);
        }
      }
    });
  }

  for (const [kind, { regularized, not_regularized }] of Object.entries(runs)) {
    it(`${kind}: a decayed tensor shrinks by its own decay alone, the others stand`, async () => {
      const device = await testDevice();
      const tensors = golden.tensors(`optim_${kind}`);
      const trained = new Set([...regularized, ...not_regularized]);
      const layout = layoutIn(tensors, "p0.", (name) => trained.has(name));
      using params = createParams(device, layout, "student");
      using zero = createParams(device, layout, "gradients");
      using optimizer = sgd(params, { momentum: 0 });
      using knobs = scalars(device, "lr", "weightDecay");
      using step = await record(device, () => optimizer.step({ layout, flat: zero.flat }, knobs));
      knobs.write({ lr: 1, weightDecay: 0.5 });
      params.write(new Map(layout.entries.map(({ name, size }) => [name, new Float32Array(size).fill(2)])));
      await step.run();
      for (const [name, [value]] of await params.read())
        expect(value, name).to.equal(regularized.includes(name) ? 1 : 2);
    });
  }

  for (const { clip, names, norms, clipped } of clip_gradients) {
    it(`clip ${clip}: every gradient, ${clipped.length} of them shortened, and their norms`, async () => {
      const tensors = golden.tensors("clip_gradients");
      const prefix = tensors.names
        .map((key) => /^clip(\d+(?:\.\d+)?)\./.exec(key))
        .find((m) => Number(m?.[1]) === clip)!;
      const device = await testDevice();
      const layout = layoutIn(tensors, "g.", (name) => names.includes(name));
      using params = createParams(device, layout, "student");
      using handedIn = createParams(device, layout, "gradients");
      using optimizer = sgd(params, { momentum: 0 });
      using adam = adamw(params);
      using knobs = scalars(device, "lr", "weightDecay");
      const gradients: Gradients = { layout, flat: handedIn.flat };
      using step = await record(device, () => ({
        sgdNorms: optimizer.step(gradients, { ...knobs, clip }).norms,
      }));
      using adamStep = await record(device, () => adam.step(gradients, { ...knobs, clip }));

      handedIn.write(valuesIn(layout, tensors, "g."));
      knobs.write({ lr: 1, weightDecay: 0 });
      await step.run();
      for (const [name, moved] of await params.read()) {
        const found = moved.map((v) => -v);
        expect(relmax(found, tensors.f32(prefix[0] + name)), name).to.be.below(5e-6);
      }
      await adamStep.run();
      const moments = await adam.state["exp_avg"]!.read();
      for (const [name, moment] of moments) {
        const found = moment.map((v) => 10 * v);
        expect(relmax(found, tensors.f32(prefix[0] + name)), `adamw, ${name}`).to.be.below(5e-6);
      }
      for (const found of [await step.read("sgdNorms"), await adamStep.read("norms")]) {
        optimizer.names.forEach((name, i) => {
          const expected = norms[names.indexOf(name)]!;
          expect(relmax([found[i]!], [expected]), `norm of ${name}`).to.be.below(1e-5);
        });
      }
    });
  }

  it("the tensors that freeze are those whose gradients the official code cancels", () => {
    // with norm_last_layer weight_g is not trained, and has no gradient to cancel
    const all = Object.values(runs);
    const run = all.find(({ norm_last_layer }) => !norm_last_layer) ?? all[0]!;
    const frozen = [...run.regularized, ...run.not_regularized].filter((name) =>
      freezes({ name, shape: [], trainable: true }),
    );
    for (const { epoch, freeze_last_layer, cancelled } of cancel_gradients_last_layer)
      expect([...cancelled].sort()).to.deep.equal(epoch < freeze_last_layer ? frozen.sort() : []);
  });
});
