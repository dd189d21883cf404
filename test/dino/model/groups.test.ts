import { expect } from "chai";
import { rng } from "../../../dino/math/random.js";
import type { DropSource } from "../../../dino/model/block.js";
import type { VitConfig } from "../../../dino/model/vit-config.js";
import { vit, vitOfGroups } from "../../../dino/model/vit.js";
import { type Device, evaluate, input, type Precision } from "../../../engine/index.js";
import { testDevice } from "../../support/device.js";
import { tinyBackbone } from "../../support/tiny-backbone.js";

const sizes = [
  { batch: 2, side: 8 },
  { batch: 3, side: 12 },
];

const dinov3: Partial<VitConfig> = {
  dim: 128,
  registers: 1,
  positions: { kind: "rotary", periods: { base: 100 }, normalize: "separate" },
  maskKeyBias: true,
  layerScale: 0.5,
  ffn: "swiglu",
};

describe("groups of images of several sizes", () => {
  const cases: readonly (readonly [string, Partial<VitConfig>, Precision])[] = [
    ["in one tensor", { dim: 128, registers: 2 }, "f32"],
    ["in one tensor, in f16", { dim: 128 }, "f16"],
    ["in one tensor, as DINOv3", dinov3, "f32"],
    ["one after another, where kernels cannot bind parts of it", {}, "f32"],
  ];
  for (const [how, changes, precision] of cases) {
    it(`have the features of each by itself, ${how}`, async function () {
      const device = await testDevice();
      if (precision === "f16" && !device.features.has("shader-f16")) this.skip();
      const { alone, together } = await features(device, { ...changes, precision, dropPathRate: 0.6 });
      expect(together).to.have.length(alone.length);
      const largest = alone.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      const tolerance = precision === "f16" ? 2e-3 : 1e-5;
      together.forEach((value, i) => expect(value, `at ${i}`).to.be.closeTo(alone[i]!, tolerance * largest));
    });
  }
});

/** Features of groups by themselves and together, with the same images and the same numbers of drop path. */
async function features(device: Device, changes: Partial<VitConfig>) {
  const { vit: shape, params } = tinyBackbone(device, changes);
  const groups = sizes.map(({ batch, side }) => ({ images: uniforms(device, [batch, 3, side, side]) }));
  /** Draws by the size of the batch, in which the groups differ. */
  const drop = (): DropSource => {
    const drawn = new Map<number, number>();
    return (batch) => {
      drawn.set(batch, (drawn.get(batch) ?? 0) + 1);
      return uniforms(device, [batch], drawn.get(batch));
    };
  };
  const { together } = await evaluate(device, () => ({
    together: vitOfGroups(shape, params, groups, { drop: drop() }),
  }));
  const alone: number[] = [];
  for (const { images } of groups) {
    const { cls } = await evaluate(device, () => ({ cls: vit(shape, params, images, { drop: drop() }) }));
    alone.push(...cls);
  }
  return { alone, together };
}

function uniforms(device: Device, shape: readonly number[], seed = 0) {
  const random = rng({ seed, purpose: `[${shape.join(", ")}]` });
  const x = input(device, shape);
  x.write(Float32Array.from({ length: shape.reduce((product, axis) => product * axis, 1) }, () => random.uniform()));
  return x;
}
