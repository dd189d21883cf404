import { expect } from "chai";
import { rng } from "../../../dino/math/random.js";
import {
  adamw,
  type AdamWOptions,
  createParams,
  type Device,
  download,
  ema,
  lars,
  type Layout,
  layoutOf,
  lossScale,
  type Params,
  record,
  scalars,
  sgd,
} from "../../../engine/index.js";
import { testDevice } from "../../support/device.js";

/** Tensors smaller than a segment, larger than one, and one that is never trained. */
const layout = layoutOf([
  { name: "small", shape: [3], trainable: true },
  { name: "fixed", shape: [70], trainable: false },
  { name: "large", shape: [91, 137], trainable: true },
  { name: "scalar", shape: [], trainable: true },
  { name: "last_layer", shape: [64, 65], trainable: true },
]);

const SMALL_BINDINGS = 4 * 4096;

function draw(purpose: string): Map<string, Float32Array> {
  const random = rng({ seed: 3, purpose });
  return new Map(
    layout.entries.map(({ name, size }) => [name, Float32Array.from({ length: size }, () => random.normal())]),
  );
}

function drawn(device: Device, label: string): Params {
  const params = createParams(device, layout, label);
  params.write(draw(label));
  return params;
}

/** Parameters, state and norms after some runs, the last layer frozen in the first. */
async function train(
  kind: typeof adamw | typeof sgd | typeof lars,
  { runs = 3, ...options }: AdamWOptions & { readonly runs?: number },
) {
  const device = await testDevice();
  using params = drawn(device, "student");
  using gradients = drawn(device, "gradients");
  using optimizer = kind(params, { freezes: ({ name }) => name === "last_layer", ...options });
  using knobs = scalars(device, "lr", "weightDecay", "frozen");
  using step = await record(device, () => optimizer.step({ layout, flat: gradients.flat }, { ...knobs, clip: 2 }));
  for (let i = 0; i < runs; i++) {
    knobs.write({ lr: 0.01, weightDecay: 0.1, frozen: i === 0 ? 1 : 0 });
    await step.run();
  }
  expect(step.dispatches).to.be.above(options.bindingBytes === undefined ? 2 : 3);
  const state: Record<string, Map<string, Float32Array>> = {};
  for (const [name, moments] of Object.entries(optimizer.state)) state[name] = await moments.read();
  return { params: await params.read(), state, norms: [...(await step.read("norms"))], names: optimizer.names };
}

describe("optimizers", () => {
  for (const kind of [adamw, sgd, lars]) {
    it(`${kind.name} in small bindings gives the same bytes as in one`, async () => {
      expect(await train(kind, { bindingBytes: SMALL_BINDINGS })).to.deep.equal(await train(kind, {}));
    });

    it(`${kind.name} leaves alone what is not trainable, and moves the rest`, async () => {
      const before = draw("student");
      for (const [name, after] of (await train(kind, {})).params) {
        if (name === "fixed") expect(after, name).to.deep.equal(before.get(name));
        else expect(after, name).not.to.deep.equal(before.get(name));
      }
    });

    it(`${kind.name} measures the gradients before it clips them`, async () => {
      const { norms, names } = await train(kind, {});
      const gradients = draw("gradients");
      expect(names).to.deep.equal(["small", "large", "scalar", "last_layer"]);
      names.forEach((name, i) => {
        const norm = Math.hypot(...gradients.get(name)!);
        expect(norms[i], name).to.be.closeTo(norm, 1e-6 * norm);
      });
    });
  }

  for (const kind of [adamw, sgd, lars]) {
    it(`${kind.name} multiplies the learning rate by a tensor's factor`, async () => {
      const before = draw("student");
      const options = { freezes: () => false, runs: 1 };
      const plain = await train(kind, options);
      const slower = await train(kind, { ...options, rateOf: ({ name }) => (name === "large" ? 0.25 : 1) });
      expect(slower.state).to.deep.equal(plain.state);
      for (const [name, after] of slower.params) {
        const [start, whole] = [before.get(name)!, plain.params.get(name)!];
        const factor = name === "large" ? 0.25 : 1;
        after.forEach((value, i) => {
          expect(value, name).to.be.closeTo(start[i]! + factor * (whole[i]! - start[i]!), 1e-6);
        });
      }
    });

    it(`${kind.name} clips tensors together by the norm of them all`, async () => {
      const gradients = draw("gradients");
      const norm = Math.hypot(...gradients.get("small")!, ...gradients.get("large")!);
      const together = await train(kind, { clipsWith: ({ name }) => (name === "small" ? "large" : name) });
      const apart = await train(kind, {});
      expect(together.norms).to.deep.equal(apart.norms);
      if (kind === adamw) {
        const sum = 0.1 * (1 + 0.9 + 0.81); // of three equal gradients
        for (const name of ["small", "large"]) {
          together.state["exp_avg"]!.get(name)!.forEach((m, i) => {
            expect(m, name).to.be.closeTo(((sum * 2) / norm) * gradients.get(name)![i]!, 1e-7);
          });
        }
      }
      expect(together.params.get("small")).not.to.deep.equal(apart.params.get("small"));
      expect(together.params.get("last_layer")).to.deep.equal(apart.params.get("last_layer"));
    });

    it(`${kind.name} holds a halted tensor in place, and goes on with its moments`, async () => {
      const before = draw("student");
      const freezes = () => false;
      const halted = await train(kind, { freezes, halts: () => true, runs: 1 });
      const free = await train(kind, { freezes, runs: 1 });
      expect(halted.params).to.deep.equal(before);
      expect(halted.state).to.deep.equal(free.state);
      expect(free.params).not.to.deep.equal(before);
    });
  }

  it("refuses to clip tensors together that do not follow each other", async () => {
    const failure = await train(adamw, { clipsWith: ({ name }) => (name === "large" ? "middle" : "ends") }).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(String(failure)).to.contain('optimizer clipsWith: the tensors of "ends" do not follow each other');
  });

  it("adamw counts the steps of each tensor, and remembers nothing of a frozen one", async () => {
    const { state } = await train(adamw, {});
    const counts = [...state["step"]!].map(([name, [count]]) => [name, count]);
    expect(counts).to.deep.equal([
      ["small", 3],
      ["large", 3],
      ["scalar", 3],
      ["last_layer", 2],
    ]);
  });

  it("adamw corrects its bias over a long run", async () => {
    const device = await testDevice();
    const one: Layout = layoutOf([{ name: "x", shape: [], trainable: true }]);
    using params = createParams(device, one, "student");
    using gradients = createParams(device, one, "gradients");
    using optimizer = adamw(params, { beta1: 0.9, beta2: 0.999 });
    using knobs = scalars(device, "lr", "weightDecay");
    using step = await record(device, () => optimizer.step({ layout: one, flat: gradients.flat }, knobs));
    const gradient = 0.5;
    gradients.write(new Map([["x", [gradient]]]));
    knobs.write({ lr: 1, weightDecay: 0 });
    for (const before of [0, 1, 2, 7, 9, 10, 99, 999, 1001, 99_999]) {
      const [m, v] = [gradient * (1 - 0.9 ** before), gradient ** 2 * (1 - 0.999 ** before)];
      for (const [name, value] of Object.entries({ exp_avg: m, exp_avg_sq: v, step: before }))
        optimizer.state[name]!.write(new Map([["x", [value]]]));
      params.write(new Map([["x", [0]]]));
      await step.run();
      const [moved] = (await params.read()).get("x")!;
      expect(moved, `step ${before + 1}`).to.be.closeTo(-1, 2e-6); // a constant gradient moves it by lr
    }
  });

  it("resumes from its state", async () => {
    const device = await testDevice();
    using params = drawn(device, "student");
    using gradients = drawn(device, "gradients");
    using knobs = scalars(device, "lr", "weightDecay");
    knobs.write({ lr: 0.01, weightDecay: 0.1 });
    using first = adamw(params);
    using second = adamw(params);
    const flat = { layout, flat: gradients.flat };
    using stepFirst = await record(device, () => first.step(flat, knobs));
    using stepSecond = await record(device, () => second.step(flat, knobs));
    await stepFirst.run();
    await stepFirst.run();
    const saved = await params.read();
    for (const [name, moments] of Object.entries(first.state)) second.state[name]!.write(await moments.read());
    await stepFirst.run();
    const uninterrupted = await params.read();
    params.write(saved);
    await stepSecond.run();
    expect(await params.read()).to.deep.equal(uninterrupted);
  });

  it("refuses gradients of another layout", async () => {
    const device = await testDevice();
    using params = drawn(device, "student");
    using optimizer = sgd(params);
    using knobs = scalars(device, "lr", "weightDecay");
    const other = layoutOf([{ name: "small", shape: [3], trainable: true }]);
    using gradients = createParams(device, other, "gradients");
    const recording = record(device, () => optimizer.step({ layout: other, flat: gradients.flat }, knobs));
    const error = await recording.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(String(error)).to.contain("optimizer step: the two layouts differ");
  });
});

describe("the loss scale", () => {
  const SCALE = 1024;

  /** An optimizer on gradients of a loss times SCALE, which doubles after three good steps. */
  async function scaled(kind: typeof adamw | typeof sgd | typeof lars) {
    const device = await testDevice();
    const params = drawn(device, "student");
    const gradients = createParams(device, layout, "gradients");
    const optimizer = kind(params);
    const knobs = scalars(device, "lr", "weightDecay");
    knobs.write({ lr: 0.01, weightDecay: 0.1 });
    const scaling = lossScale(device, { initial: SCALE, growEvery: 3 });
    const settings = { ...knobs, clip: 2, lossScale: scaling };
    const step = await record(device, () => optimizer.step({ layout, flat: gradients.flat }, settings));
    return {
      /** A step whose gradients came out `times` as large; one of them is `spoilt`. */
      async run(times: number, spoilt?: number) {
        const values = draw("gradients");
        for (const [name, gradient] of values)
          values.set(
            name,
            gradient.map((g) => times * g),
          );
        if (spoilt !== undefined) values.get("large")![5000] = spoilt;
        gradients.write(values);
        await step.run();
      },
      norms: () => step.read("norms"),
      state: async () => [...(await download(scaling.state))],
      async everything() {
        const moments = await Promise.all(Object.values(optimizer.state).map((part) => part.read()));
        return [await params.read(), ...moments];
      },
      [Symbol.dispose]() {
        for (const owned of [step, scaling, knobs, optimizer, gradients, params]) owned[Symbol.dispose]();
      },
    };
  }

  for (const kind of [adamw, sgd, lars]) {
    it(`is undone by ${kind.name}: a power of two gives the bytes of the plain gradients`, async () => {
      using run = await scaled(kind);
      const device = await testDevice();
      using params = drawn(device, "student");
      using gradients = drawn(device, "gradients");
      using optimizer = kind(params);
      using knobs = scalars(device, "lr", "weightDecay");
      knobs.write({ lr: 0.01, weightDecay: 0.1 });
      using plain = await record(device, () => optimizer.step({ layout, flat: gradients.flat }, { ...knobs, clip: 2 }));
      for (let i = 0; i < 2; i++) {
        await run.run(SCALE);
        await plain.run();
      }
      expect(await run.norms()).to.deep.equal(await plain.read("norms"));
      expect((await run.everything())[0]).to.deep.equal(await params.read());
    });

    it(`is halved where a gradient is not finite, and ${kind.name} then changes nothing`, async () => {
      using run = await scaled(kind);
      await run.run(SCALE);
      const before = await run.everything();
      await run.run(SCALE, Infinity);
      expect(await run.state()).to.deep.equal([SCALE / 2, 0]);
      await run.run(SCALE / 2, NaN);
      expect(await run.state()).to.deep.equal([SCALE / 4, 0]);
      expect(await run.everything()).to.deep.equal(before);
      await run.run(SCALE / 4);
      expect(await run.state()).to.deep.equal([SCALE / 4, 1]);
      expect(await run.everything()).not.to.deep.equal(before);
    });
  }

  it("doubles after enough good steps in a row, and counts them anew", async () => {
    using run = await scaled(adamw);
    const states: number[][] = [];
    for (const spoilt of [undefined, undefined, Infinity, undefined, undefined, undefined, undefined]) {
      await run.run(1, spoilt);
      states.push(await run.state());
    }
    const half = SCALE / 2;
    expect(states).to.deep.equal([
      [SCALE, 1],
      [SCALE, 2],
      [half, 0],
      [half, 1],
      [half, 2],
      [SCALE, 0],
      [SCALE, 1],
    ]);
  });
});

describe("ema", () => {
  async function average(momentum: number, bindingBytes?: number) {
    const device = await testDevice();
    using teacher = drawn(device, "teacher");
    using student = drawn(device, "student");
    using knobs = scalars(device, "momentum");
    using step = await record(device, () => {
      ema(teacher, student, knobs.momentum, bindingBytes === undefined ? {} : { bindingBytes });
      return {};
    });
    knobs.write({ momentum });
    await step.run();
    return await teacher.read();
  }

  it("of momentum 1 changes nothing", async () => {
    expect(await average(1)).to.deep.equal(draw("teacher"));
  });

  it("of momentum 0 copies", async () => {
    expect(await average(0)).to.deep.equal(draw("student"));
  });

  it("leaves what both share as it is, whatever rounding does", async () => {
    const device = await testDevice();
    using teacher = drawn(device, "teacher");
    using student = drawn(device, "teacher");
    using knobs = scalars(device, "momentum");
    using step = await record(device, () => {
      ema(teacher, student, knobs.momentum);
      return {};
    });
    for (const momentum of [0.3, 0.9, 0.996]) {
      knobs.write({ momentum });
      await step.run();
    }
    expect(await teacher.read()).to.deep.equal(draw("teacher"));
  });

  it("lies between the two, trainable or not", async () => {
    const [teacher, student] = [draw("teacher"), draw("student")];
    for (const [name, values] of await average(0.9)) {
      values.forEach((v, i) =>
        expect(v, name).to.be.closeTo(0.9 * teacher.get(name)![i]! + 0.1 * student.get(name)![i]!, 1e-6),
      );
    }
  });

  it("in small bindings gives the same bytes as in one", async () => {
    expect(await average(0.9, SMALL_BINDINGS)).to.deep.equal(await average(0.9));
  });
});
