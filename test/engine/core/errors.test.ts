import { expect } from "chai";
import { openDevice } from "../../../engine/adapters/node.js";
import type { Device } from "../../../engine/core/device.js";
import { grid, kernel } from "../../../engine/core/kernel.js";
import { transient } from "../../../engine/core/recording.js";
import {
  cast,
  copy,
  createParams,
  differentiable,
  download,
  evaluate,
  fill,
  gelu,
  gradients,
  input,
  layoutOf,
  record,
  reshape,
  scale,
  softmax,
  type Tensor,
  upload,
} from "../../../engine/index.js";
import { testDevice } from "../../support/device.js";
import { rejectedWith, rejection } from "../../support/rejection.js";

/** Returns a tensor of a shape, for operations that refuse it. */
const t = (...shape: number[]): Tensor => transient(shape);

describe("errors", () => {
  let device: Device;
  before(async () => {
    device = await testDevice();
  });

  it("carry the caller's frame through record()", async () => {
    function modelOfTheCaller() {
      return { y: softmax(t()) };
    }
    expect((await rejectedWith(record(device, modelOfTheCaller))).stack).to.include("modelOfTheCaller");
  });

  it("refuse operations outside a recording", () => {
    using x = input(device, [3]);
    for (const [what, operation] of [
      ["gelu", gelu],
      ["scale", (y: Tensor) => scale(y, 2)],
      ["reshape", (y: Tensor) => reshape(y, [1, 3])],
      ["gradients", (y: Tensor) => gradients(y, y, [y])],
    ] as const)
      expect(() => operation(x)).to.throw(`${what}: operations run inside record() or evaluate() only`);
  });

  it("refuse f16 on a device that has none", async () => {
    const without = { ...device, features: new Set<string>() };
    expect(await rejection(record(without, () => ({ y: cast(fill([3], 1), "f16") })))).to.equal(
      `f16: ${device.name} has no shader-f16; compute in f32 there`,
    );
  });

  it("refuse to read f16, and say how", async function () {
    if (!device.features.has("shader-f16")) this.skip(); // SwiftShader has none
    expect(await rejection(evaluate(device, () => ({ y: cast(fill([3], 1), "f16") })))).to.equal(
      'read y: expected f32, got f16; return cast(x, "f32") instead',
    );
  });

  it("refuse a gradient in another precision than its tensor's", async function () {
    if (!device.features.has("shader-f16")) this.skip(); // SwiftShader has none
    using x = input(device, [3]);
    const wrong = record(device, () => {
      const y = differentiable(transient([3]), [x], (dy) => [cast(dy, "f16")]);
      return { dx: gradients(y, fill([3], 1), [x])[0]! };
    });
    expect(await rejection(wrong)).to.equal("gradients: expected a gradient in f32, got f16");
  });

  it("refuse a recording inside another one, at once, and leave the next one alone", async () => {
    const message = "record: called inside another record(); recordings do not nest";
    for (const inner of [() => record(device, () => ({})), () => evaluate(device, () => ({}))]) {
      const nested = record(device, () => {
        void inner();
        return {};
      });
      expect(await rejection(nested)).to.equal(message);
    }
    expect([...(await evaluate(device, () => ({ one: fill([1], 1) }))).one]).to.deep.equal([1]);
  });

  it("refuse a tensor of another device", async () => {
    using other = await openDevice({ prefer: "null" });
    using x = input(other, [3], { label: "images" });
    expect(await rejection(record(device, () => ({ y: scale(x, 2) })))).to.equal(
      "scale: x (images) belongs to another device",
    );
  });

  it("refuse a dispatch that reads and writes one buffer", async () => {
    using params = createParams(
      device,
      layoutOf(["a", "b"].map((name) => ({ name, shape: [3], trainable: true }))),
      "p",
    );
    const [a, b] = [params.get("a"), params.get("b")];
    expect(await rejection(record(device, () => (copy(a, b), {})))).to.equal(
      "copy: x and out lie in one buffer (p b), and out is written; copy one of them first",
    );
    const twice = await rejection(
      record(device, () => {
        const y = transient([3]);
        copy(a, y);
        copy(reshape(y, [1, 3]), y);
        return {};
      }),
    );
    expect(twice).to.equal("copy: x and out lie in one buffer (copy out), and out is written; copy one of them first");
  });

  it("refuse a tensor wider than a binding", async () => {
    const limit = device.limits.maxStorageBufferBindingSize;
    const elements = limit / 4 + 1;
    expect(await rejection(record(device, () => ({ y: scale(t(elements), 2) })))).to.equal(
      `scale: x [${elements}] needs ${limit + 4} bytes in one binding; ${device.name} binds at most ${limit}. ` +
        "Use a smaller batch, image or number of prototypes",
    );
  });

  it("refuse a tensor larger than a buffer", () => {
    const limit = device.limits.maxBufferSize;
    const elements = Math.floor(limit / 4) + 64;
    const shape = [elements];
    const message = (label: string, bytes: number) =>
      `out of memory: ${label} needs ${bytes} bytes in one buffer; ${device.name} allows ${limit}`;
    expect(() => input(device, shape, { label: "images" })).to.throw(message("images", 4 * elements));
    const layout = layoutOf([{ name: "a", shape, trainable: true }]);
    expect(() => createParams(device, layout, "student")).to.throw(message("student", 4 * layout.size));
    expect(() => input(device, [0])).to.throw("input: every axis must be a positive whole number, got [0]");
  });

  it("refuse values of the wrong number, in the wrong place or of the wrong type", async () => {
    using x = input(device, [2, 3], { label: "images" });
    expect(() => x.write([1, 2, 3, 4, 5])).to.throw("images: [2, 3] takes 6 values, got 5");
    expect(() => x.write(new Float32Array(7))).to.throw("images: [2, 3] takes 6 values, got 7");
    let inside: Tensor = x;
    await evaluate(device, () => ({ y: (inside = scale(x, 2)) }));
    expect(() => upload(inside, [1])).to.throw("upload: scale out lives inside a recording; write to an input instead");
    expect(await rejection(download(inside))).to.equal(
      "download: scale out lives inside a recording; return it from record()",
    );
    using ids = input(device, [3], { dtype: "u32", label: "ids" });
    expect(await rejection(record(device, () => ({ y: scale(ids, 2) })))).to.equal(
      "scale: x holds u32, the kernel reads f32",
    );
  });

  it("refuse more bindings than the adapter allows", async () => {
    const names = Array.from({ length: device.limits.maxStorageBuffersPerShaderStage + 1 }, (_, i) => `x${i}`);
    const greedy = kernel("test-greedy", { reads: names, writes: [], constants: [] });
    const message = await rejection(
      record(device, () => (greedy(Object.fromEntries(names.map((name) => [name, t(1)])), {}, grid(1)), {})),
    );
    expect(message).to.equal(
      `test-greedy: binds ${names.length} buffers; ${device.name} allows ${names.length - 1} a kernel`,
    );
  });

  it("refuse a grid that leaves WebGPU's", async () => {
    const wide = kernel("test-wide", { reads: [], writes: ["y"], constants: [] });
    for (const groups of [0, 65536, 1.5]) {
      const message = await rejection(record(device, () => (wide({ y: t(1) }, {}, [groups, 1, 1]), {})));
      expect(message).to.equal(`test-wide: grid [${groups}, 1, 1] leaves 1..65535 workgroups an axis`);
    }
  });

  describe("of a device that is lost", () => {
    for (const [what, lose, message] of [
      ["destroyed by somebody", (lost: Device) => lost.gpu.destroy(), /the device was lost \(destroyed\)/],
      ["disposed of", (lost: Device) => lost[Symbol.dispose](), /the device was disposed/],
    ] as const) {
      it(`come from every use after it was ${what}`, async () => {
        const lost = await openDevice({ prefer: "null" });
        const x = input(lost, [3]);
        const params = createParams(lost, layoutOf([{ name: "a", shape: [3], trainable: true }]), "p");
        const program = await record(lost, () => ({ y: scale(x, 2) }));
        for (let run = 0; run < 4; run++) await program.run();
        await program.read("y");
        lose(lost);
        await lost.gpu.lost;
        for (const use of [
          () => program.run(),
          () => program.read("y"),
          () => program.profile(),
          () => program.check(),
          () => record(lost, () => ({ y: scale(x, 2) })),
          () => evaluate(lost, () => ({ y: scale(x, 2) })),
          () => download(x),
          () => params.read(),
        ])
          expect(await rejection(use())).to.match(message);
        for (const use of [
          () => x.write([1, 2, 3]),
          () => input(lost, [3]),
          () => params.write(new Map([["a", [1, 2, 3]]])),
        ])
          expect(use).to.throw(message);
        for (const owned of [program, x, params]) owned[Symbol.dispose]();
      });

      it(`come from a run under way when it is ${what}`, async () => {
        const lost = await openDevice({ prefer: "null" });
        using x = input(lost, [3]);
        const program = await record(lost, () => ({ y: scale(x, 2) }));
        const runs = [1, 2, 3, 4, 5].map(() => program.run());
        const reading = program.read("y");
        lose(lost);
        const settled = await Promise.allSettled([...runs, reading]);
        expect(settled.map(({ status }) => status)).to.include("rejected");
        for (const outcome of settled)
          if (outcome.status === "rejected") expect((outcome.reason as Error).message).to.match(message);
        await lost.gpu.lost;
        expect(await rejection(program.run())).to.match(message);
      });
    }
  });

  it("of an uncaptured WebGPU error come with the next run", async () => {
    const broken = await openDevice({ prefer: "null" });
    using x = input(broken, [3]);
    using program = await record(broken, () => ({ y: scale(x, 2) }));
    broken.gpu.createBuffer({ size: 4, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE });
    await broken.gpu.queue.onSubmittedWorkDone();
    expect(await rejection(program.run())).to.include("MapRead");
    broken[Symbol.dispose]();
  });
});
