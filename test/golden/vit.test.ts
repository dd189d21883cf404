import { expect } from "chai";
import { prepareTokens } from "../../dino/model/tokens.js";
import type { VitConfig } from "../../dino/model/vit-config.js";
import { intermediateLayers, lastAttention, vit } from "../../dino/model/vit.js";
import { dropPath, evaluate, fill, gradients, input, mul, type Params, sum, type Tensor } from "../../engine/index.js";
import { testDevice } from "../support/device.js";
import { golden, relmax } from "./golden.js";
import { goldenParams } from "./params.js";

export interface VitCase {
  readonly config: {
    img: number;
    patch: number;
    dim: number;
    depth: number;
    heads: number;
    mlp: number;
    n_inter: number;
  };
  readonly loss: Readonly<Record<string, number>>;
  readonly inputs: Readonly<Record<string, readonly number[]>>;
  readonly drop_path_prob: number;
}

/** The key part of this gradient is rounding noise around 0: softmax ignores what is added to all scores. */
const KEY_BIAS = /attn\.qkv\.bias$/;

describe("golden vit", () => {
  const { config: sizes, loss, inputs, drop_path_prob } = golden.json<VitCase>("vit");
  const config: VitConfig = {
    imageRows: sizes.img,
    imageCols: sizes.img,
    patch: sizes.patch,
    dim: sizes.dim,
    depth: sizes.depth,
    heads: sizes.heads,
    mlpRatio: sizes.mlp,
    channels: 3,
    dropPathRate: 0,
  };
  const io = golden.tensors("vit_io");
  const grads = golden.tensors("vit_grads");
  let params: Params;

  before(async () => {
    params = await goldenParams(golden.tensors("vit_state"));
  });
  after(() => params[Symbol.dispose]());

  async function stored(name: string) {
    const x = input(await testDevice(), io.shape(name));
    x.write(io.f32(name));
    return x;
  }

  for (const name of Object.keys(inputs)) {
    it(`${name}: tokens, cls, attention and intermediate layers`, async () => {
      using x = await stored(`${name}.x`);
      const found = await evaluate(await testDevice(), () => {
        const layers = intermediateLayers(config, params.get, x, sizes.n_inter);
        const outputs: Record<string, Tensor> = {
          tokens: prepareTokens(config, params.get, x),
          cls: vit(config, params.get, x),
          attn_last: lastAttention(config, params.get, x),
        };
        layers.forEach((layer, i) => (outputs[`inter${i}`] = layer));
        return outputs;
      });
      for (const [output, values] of Object.entries(found)) {
        expect(relmax(values, io.f32(`${name}.${output}`)), output).to.be.below(2e-5);
      }
    });
  }

  for (const name of Object.keys(inputs)) {
    it(`${name}: attention of the first tokens alone`, async () => {
      using x = await stored(`${name}.x`);
      const QUERIES = 2;
      const { found } = await evaluate(await testDevice(), () => ({
        found: lastAttention(config, params.get, x, QUERIES),
      }));
      const [batch, heads, tokens] = io.shape(`${name}.attn_last`) as [number, number, number];
      const all = io.f32(`${name}.attn_last`);
      const expected = Array.from({ length: batch * heads }, (_, i) =>
        Array.from(all.subarray(i * tokens ** 2, i * tokens ** 2 + QUERIES * tokens)),
      ).flat();
      expect(relmax(found, Float32Array.from(expected))).to.be.below(2e-5);
    });
  }

  for (const [name, expectedLoss] of Object.entries(loss)) {
    it(`${name}: gradients of the fixed loss`, async () => {
      using x = await stored(`${name}.x`);
      using weight = await stored(`${name}.loss_w`);
      const names = params.layout.entries.map((entry) => entry.name);
      const found = await evaluate(await testDevice(), () => {
        const cls = vit(config, params.get, x);
        const total = sum(mul(mul(cls, cls), weight));
        const wrt = [...names.map((n) => params.get(n)), x];
        const outputs: Record<string, Tensor> = { total };
        gradients(total, fill([], 1), wrt).forEach((g, i) => {
          if (g) outputs[names[i] ?? "x"] = g;
        });
        return outputs;
      });
      expect(found["total"]![0]! / expectedLoss).to.be.closeTo(1, 1e-5);
      expect(relmax(found["x"]!, io.f32(`${name}.grad_x`)), "grad_x").to.be.below(1e-4);
      for (const n of names) {
        const expected = grads.f32(`${name}.${n}`);
        const actual = found[n]!;
        if (KEY_BIAS.test(n)) {
          actual.fill(0, config.dim, 2 * config.dim);
          expected.fill(0, config.dim, 2 * config.dim);
        }
        expect(relmax(actual, expected), n).to.be.below(1e-4);
      }
    });
  }

  it("drop path", async () => {
    using x = await stored("drop_path.x");
    using uniform = await stored("drop_path.uniform");
    const { y } = await evaluate(await testDevice(), () => ({
      y: dropPath(x, [{ uniform, rows: x.shape[0]! }], drop_path_prob),
    }));
    expect(relmax(y, io.f32("drop_path.out"))).to.be.below(1e-6);
  });
});
