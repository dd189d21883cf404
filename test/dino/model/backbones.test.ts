import { expect } from "chai";
import { rng } from "../../../dino/math/random.js";
import { branchDrops } from "../../../dino/model/block.js";
import { rotaryPeriods } from "../../../dino/model/positions.js";
import type { RotaryPositions, VitConfig } from "../../../dino/model/vit-config.js";
import { initVitParam, vitSpecs } from "../../../dino/model/vit-params.js";
import { type BlockOptions, features, intermediateLayers, lastAttention, vit } from "../../../dino/model/vit.js";
import {
  constant,
  createParams,
  type Device,
  evaluate,
  fill,
  gradients,
  input,
  layoutOf,
  mul,
  sum,
  type Tensor,
} from "../../../engine/index.js";
import { testDevice } from "../../support/device.js";

const BATCH = 4;
const PATCHES = 6;

const rotary: RotaryPositions = { kind: "rotary", periods: { base: 100 }, normalize: "separate" };

const shape = {
  ...{ imageRows: 12, imageCols: 8, patch: 4, channels: 3 },
  ...{ dim: 16, depth: 2, heads: 2, mlpRatio: 2, dropPathRate: 0, layerScale: 0.5, registers: 2 },
} satisfies VitConfig;
const v2: VitConfig = {
  ...shape,
  positions: { kind: "learned", offset: 0, antialias: true },
  ffn: "packed swiglu",
  maskToken: "optional",
};
const v3: VitConfig = {
  ...shape,
  positions: rotary,
  ffn: "swiglu",
  maskToken: "always",
  maskKeyBias: true,
  untiedNorms: { cls: true, localCls: true },
};

/** Initial values of a config's parameters, by name. */
function startValues(config: VitConfig): Map<string, Float32Array> {
  return new Map(
    vitSpecs(config).map(({ name, shape: axes }) => {
      return [name, initVitParam(config, name, axes, 0.3, rng({ seed: 1, purpose: name }))];
    }),
  );
}

/** Classes of images, and the gradients of a weighted sum of their squares by all parameters that have one, by name. */
async function classesOf(config: VitConfig, optionsOf: () => BlockOptions, device: Device) {
  using params = createParams(device, layoutOf(vitSpecs(config)), "backbone");
  params.write(startValues(config));
  using images = input(device, [BATCH, 3, 12, 8]);
  const random = rng({ seed: 2, purpose: "images" });
  images.write(Float32Array.from({ length: BATCH * 3 * 12 * 8 }, () => random.normal()));
  return await evaluate(device, () => {
    const cls = vit(config, params.get, images, optionsOf());
    const outputs: Record<string, Tensor> = { cls };
    const names = params.layout.entries.map(({ name }) => name);
    const weight = constant(
      [shape.dim],
      Array.from({ length: shape.dim }, (_, i) => Math.sin(i)),
    );
    gradients(sum(mul(mul(cls, cls), weight)), fill([], 1), names.map(params.get)).forEach((gradient, i) => {
      if (gradient) outputs[names[i]!] = gradient;
    });
    return outputs;
  });
}

const order = () => constant([BATCH], [2, 0, 3, 1], { dtype: "u32" });

describe("backbones of DINOv2 and DINOv3", () => {
  it("start with scales of branches as set, no mask token, and registers of their own size", () => {
    const values = startValues({ ...v3, registers: 400 });
    expect(new Set(values.get("blocks.1.ls1.gamma"))).to.deep.equal(new Set([0.5]));
    expect(new Set(values.get("local_cls_norm.weight"))).to.deep.equal(new Set([1]));
    expect(new Set(values.get("mask_token"))).to.deep.equal(new Set([0]));
    const sizeOf = (name: string, from: ReadonlyMap<string, Float32Array>) =>
      Math.hypot(...from.get(name)!) / Math.sqrt(400 * shape.dim);
    expect(sizeOf("storage_tokens", values)).to.be.closeTo(0.02, 1e-3);
    expect(sizeOf("register_tokens", startValues({ ...v2, registers: 400 }))).to.be.closeTo(1e-6, 1e-7);
  });

  it("freeze tokens, and no final norm", () => {
    const frozen = vitSpecs({ ...v3, frozenBlocks: 1 }).filter(({ trainable }) => !trainable);
    const names = frozen.map(({ name }) => name).filter((name) => !name.startsWith("blocks.0."));
    const tokens = ["cls_token", "storage_tokens", "mask_token"];
    expect(names).to.deep.equal([...tokens, "patch_embed.proj.weight", "patch_embed.proj.bias"]);
  });

  it("drop parts of the batch above a rate, samples below it, and nothing at 0", async () => {
    using images = input(await testDevice(), [BATCH]);
    const sources = { drop: () => images, order: () => images };
    const kinds = (config: Partial<VitConfig>) =>
      [0, 1, 2].map((i) => {
        const { attention, mlp } = branchDrops({ ...v2, depth: 3, ...config }, i, BATCH, sources);
        expect(mlp.kind).to.equal(attention.kind);
        return attention.kind;
      });
    expect(kinds({ dropPathRate: 0.2, batchPartAbove: 0.1 })).to.deep.equal(["none", "samples", "part"]);
    expect(kinds({ dropPathRate: 0.2, batchPartAbove: 0 })).to.deep.equal(["none", "part", "part"]);
    expect(kinds({ dropPathRate: 0.2 })).to.deep.equal(["none", "samples", "samples"]);
    expect(kinds({ dropPathRate: 0.2, batchPartAbove: 0.1, uniformDropPath: true })).to.deep.equal(
      Array<string>(3).fill("part"),
    );
  });

  for (const [name, config] of Object.entries({ v2, v3 })) {
    it(`${name} gives the same gradients where blocks are recomputed`, async () => {
      const device = await testDevice();
      const dropping = { ...config, dropPathRate: 0.5, batchPartAbove: 0.1 };
      const kept = await classesOf(dropping, () => ({ order }), device);
      const recomputed = await classesOf(dropping, () => ({ order, recompute: true }), device);
      expect(Object.keys(kept)).to.deep.equal(Object.keys(recomputed));
      for (const [output, values] of Object.entries(kept)) expect(recomputed[output], output).to.deep.equal(values);
      const whole = await classesOf(dropping, () => ({}), device);
      expect(whole["cls"]).to.not.deep.equal(kept["cls"]);
    });

    it(`${name} in f16 is close to f32`, async function () {
      const device = await testDevice();
      if (!device.features.has("shader-f16")) return this.skip(); // SwiftShader has none
      const dropping = { ...config, dropPathRate: 0.5, batchPartAbove: 0.1 };
      const exact = await classesOf(dropping, () => ({ order }), device);
      const rounded = await classesOf({ ...dropping, precision: "f16" }, () => ({ order }), device);
      expect(Object.keys(rounded)).to.deep.equal(Object.keys(exact));
      for (const [output, values] of Object.entries(exact)) {
        const largest = Math.max(...values.map(Math.abs));
        const apart = Math.max(...values.map((v, i) => Math.abs(v - rounded[output]![i]!)));
        expect(apart, output).to.be.at.most(0.01 * largest);
      }
      expect(rounded["cls"]).to.not.deep.equal(exact["cls"]);
    });
  }

  it("show the attention of all tokens, which rotary positions change", async () => {
    const device = await testDevice();
    const attentionOf = async (positions: RotaryPositions) => {
      const config = { ...v3, positions };
      using params = createParams(device, layoutOf(vitSpecs(config)), "backbone");
      params.write(startValues(config));
      const { attention } = await evaluate(device, () => ({
        attention: lastAttention(config, params.get, fill([1, 3, 12, 8], 1)),
      }));
      return attention;
    };
    const tokens = 1 + shape.registers + PATCHES;
    const attention = await attentionOf(rotary);
    expect(attention).to.have.length(shape.heads * tokens * tokens);
    for (let row = 0; row < shape.heads * tokens; row++) {
      const shares = attention.subarray(row * tokens, (row + 1) * tokens);
      expect(shares.reduce((total, share) => total + share)).to.be.closeTo(1, 1e-5);
    }
    expect(await attentionOf({ ...rotary, periods: { min: 1, max: 1e9 } })).to.not.deep.equal(attention);
  });

  it("refuse masks without a mask token, blocks that they lack, and heads that rows and columns do not share", async () => {
    const device = await testDevice();
    const mistakes: readonly (readonly [string, (images: Tensor) => unknown])[] = [
      ["vit: a mask needs a mask token", (x) => features(shape, () => x, x, { mask: fill([1, 6], 1) })],
      ["vit: block 2 is none of 0 to 1", (x) => intermediateLayers(shape, () => x, x, [0, 2])],
      ["vit: rotary positions need heads of whole fours, got 6", () => rotaryPeriods(rotary, 6)],
    ];
    for (const [message, mistake] of mistakes) {
      const failing = () => {
        const images = fill([1, 3, 12, 8], 0);
        expect(() => mistake(images)).to.throw(message);
        return { images };
      };
      await evaluate(device, failing);
    }
  });
});
