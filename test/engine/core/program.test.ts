import { expect } from "chai";
import { openDevice } from "../../../engine/adapters/node.js";
import type { Device } from "../../../engine/core/device.js";
import { exclusive } from "../../../engine/core/profile.js";
import { transient } from "../../../engine/core/recording.js";
import type { Shape } from "../../../engine/core/tensor.js";
import {
  add,
  cast,
  chromeTrace,
  copy,
  download,
  evaluate,
  gelu,
  input,
  layernorm,
  mul,
  parameterGradients,
  record,
  reshape,
  scalars,
  scale,
  softmax,
  sum,
  type Tensor,
} from "../../../engine/index.js";
import { withMethods } from "../../support/changed-device.js";
import { testDevice } from "../../support/device.js";
import { rejection } from "../../support/rejection.js";
import { bits, forward, network, normals } from "../../support/two-layers.js";

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

  it("drops unused dispatches, and keeps those that write resident memory", async () => {
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
    expect(await rejection(program.readIntegers("y"))).to.equal("read y: expected u32, got f32");
  });

  it("throws when it is used after disposal, without effect on other programs", async () => {
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

  it("compiles a kernel for each kernel set of a device", async () => {
    const own = withMethods(device, {});
    const normalized = async (kernels: "cpu" | "gpu", rows: number) => {
      const on = { ...own, kernels };
      using x = input(on, [rows, 192]);
      x.write(Float32Array.from({ length: rows * 192 }, (_, i) => Math.sin(i)));
      using gain = input(on, [192]);
      gain.write(new Float32Array(192).fill(1));
      return (await evaluate(on, () => ({ y: layernorm(x, gain, gain) }))).y;
    };
    const [cpu, gpu] = [await normalized("cpu", 3), await normalized("gpu", 2)];
    for (let i = 0; i < gpu.length; i++) expect(gpu[i]).to.be.closeTo(cpu[i]!, 1e-5);
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

  it("counts the time that a dispatch waits for the one before once", () => {
    const stamped = [
      { beginMs: 0, endMs: 5 },
      { beginMs: 1, endMs: 9 },
      { beginMs: 2, endMs: 8 },
      { beginMs: 12, endMs: 13 },
    ];
    expect(exclusive(stamped).map(({ beginMs, endMs }) => [beginMs, endMs])).to.deep.equal([
      [0, 5],
      [5, 9],
      [9, 9],
      [12, 13],
    ]);
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
