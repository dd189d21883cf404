import { expect } from "chai";
import fc from "fast-check";
import { rng } from "../../../dino/math/random.js";
import { openDevice } from "../../../engine/adapters/node.js";
import type { Device } from "../../../engine/core/device.js";
import { plan, type Plan } from "../../../engine/core/plan.js";
import { transient, trace } from "../../../engine/core/recording.js";
import { owner, type Resident, type Shape, type Storage } from "../../../engine/core/tensor.js";
import {
  add,
  attention,
  cast,
  chromeTrace,
  concat,
  copy,
  createParams,
  download,
  evaluate,
  fill,
  gelu,
  gradients,
  input,
  layernorm,
  layoutOf,
  linear,
  logSoftmax,
  matmul,
  mean,
  mul,
  parameterGradients,
  type Params,
  record,
  repeat,
  reshape,
  scalars,
  scale,
  slice,
  softmax,
  stopGradient,
  sum,
  type Tensor,
} from "../../../engine/index.js";
import { testDevice } from "../../support/device.js";
import { rejection } from "../../support/rejection.js";

/** Where recordings are written down and never run. */
let noGpu: Device;

/** A resident tensor without memory. */
function resident(shape: Shape, label = "input"): Tensor {
  const storage: Resident = { kind: "resident", device: noGpu, buffer: {} as GPUBuffer, label };
  return { shape, dtype: "f32", storage, offset: 0 };
}

function planOf(fn: () => readonly Tensor[]): { readonly planned: Plan; readonly returned: readonly Tensor[] } {
  const { result, recording } = trace(noGpu, fn);
  for (const constant of recording.constants) constant[Symbol.dispose]();
  return { planned: plan(recording, Object.fromEntries(result.entries())), returned: result };
}

/** Replays a plan in mind, with one word in each buffer: whose numbers it holds. Throws where a kernel would read others'. */
function follow({ dispatches, lifetimes }: Plan, returned: readonly Tensor[]): void {
  const home = new Map<Storage, number>(lifetimes.map(({ storage, buffer }) => [storage, buffer]));
  const holds = new Map<number, Storage>();
  for (const { kernel, tensors } of dispatches) {
    const written = new Set<number>();
    for (const { name, access } of kernel.bindings) {
      const storage = owner(tensors[name]!.storage);
      if (storage.kind === "resident") continue;
      const buffer = home.get(storage)!;
      if (access === "read") expect(holds.get(buffer), `${kernel.file}: ${name}`).to.equal(storage);
      else {
        written.add(buffer);
        holds.set(buffer, storage);
      }
    }
    for (const { name, access } of kernel.bindings) {
      const storage = owner(tensors[name]!.storage);
      if (access === "read")
        expect(written.has(home.get(storage)!), `${kernel.file} reads what it writes`).to.equal(false);
    }
  }
  for (const { storage } of returned) {
    if (owner(storage).kind === "transient") expect(holds.get(home.get(owner(storage))!)).to.equal(owner(storage));
  }
}

/** Two tenants of one buffer never hold numbers at the same dispatch, and each fits. */
function expectDisjoint({ lifetimes, buffers }: Plan): void {
  for (const a of lifetimes) {
    expect(a.storage.bytes).to.be.at.most(buffers[a.buffer]!);
    for (const b of lifetimes) {
      if (a === b || a.buffer !== b.buffer) continue;
      expect(a.last < b.first || b.last < a.first, `${a.storage.label} and ${b.storage.label}`).to.equal(true);
    }
  }
}

/** What a random graph does next: an operation and two earlier tensors, each drawn as a number taken modulo the choice. */
const anySteps = fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat()), { minLength: 1, maxLength: 40 });

const COLS = 6;

/** Operations on [rows, COLS], so that any two of them fit together. */
const operations: readonly ((a: Tensor, b: Tensor) => Tensor)[] = [
  (a, b) => (a.shape[0] === b.shape[0] ? add(a, b) : gelu(a)),
  (a, b) => (a.shape[0] === b.shape[0] ? mul(a, b) : softmax(b)),
  (a, b) => (a.shape[0]! + b.shape[0]! < 500 ? concat([a, b], 0) : slice(a, 0, 1, 3)),
  (a, b) => matmul(softmax(matmul(a, b, { b: true })), b),
  (a) => slice(a, 0, 0, Math.ceil(a.shape[0]! / 2)),
  (a) => scale(a, 0.5),
  (a) => stopGradient(a),
  (a) => reshape(reshape(a, [a.shape[0]! * COLS]), a.shape),
  (a) => repeat(sum(a), a.shape),
];

function grow(steps: readonly (readonly [number, number, number])[]): { all: Tensor[]; parameters: Tensor[] } {
  const parameters = [resident([3, COLS], "a"), resident([70, COLS], "b")];
  const all = [...parameters];
  for (const [which, a, b] of steps)
    all.push(operations[which % operations.length]!(all[a % all.length]!, all[b % all.length]!));
  return { all, parameters };
}

describe("a plan", () => {
  before(async () => {
    noGpu = await openDevice({ prefer: "null" });
  });
  after(() => noGpu[Symbol.dispose]());

  it("never gives one buffer to two tensors that live at once, for any graph with its gradients", () => {
    fc.assert(
      fc.property(anySteps, fc.array(fc.nat(), { maxLength: 3 }), (steps, picks) => {
        const { planned, returned } = planOf(() => {
          const { all, parameters } = grow(steps);
          const grads = gradients(sum(all.at(-1)!), fill([], 1), parameters);
          return [...picks.map((pick) => all[pick % all.length]!), ...grads.filter((g) => g !== undefined)];
        });
        follow(planned, returned);
        expectDisjoint(planned);
        expect(planned.bytes).to.be.at.least(planned.lowerBoundBytes);
        expect(planned.bytes).to.equal(planned.buffers.reduce((a, b) => a + b, 0));
      }),
      { numRuns: 300 },
    );
  });

  it("keeps exactly the dispatches that a returned tensor depends on", () => {
    fc.assert(
      fc.property(anySteps, fc.nat(), (steps, pick) => {
        const { planned } = planOf(() => {
          const { all } = grow(steps);
          return [all[pick % all.length]!];
        });
        planned.dispatches.forEach((dispatch, i) => {
          const written = dispatch.kernel.bindings
            .filter(({ access }) => access !== "read")
            .map(({ name }) => dispatch.tensors[name]!.storage);
          const later = planned.dispatches
            .slice(i + 1)
            .some(({ tensors }) => Object.values(tensors).some(({ storage }) => written.includes(storage)));
          const last = planned.lifetimes.some(
            (l) => written.includes(l.storage) && l.last === planned.dispatches.length,
          );
          expect(later || last, dispatch.kernel.file).to.equal(true);
        });
      }),
    );
  });

  for (const [what, build] of [
    ["a transformer's training step", () => transformerStep({ batch: 8, tokens: 50, dim: 96, depth: 6 })],
    ["the same at ViT-Ti's width", () => transformerStep({ batch: 2, tokens: 197, dim: 192, depth: 12 })],
    ["a wide perceptron's training step", () => perceptronStep([4096, 512, 512, 64, 8192])],
  ] as const) {
    it(`needs at most a quarter more than the fullest moment: ${what}`, () => {
      const { planned, returned } = planOf(build);
      follow(planned, returned);
      expectDisjoint(planned);
      expect(planned.bytes).to.be.at.least(planned.lowerBoundBytes);
      expect(planned.bytes / planned.lowerBoundBytes).to.be.at.most(1.25);
      const unshared = planned.lifetimes.reduce((bytes, { storage }) => bytes + storage.bytes, 0);
      expect(planned.bytes).to.be.below(0.7 * unshared);
    });
  }

  it("is empty where only inputs are returned", () => {
    const { planned } = planOf(() => [resident([3])]);
    expect(planned.dispatches).to.have.length(0);
    expect(planned.bytes).to.equal(0);
  });
});

/** Loss and gradients of a pre-norm transformer, without memory behind it. */
function transformerStep(size: { batch: number; tokens: number; dim: number; depth: number }): Tensor[] {
  const { batch, tokens, dim, depth } = size;
  const parameters: Tensor[] = [];
  const parameter = (...shape: number[]): Tensor => {
    parameters.push(resident(shape));
    return parameters.at(-1)!;
  };
  const norm = (x: Tensor) => layernorm(x, parameter(dim), parameter(dim));
  const dense = (x: Tensor, out: number) => linear(x, parameter(out, x.shape.at(-1)!), parameter(out));
  let x: Tensor = dense(resident([batch, tokens, 48]), dim); // [batch, tokens, dim]
  for (let block = 0; block < depth; block++) {
    x = add(x, dense(attention(dense(norm(x), 3 * dim), 3), dim));
    x = add(x, dense(gelu(dense(norm(x), 4 * dim)), dim));
  }
  const cls = reshape(slice(norm(x), 1, 0, 1), [batch, dim]);
  const loss = scale(mean(logSoftmax(dense(cls, 1000))), -1);
  return [loss, ...gradients(loss, fill([], 1), parameters).map((g) => g!)];
}

function perceptronStep(widths: readonly number[]): Tensor[] {
  const parameters: Tensor[] = [];
  let x: Tensor = resident([64, widths[0]!]);
  for (const [i, width] of widths.slice(1).entries()) {
    const weight = resident([width, widths[i]!]);
    parameters.push(weight);
    x = gelu(linear(x, weight));
  }
  const loss = mean(x);
  // what an optimizer would read, summed to a scalar, so that gradients need not all live to the end
  return [loss, ...gradients(loss, fill([], 1), parameters).map((g) => sum(g!))];
}

const random = rng({ seed: 3, purpose: "program test" });
const normals = (size: number): Float32Array => Float32Array.from({ length: size }, () => random.normal());
const bits = (x: Float32Array): number[] => [...new Uint32Array(x.buffer, x.byteOffset, x.length)];

describe("a program", () => {
  let device: Device;
  before(async () => {
    device = await testDevice();
  });

  const owned = (shape: Shape, values: ArrayLike<number>, label?: string) => {
    const x = input(device, shape, label === undefined ? {} : { label });
    x.write(values);
    return x;
  };

  it("gives on replay, bit for bit, what a fresh recording gives", async () => {
    using params = network(device);
    using x = input(device, [5, 8]);
    const step = () => {
      const loss = forward(params, x);
      return { loss, flat: parameterGradients(loss, params).flat };
    };
    using program = await record(device, step);
    for (let run = 0; run < 3; run++) {
      x.write(normals(40));
      await program.run();
      const replayed = { loss: await program.read("loss"), flat: await program.read("flat") };
      const fresh = await evaluate(device, step);
      expect(bits(replayed.loss)).to.deep.equal(bits(fresh.loss));
      for (const { offset, size } of params.layout.entries) {
        const part = (flat: Float32Array) => bits(flat.slice(offset, offset + size));
        expect(part(replayed.flat)).to.deep.equal(part(fresh.flat));
      }
    }
  });

  it("sees inputs and scalars as they were last written before a run", async () => {
    using x = owned([2], [1, 2]);
    using knobs = scalars(device, "factor", "shift");
    knobs.write({ factor: 10, shift: 1 });
    using program = await record(device, () => ({ y: add(mul(x, knobs.factor), knobs.shift) }));
    await program.run();
    x.write([3, 4]);
    expect([...(await program.read("y"))]).to.deep.equal([11, 21]); // of the run, not of the write
    knobs.write({ factor: -1, shift: 0 });
    await program.run();
    expect([...(await program.read("y"))]).to.deep.equal([-3, -4]);
  });

  it("drops dispatches that nobody reads, and keeps those that write resident memory", async () => {
    using x = owned([4], [1, 2, 3, 4]);
    using state = owned([4], [0, 0, 0, 0]);
    using program = await record(device, () => {
      gelu(softmax(x));
      copy(add(state, x), state);
      return { y: scale(x, 2) };
    });
    expect(program.dispatches).to.equal(3);
    for (let run = 0; run < 3; run++) await program.run();
    expect([...(await download(state))]).to.deep.equal([3, 6, 9, 12]);
  });

  it("runs many times without being read, and queues at most two runs", async () => {
    using count = owned([1], [0]);
    using one = owned([1], [1]);
    using program = await record(device, () => {
      copy(add(count, one), count);
      return {};
    });
    for (let run = 0; run < 50; run++) await program.run();
    expect([...(await download(count))]).to.deep.equal([50]);
  });

  it("shares its Params with other programs", async () => {
    using params = network(device);
    using few = owned([2, 8], normals(16));
    using many = owned([9, 8], normals(72));
    using a = await record(device, () => ({ loss: forward(params, few) }));
    using b = await record(device, () => ({ loss: forward(params, many) }));
    using halve = await record(device, () => {
      for (const parameter of Object.values(params.tensors)) copy(scale(parameter, 0.5), parameter);
      return {};
    });
    await Promise.all([a.run(), b.run()]);
    const before = [await a.readScalar("loss"), await b.readScalar("loss")];
    await halve.run();
    await Promise.all([a.run(), b.run()]);
    const after = [await a.readScalar("loss"), await b.readScalar("loss")];
    expect(after[0]).to.not.equal(before[0]);
    expect(after[1]).to.not.equal(before[1]);
    const { loss } = await evaluate(device, () => ({ loss: forward(params, many) }));
    expect(after[1]).to.equal(loss[0]);
  });

  it("reads outputs, inputs that were returned, and views into the middle of a tensor", async () => {
    using knobs = scalars(device, "first", "second");
    knobs.write({ first: 1, second: 2 });
    using x = owned([2, 3], [1, 2, 3, 4, 5, 6]);
    using program = await record(device, () => ({ x, y: reshape(scale(x, 2), [6]), second: knobs.second }));
    await program.run();
    expect([...(await program.read("x"))]).to.deep.equal([1, 2, 3, 4, 5, 6]);
    expect([...(await program.read("y"))]).to.deep.equal([2, 4, 6, 8, 10, 12]);
    expect(await program.readScalar("second")).to.equal(2);
  });

  it("answers several reads at once, of one output too", async () => {
    using x = owned([3], [1, 2, 3]);
    using program = await record(device, () => ({ y: scale(x, 2), z: scale(x, 3) }));
    await program.run();
    const [y, again, z] = await Promise.all([program.read("y"), program.read("y"), program.read("z")]);
    expect([...y]).to.deep.equal([2, 4, 6]);
    expect([...again]).to.deep.equal([2, 4, 6]);
    expect([...z]).to.deep.equal([3, 6, 9]);
  });

  it("refuses to read what it does not have", async () => {
    using x = owned([3], [1, 2, 3]);
    using ids = input(device, [2], { dtype: "u32", label: "ids" });
    using program = await record(device, () => ({ y: scale(x, 2), total: sum(x), ids }));
    await program.run();
    expect(await program.readScalar("total")).to.equal(6);
    expect(await rejection(program.readScalar("y"))).to.equal("readScalar y: expected [], got [3]");
    expect(await rejection(program.read("nothing" as "y"))).to.equal(
      'read: no output "nothing"; record() returned y, total, ids',
    );
    expect(await rejection(program.read("toString" as "y"))).to.include('no output "toString"');
    expect(await rejection(program.read("ids"))).to.equal("read ids: expected f32, got u32");
  });

  it("says so when it is used after its end, and harms nobody else", async () => {
    using x = owned([3], [1, 2, 3]);
    const program = await record(device, () => ({ y: scale(x, 2) }));
    await program.run();
    program[Symbol.dispose]();
    program[Symbol.dispose]();
    for (const use of [() => program.run(), () => program.read("y"), () => program.profile(), () => program.check()])
      expect(await rejection(use())).to.equal("program: used after it was disposed");
    const { y } = await evaluate(device, () => ({ y: scale(x, 2) }));
    expect([...y]).to.deep.equal([2, 4, 6]);
  });

  it("refuses a tensor that no kernel has written", async () => {
    using x = owned([3], [1, 2, 3]);
    let kept: Tensor = x;
    using first = await record(device, () => ({ y: (kept = scale(x, 2)) }));
    await first.run();
    const reading = await rejection(record(device, () => ({ y: add(x, transient([3])) })));
    expect(reading).to.equal(
      "add: b [3] is read before any kernel has written it; a tensor lives in one recording only",
    );
    expect(await rejection(record(device, () => ({ y: add(x, kept) })))).to.include("is read before any kernel");
    expect(await rejection(record(device, () => ({ kept })))).to.equal(
      "record: kept [3] is returned, but no kernel has written it; a tensor lives in one recording only",
    );
  });

  it("is printed with its shapes, buffers and totals", async () => {
    using x = owned([2, 3], normals(6), "images");
    using program = await record(device, () => ({ y: softmax(scale(x, 2)) }));
    expect(program.print().split("\n")).to.deep.equal([
      "   0  scale: x [2, 3] images -> out [2, 3] #0  1",
      "   1  softmax: x [2, 3] #0 -> y [2, 3] #1  2",
      "2 dispatches; 2 buffers of 0.0 MiB in all (at least 0.0 MiB are live at once)",
    ]);
    expect(program.dispatches).to.equal(2);
    expect(program.bytes).to.equal(48);
    expect(program.lowerBoundBytes).to.equal(48);
  });

  it("evaluates once and forgets", async () => {
    using x = owned([3], [1, 2, 3]);
    const found = await evaluate(device, () => ({ y: scale(x, 2), total: sum(x) }));
    expect(Object.keys(found)).to.deep.equal(["y", "total"]);
    expect([...found.y]).to.deep.equal([2, 4, 6]);
    expect([...found.total]).to.deep.equal([6]);
  });

  describe("profile()", () => {
    const expectProfile = async (on: Device) => {
      using x = input(on, [64, 32]);
      using program = await record(on, () => ({ y: softmax(scale(softmax(x), 3)) }));
      const times = await program.profile();
      expect(times.map(({ kernel, calls }) => `${kernel} ${calls}`).sort()).to.deep.equal([
        "scale 1",
        "softmax-vec4 2",
      ]);
      for (const { ms, share } of times) {
        expect(ms).to.be.at.least(0);
        expect(share).to.be.within(0, 1);
      }
      const costs = times.map(({ ms }) => ms);
      expect(costs).to.deep.equal([...costs].sort((a, b) => b - a));
      const shares = times.reduce((total, { share }) => total + share, 0);
      expect(costs.some((ms) => ms > 0) ? shares : 1).to.be.closeTo(1, 1e-9);
    };
    it("sums time by kernel, the costliest first", () => expectProfile(device));
    it("falls back to the host's clock", () => expectProfile({ ...device, features: new Set() }));
    it("reports no made-up times where nothing is computed", async () => {
      using nothing = await openDevice({ prefer: "null" });
      await expectProfile(nothing);
    });
    it("gives nothing for a program of no dispatches", async () => {
      using x = owned([1], [1]);
      using program = await record(device, () => ({ x }));
      expect(await program.profile()).to.deep.equal([]);
    });
    it("lays dispatches out in time, also for other programs to show", async () => {
      using x = input(device, [64, 32]);
      using program = await record(device, () => ({ y: scale(softmax(x), 3) }));
      const spans = await program.timeline();
      expect(spans.map(({ kernel, shape }) => [kernel, shape])).to.deep.equal([
        ["softmax-vec4", [64, 32]],
        ["scale", [64, 32]],
      ]);
      expect(spans[0]!.startMs).to.equal(0);
      expect(spans[1]!.startMs).to.be.at.least(spans[0]!.ms);
      const { traceEvents } = JSON.parse(chromeTrace(spans, "a device")) as { traceEvents: object[] };
      expect(traceEvents[0]).to.deep.include({ ph: "M", args: { name: "a device" } });
      expect(traceEvents[2]).to.deep.include({ name: "scale", ph: "X", dur: 1000 * spans[1]!.ms });
    });
  });

  describe("check()", () => {
    it("finds what overflowed f16, of an odd number of elements too", async function () {
      if (!device.features.has("shader-f16")) this.skip(); // SwiftShader has none
      using x = owned([3], [1, 2, 3]);
      using program = await record(device, () => ({ y: cast(gelu(cast(x, "f16")), "f32") }));
      expect(await program.check()).to.equal(undefined);
      x.write([1, 2, 1e6]); // beyond 65504
      expect(await program.check()).to.deep.equal({ where: "cast-f16: y", shape: [3], dispatch: 0 });
    });

    it("finds nothing where all is finite", async () => {
      using x = owned([3], [1, -2, 3.4e38]);
      using program = await record(device, () => ({ y: softmax(x) }));
      expect(await program.check()).to.equal(undefined);
    });

    it("names the first kernel that made an infinity or a NaN", async () => {
      using x = owned([3], [1, 2, 3e38]);
      using program = await record(device, () => ({ y: gelu(scale(scale(scale(x, 0.5), 10), 2)) }));
      expect(await program.check()).to.deep.equal({ where: "scale: out", shape: [3], dispatch: 1 });
    });

    for (const [what, value] of [
      ["a NaN", NaN],
      ["an infinity", -Infinity],
    ] as const) {
      it(`names an input that holds ${what}, though others are called the same`, async () => {
        using fine = owned([3], [1, 2, 3]);
        using bad = owned([70], normals(70).with(69, value));
        using program = await record(device, () => ({ y: add(scale(sum(fine), 2), sum(bad)) }));
        expect(await program.check()).to.deep.equal({ where: "input (as it came in)", shape: [70], dispatch: -1 });
      });
    }

    it("names the parameter", async () => {
      using params = network(device);
      using x = owned([2, 8], normals(16));
      const values = await params.read();
      values.get("second.weight")![3] = NaN;
      params.write(values);
      using program = await record(device, () => ({ loss: forward(params, x) }));
      expect((await program.check())?.where).to.equal("network second.weight (as it came in)");
    });

    it("has nothing to look at in a program of no dispatches", async () => {
      using x = owned([1], [NaN]);
      using program = await record(device, () => ({ x }));
      expect(await program.check()).to.equal(undefined);
    });
  });
});

/** A network of two layers with one entry that is not trained. */
const layout = layoutOf([
  { name: "first.weight", shape: [6, 8], trainable: true },
  { name: "first.bias", shape: [6], trainable: true },
  { name: "second.length", shape: [], trainable: false },
  { name: "second.weight", shape: [3, 6], trainable: true },
]);

function network(device: Device): Params {
  const params = createParams(device, layout, "network");
  params.write(new Map(layout.entries.map(({ name, size }) => [name, normals(size)])));
  return params;
}

function forward(params: Params, x: Tensor): Tensor {
  const hidden = gelu(linear(x, params.get("first.weight"), params.get("first.bias")));
  const logits = mul(linear(hidden, params.get("second.weight")), params.get("second.length"));
  return scale(mean(logSoftmax(logits)), -1);
}

describe("gradients", () => {
  let device: Device;
  before(async () => {
    device = await testDevice();
  });

  /** The named parts of flat gradients. */
  const parts = (params: Params, flat: Float32Array): Record<string, number[]> =>
    Object.fromEntries(
      params.layout.entries.map(({ name, offset, size }) => [name, [...flat.slice(offset, offset + size)]]),
    );

  /** One parameter of three elements for each name, and what `loss` makes of them. */
  const flatGradients = async (
    names: readonly string[],
    loss: (params: Params) => Tensor,
  ): Promise<Record<string, number[]>> => {
    using params = createParams(device, layoutOf(names.map((name) => ({ name, shape: [3], trainable: true }))), "p");
    params.write(new Map(names.map((name, i) => [name, [i + 1, i + 2, i + 3]])));
    const { flat } = await evaluate(device, () => ({ flat: parameterGradients(loss(params), params).flat }));
    return parts(params, flat);
  };

  it("lie flat as the parameters do, agree with gradients(), and are zero where nothing is trained", async () => {
    using params = network(device);
    using x = input(device, [5, 8]);
    x.write(normals(40));
    const names = layout.entries.map(({ name }) => name);
    const { flat } = await evaluate(device, () => ({ flat: parameterGradients(forward(params, x), params).flat }));
    const found = parts(params, flat);
    const one = await evaluate(device, () => {
      const grads = gradients(
        forward(params, x),
        fill([], 1),
        names.map((name) => params.get(name)),
      );
      return Object.fromEntries(names.map((name, i) => [name, grads[i]!]));
    });
    for (const { name, trainable } of layout.entries) {
      if (trainable) expect(found[name], name).to.deep.equal([...one[name]!]);
      else expect(found[name], name).to.deep.equal([0]);
    }
    expect([...one["second.length"]!][0]).to.not.equal(0);
  });

  it("add up over every use of a parameter", async () => {
    const found = await flatGradients(["a"], ({ tensors: { a } }) => sum(add(mul(a!, a!), scale(a!, 10))));
    expect(found).to.deep.equal({ a: [12, 14, 16] });
  });

  it("reach two parameters that share one gradient", async () => {
    const found = await flatGradients(["a", "b"], ({ tensors: { a, b } }) => sum(add(a!, b!)));
    expect(found).to.deep.equal({ a: [1, 1, 1], b: [1, 1, 1] });
  });

  it("reach three parameters that share one gradient under several shapes", async () => {
    const found = await flatGradients(["a", "b", "c"], ({ tensors: { a, b, c } }) =>
      sum(mul(add(reshape(a!, [1, 3]), reshape(add(b!, c!), [1, 3])), reshape(stopGradient(a!), [1, 3]))),
    );
    expect(found).to.deep.equal({ a: [1, 2, 3], b: [1, 2, 3], c: [1, 2, 3] });
  });

  it("reach a parameter that is the loss itself", async () => {
    using params = createParams(device, layoutOf([{ name: "a", shape: [], trainable: true }]), "p");
    const { flat } = await evaluate(device, () => ({ flat: parameterGradients(params.get("a"), params).flat }));
    expect(flat[0]).to.equal(1);
  });

  it("may be taken twice in one recording", async () => {
    using params = network(device);
    using x = input(device, [5, 8]);
    x.write(normals(40));
    const { a, b } = await evaluate(device, () => {
      const loss = forward(params, x);
      return { a: parameterGradients(loss, params).flat, b: parameterGradients(scale(loss, 2), params).flat };
    });
    const [first, second] = [parts(params, a), parts(params, b)];
    for (const { name } of layout.entries)
      expect(second[name], name).to.deep.equal(first[name]!.map((v) => Math.fround(2 * v)));
  });

  it("add up over several losses, in place", async () => {
    using params = network(device);
    using few = input(device, [2, 8]);
    using many = input(device, [9, 8]);
    few.write(normals(16));
    many.write(normals(72));
    const { a, b, both } = await evaluate(device, () => {
      const of = (x: Tensor) => parameterGradients(forward(params, x), params);
      return {
        a: of(few).flat,
        b: of(many).flat,
        both: parameterGradients(forward(params, many), params, { earlier: of(few) }).flat,
      };
    });
    const [first, second, sums] = [parts(params, a), parts(params, b), parts(params, both)];
    for (const { name } of layout.entries)
      expect(sums[name], name).to.deep.equal(first[name]!.map((v, i) => Math.fround(v + second[name]![i]!)));
  });

  it("refuse to be added to those of other parameters", async () => {
    using params = createParams(device, layoutOf([{ name: "a", shape: [3], trainable: true }]), "params");
    using others = createParams(device, layoutOf([{ name: "a", shape: [3], trainable: true }]), "others");
    const message = await rejection(
      record(device, () => {
        const earlier = parameterGradients(sum(others.get("a")), others);
        return { flat: parameterGradients(sum(params.get("a")), params, { earlier }).flat };
      }),
    );
    expect(message).to.equal("parameterGradients: the earlier ones are of other parameters");
  });

  it("name the parameter that the loss does not depend on", async () => {
    const message = await rejection(flatGradients(["a", "b", "c"], ({ tensors: { b } }) => sum(b!)));
    expect(message).to.equal("parameterGradients: the loss does not depend on a, c");
  });

  it("refuse a loss that is no scalar", async () => {
    const message = await rejection(flatGradients(["a"], ({ tensors: { a } }) => a!));
    expect(message).to.equal("parameterGradients loss: expected [], got [3]");
  });

  it("stop at stopGradient and pass through reshape", async () => {
    using x = input(device, [2, 3]);
    x.write([1, 2, 3, 4, 5, 6]);
    const { dx } = await evaluate(device, () => {
      const y = mul(reshape(x, [6]), stopGradient(reshape(x, [6])));
      const [dx, none] = gradients(sum(y), fill([], 1), [x, fill([2], 0)]);
      expect(none).to.equal(undefined);
      expect(gradients(sum(stopGradient(y)), fill([], 1), [x])).to.deep.equal([undefined]);
      return { dx: dx! };
    });
    expect([...dx]).to.deep.equal([1, 2, 3, 4, 5, 6]);
  });

  it("differentiate with respect to a tensor in the middle, and twice", async () => {
    using x = input(device, [3]);
    x.write([1, 2, 3]);
    const found = await evaluate(device, () => {
      const square = mul(x, x);
      const cube = mul(square, x);
      const [dSquare, dx] = gradients(sum(cube), fill([], 1), [square, x]);
      const [second] = gradients(sum(dx!), fill([], 1), [x]);
      return { dSquare: dSquare!, dx: dx!, second: second! };
    });
    expect([...found.dSquare]).to.deep.equal([1, 2, 3]);
    expect([...found.dx]).to.deep.equal([3, 12, 27]);
    expect([...found.second]).to.deep.equal([6, 12, 18]);
  });

  it("refuse a dy of another shape", async () => {
    using x = input(device, [3]);
    const message = await rejection(record(device, () => ({ dx: gradients(scale(x, 2), fill([2], 1), [x])[0]! })));
    expect(message).to.equal("gradients dy: expected [3], got [2]");
  });
});

describe("parameters in f16", () => {
  it("are rounded once in a recording, and again after something has written to them", async () => {
    using nothing = await openDevice({ prefer: "null" }); // which has f16
    using params = createParams(nothing, layoutOf([{ name: "w", shape: [6, 5], trainable: true }]), "p");
    const weight = params.get("w");
    const { recording } = trace(nothing, () => {
      const x = cast(fill([4, 5], 1), "f16");
      const rounded = () => linear(x, weight);
      for (let use = 0; use < 2; use++) gradients(rounded(), cast(fill([4, 6], 1), "f16"), [weight]);
      copy(fill([6, 5], 2), weight);
      rounded();
    });
    const roundings = recording.dispatches.filter(
      ({ kernel, tensors }) => kernel.file === "cast-f16" && tensors["x"]!.storage === weight.storage,
    );
    expect(roundings).to.have.length(2);
  });
});

describe("tensor cores", () => {
  it("take products in f16 whose memory runs in quads, and their gradients", async () => {
    using nothing = await openDevice({ prefer: "null" });
    const kernelsOf = (device: Device, cols: number) => {
      using w = input(device, [16, cols]);
      const { recording } = trace(device, () => {
        const y = linear(cast(fill([7, cols], 1), "f16"), w);
        gradients(y, cast(fill(y.shape, 1), "f16"), [w]);
      });
      return recording.dispatches.map(({ kernel }) => kernel.file).filter((file) => file.startsWith("matmul"));
    };
    const having = { ...nothing, tensorCores: true };
    const [tiled, matrices] = ["matmul-tiled-f16", "matmul-subgroup-matrix"];
    // the product, its gradient by x, and that by the weight
    expect(kernelsOf(having, 12)).to.deep.equal([matrices, matrices, `${matrices}-f32`]);
    expect(kernelsOf(having, 13)).to.deep.equal([tiled, tiled, `${tiled}-f32`]);
    expect(kernelsOf({ ...nothing, tensorCores: false }, 12)).to.deep.equal([tiled, tiled, `${tiled}-f32`]);
  });

  it("take attention in f16 whose heads lie in quads, and its gradient", async () => {
    using nothing = await openDevice({ prefer: "null" });
    const kernelsOf = (tensorCores: boolean, headDim: number) => {
      const { recording } = trace({ ...nothing, tensorCores }, () => {
        const qkv = cast(fill([2, 5, 6 * headDim], 1), "f16");
        gradients(attention(qkv, 2), cast(fill([2, 5, 2 * headDim], 1), "f16"), [qkv]);
      });
      return new Set(recording.dispatches.map(({ kernel }) => kernel.file).filter((file) => /^attention/.test(file)));
    };
    const [tiled, matrices] = ["attention-tiled", "attention-subgroup-matrix"];
    const inTiles = [`${tiled}-f16`, "attention-delta-f16", `${tiled}-backward-f16`];
    expect([...kernelsOf(true, 64)]).to.deep.equal([matrices, "attention-delta-f16", `${matrices}-backward`]);
    expect([...kernelsOf(true, 62)]).to.deep.equal(inTiles);
    expect([...kernelsOf(false, 64)]).to.deep.equal(inTiles);
  });
});

describe("Params", () => {
  let device: Device;
  before(async () => {
    device = await testDevice();
  });

  it("read what was written", async () => {
    using params = createParams(device, layout, "student");
    const values = new Map(layout.entries.map(({ name, size }) => [name, normals(size)]));
    params.write(values);
    expect(await params.read()).to.deep.equal(values);
  });

  it("are zero at first", async () => {
    using params = createParams(device, layout, "student");
    for (const values of (await params.read()).values()) expect(values.every((v) => v === 0)).to.equal(true);
  });

  it("refuse missing and unknown names and wrong sizes, and write nothing then", async () => {
    using params = createParams(device, layout, "student");
    const values = new Map<string, ArrayLike<number>>(layout.entries.map(({ name, size }) => [name, normals(size)]));
    expect(() => params.get("third")).to.throw(
      'student: no parameter "third"; there are first.weight, first.bias, second.length, second.weight',
    );
    expect(() => params.get("constructor")).to.throw('student: no parameter "constructor"');
    const renamed = new Map([...values].map(([name, v]) => [name.replace("first.bias", "toString"), v]));
    expect(() => params.write(renamed)).to.throw("student: missing [first.bias], unknown [toString]");
    const short = new Map(values).set("second.weight", [1, 2]);
    expect(() => params.write(short)).to.throw("student second.weight: [3, 6] takes 18 values, got 2");
    for (const written of (await params.read()).values()) expect(written.every((v) => v === 0)).to.equal(true);
  });

  it("refuse a name that appears twice, and an axis that is no size", () => {
    const a = { name: "a", shape: [2], trainable: true };
    expect(() => layoutOf([a, a])).to.throw('layoutOf: parameter "a" appears twice');
    expect(() => layoutOf([{ ...a, shape: [0] }])).to.throw("a: every axis must be a positive whole number, got [0]");
  });
});

describe("scalars", () => {
  it("refuse what is no number", async () => {
    using knobs = scalars(await testDevice(), "lr", "momentum");
    expect(() => knobs.write({ lr: NaN, momentum: 0 })).to.throw("scalars lr: expected a finite number, got NaN");
    expect(() => knobs.write({ lr: 1 } as never)).to.throw("scalars momentum: expected a finite number, got undefined");
  });
});
