import { expect } from "chai";
import { openDevice } from "../../../engine/adapters/node.js";
import type { Device } from "../../../engine/core/device.js";
import { trace } from "../../../engine/core/recording.js";
import {
  attention,
  cast,
  copy,
  createParams,
  evaluate,
  fill,
  gradients,
  halfOfAll,
  input,
  layoutOf,
  linear,
} from "../../../engine/index.js";
import { testDevice } from "../../support/device.js";
import { normals } from "../../support/two-layers.js";

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

describe("parameters rounded to f16 all at once", () => {
  const layout = layoutOf([
    { name: "first", shape: [6, 5], trainable: true },
    { name: "second", shape: [4, 5], trainable: true },
    { name: "third", shape: [5], trainable: true },
    { name: "fourth", shape: [4, 5], trainable: true },
  ]);
  const upToThird = ({ name }: { readonly name: string }) => /first|third/.test(name);
  const roundingsOf = (device: Device, fn: () => void) =>
    trace(device, fn).recording.dispatches.filter(
      ({ kernel, tensors }) => /^cast-f16/.test(kernel.file) && tensors["x"]!.storage.label.startsWith("p "),
    );

  it("are not rounded again until something has written to one of them", async () => {
    using nothing = await openDevice({ prefer: "null" });
    using params = createParams(nothing, layout, "p");
    const x = () => cast(fill([4, 5], 1), "f16");
    const all = roundingsOf(nothing, () => {
      halfOfAll(params, upToThird);
      linear(x(), params.get("first"));
      linear(x(), params.get("second")); // lies between those selected
      halfOfAll(params, upToThird);
    });
    expect(all).to.have.length(1);
    expect(all[0]!.tensors["y"]!.shape).to.deep.equal([2 * 128 + 8]);
    const more = roundingsOf(nothing, () => {
      halfOfAll(params, upToThird);
      copy(fill([6, 5], 2), params.get("first"));
      linear(x(), params.get("first"));
      linear(x(), params.get("fourth"));
    });
    expect(more.map(({ tensors }) => tensors["y"]!.shape)).to.deep.equal([[2 * 128 + 8], [6, 5], [4, 5]]);
  });

  it("hold the same numbers, in one binding or in several", async function () {
    const device = await testDevice();
    if (!device.features.has("shader-f16")) this.skip();
    const { maxBufferSize, maxStorageBuffersPerShaderStage } = device.limits;
    const limits = { maxBufferSize, maxStorageBuffersPerShaderStage, maxStorageBufferBindingSize: 800 };
    for (const narrow of [device, { ...device, limits: limits as GPUSupportedLimits }]) {
      using params = createParams(narrow, layout, "p");
      params.write(new Map(layout.entries.map(({ name, size }) => [name, normals(size)])));
      const products = () => {
        const x = cast(fill([3, 5], 1), "f16");
        return Object.fromEntries(["first", "second"].map((name) => [name, cast(linear(x, params.get(name)), "f32")]));
      };
      const alone = await evaluate(narrow, products);
      const together = await evaluate(narrow, () => {
        halfOfAll(params, upToThird);
        return products();
      });
      expect(together).to.deep.equal(alone);
      const all = roundingsOf(narrow, () => halfOfAll(params, upToThird));
      expect(all).to.have.length(narrow === device ? 1 : 2);
    }
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
