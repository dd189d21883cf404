import { expect } from "chai";
import type { Device } from "../../../engine/core/device.js";
import { readyAfter } from "../../../engine/core/host-callback.js";
import { plan } from "../../../engine/core/plan.js";
import { transient, trace } from "../../../engine/core/recording.js";
import { rowsOf } from "../../../engine/core/tensor.js";
import { add, copy, type HostWork, input, onHost, record, scale, type Tensor } from "../../../engine/index.js";
import { testDevice } from "../../support/device.js";
import { rejection } from "../../support/rejection.js";

/** Host work that applies `fn` to every number. */
const each =
  (fn: (x: number, i: number) => number): HostWork =>
  (from, to) => {
    new Float32Array(to).set(new Float32Array(from).map(fn));
    return Promise.resolve();
  };

/** Records two halves of one tensor, each written by a separate kernel. */
function halves(x: Tensor): { readonly whole: Tensor; readonly parts: readonly [Tensor, Tensor] } {
  const whole = transient([2, 64]);
  const parts = [rowsOf(whole, 0, 1), rowsOf(whole, 1, 1)] as const;
  copy(scale(x, 2), parts[1]);
  copy(scale(x, 3), parts[0]);
  return { whole, parts };
}

describe("work of the host in the middle of a run", () => {
  let device: Device;
  before(async () => {
    device = await testDevice();
  });

  it("changes numbers in place, run after run, for what is noted afterwards", async () => {
    using x = input(device, [3]);
    using program = await record(device, () => {
      const before = scale(x, 2);
      const kept = scale(before, 1);
      onHost(
        before,
        before,
        each((v) => v + 1),
      );
      return { kept, after: scale(before, 10) };
    });
    for (const values of [
      [1, 2, 3],
      [4, 5, 6],
    ]) {
      x.write(values);
      await program.run();
      expect([...(await program.read("kept"))]).to.deep.equal(values.map((v) => 2 * v));
      expect([...(await program.read("after"))]).to.deep.equal(values.map((v) => 10 * (2 * v + 1)));
    }
  });

  it("fills a tensor of another shape, also from one that no kernel has written", async () => {
    using x = input(device, [64]);
    x.write(Float32Array.from({ length: 64 }, (_, i) => i));
    using program = await record(device, () => {
      const twice = transient([2, 64]);
      onHost(x, twice, (from, to) => {
        new Float32Array(to).set([...new Float32Array(from), ...new Float32Array(from)]);
        return Promise.resolve();
      });
      return { sum: add(rowsOf(twice, 0, 1), rowsOf(twice, 1, 1)) };
    });
    await program.run();
    expect([...(await program.read("sum"))]).to.deep.equal(Array.from({ length: 64 }, (_, i) => 2 * i));
  });

  it("sends each part off once it is written, before what writes other parts", () => {
    using x = input(device, [1, 64]);
    const { result, recording } = trace(device, () => {
      const { whole, parts } = halves(x);
      for (const part of [parts[1], parts[0]])
        onHost(
          part,
          part,
          each((v) => v),
        );
      return { whole };
    });
    const { dispatches } = plan(recording, result);
    expect(dispatches.map(({ kernel }) => kernel.file)).to.deep.equal([
      ...["scale", "copy", "scale", "copy", "the host", "the host"],
    ]);
    expect([readyAfter(dispatches, 4), readyAfter(dispatches, 5)]).to.deep.equal([1, 3]);
  });

  it("gives parts that were under way at once what each was given", async () => {
    using x = input(device, [1, 64]);
    x.write(Float32Array.from({ length: 64 }, (_, i) => i));
    const order: string[] = [];
    using program = await record(device, () => {
      const { whole, parts } = halves(x);
      for (const [name, part] of [["last", parts[1]] as const, ["first", parts[0]] as const]) {
        onHost(part, part, (from, to) => {
          order.push(name);
          return each((v) => (name === "last" ? v + 0.5 : -v))(from, to);
        });
      }
      return { whole };
    });
    await program.run();
    const whole = await program.read("whole");
    expect([...whole.subarray(0, 64)]).to.deep.equal(Array.from({ length: 64 }, (_, i) => -3 * i));
    expect([...whole.subarray(64)]).to.deep.equal(Array.from({ length: 64 }, (_, i) => 2 * i + 0.5));
    expect(order).to.deep.equal(["last", "first"]);
  });

  it("is done too where kernels are timed, and counts the time that the device waits for it", async () => {
    using x = input(device, [2]);
    x.write([1, 2]);
    using program = await record(device, () => {
      const y = scale(x, 2);
      onHost(y, y, async (from, to) => {
        await new Promise((resolve) => setTimeout(resolve, 30));
        await each((v) => -v)(from, to);
      });
      return { z: scale(y, 3) };
    });
    const spans = await program.timeline();
    expect(spans.map(({ kernel }) => kernel)).to.deep.equal(["scale", "scale"]);
    expect([...(await program.read("z"))]).to.deep.equal([-6, -12]);
    expect(program.waitedMs()).to.be.within(25, 10_000);
  });

  it("refuses a run before the last one has ended, and tells what the host threw", async () => {
    using x = input(device, [1]);
    let fail = false;
    using program = await record(device, () => {
      const y = scale(x, 1);
      onHost(y, y, (from, to) =>
        fail ? Promise.reject(new Error("the host has had enough")) : each((v) => v)(from, to),
      );
      return { y };
    });
    const first = program.run();
    expect(await rejection(program.run())).to.match(/run again before the last run has ended/);
    await first;
    fail = true;
    expect(await rejection(program.run())).to.equal("the host has had enough");
  });

  it("takes no two tensors that share a buffer, nor f16", async () => {
    using x = input(device, [2, 64]);
    const noted = (from: Tensor, to: Tensor) =>
      rejection(
        record(device, () => {
          onHost(
            from,
            to,
            each((v) => v),
          );
          return { to };
        }),
      );
    expect(await noted(rowsOf(x, 0, 1), rowsOf(x, 1, 1))).to.match(/lie in one buffer/);
    expect(await noted({ ...x, dtype: "f16" }, x)).to.match(/expected f32 or u32, got f16/);
  });
});
