import { expect } from "chai";
import { openDevice } from "../../../engine/adapters/node.js";
import type { Device } from "../../../engine/core/device.js";
import { trace } from "../../../engine/core/recording.js";
import {
  attention,
  cast,
  copy,
  createParams,
  fill,
  gradients,
  input,
  layoutOf,
  linear,
} from "../../../engine/index.js";

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
