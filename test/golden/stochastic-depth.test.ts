import { expect } from "chai";
import { block, branchDrops, joined } from "../../dino/model/block.js";
import type { VitConfig } from "../../dino/model/vit-config.js";
import { evaluate, fill, gradients, input, mul, reshape, sum, type Tensor } from "../../engine/index.js";
import { testDevice } from "../support/device.js";
import { goldenV2, relmax, toleranceIn } from "./golden.js";
import { goldenParams } from "./params.js";

interface StochasticDepthCase {
  readonly batch: number;
  readonly dim: number;
  readonly heads: number;
  readonly drop_ratio: number;
  readonly loss: number;
  readonly tolerance: Readonly<Record<string, string>>;
}

describe("golden stochastic depth of DINOv2", () => {
  for (const name of goldenV2.cases(/^stochastic_depth/)) {
    it(name, async () => {
      const device = await testDevice();
      const golden = goldenV2.json<StochasticDepthCase>(name);
      const tolerance = (what: string) => toleranceIn(golden.tolerance[what]);
      const file = goldenV2.tensors(name);
      using params = await goldenParams(file, { prefix: "state." });
      const config: VitConfig = {
        imageRows: 1,
        imageCols: 1,
        patch: 1,
        dim: golden.dim,
        depth: 1,
        heads: golden.heads,
        mlpRatio: file.shape("state.mlp.fc1.weight")[0]! / golden.dim,
        channels: 3,
        dropPathRate: golden.drop_ratio,
        uniformDropPath: true,
        batchPartAbove: 0.1,
        layerScale: 1,
      };
      const stored = (key: string) => {
        const x = input(device, file.shape(key));
        x.write(file.f32(key));
        return x;
      };
      using x = stored("x");
      using weight = stored("loss_w");
      const orders = ["perm_attn", "perm_ffn"].map((key) => {
        const order = input(device, file.shape(key), { dtype: "u32" });
        order.write(file.i32(key));
        return order;
      });
      const names = params.layout.entries.map((entry) => entry.name);
      const found = await evaluate(device, () => {
        const drawn = orders.values();
        const drops = branchDrops(config, 0, golden.batch, { order: () => drawn.next().value! });
        const [batch, tokens, dim] = x.shape as readonly [number, number, number];
        const groups = [{ batch, tokens, rotation: undefined, drops: [drops] }];
        const own = (each: string) => params.get(each.replace(/^blocks\.0\./, ""));
        const rows = joined(block(config, own, { x: reshape(x, [batch * tokens, dim]), groups }, 0));
        const out = reshape(rows, x.shape);
        const loss = sum(mul(mul(out, out), weight));
        const outputs: Record<string, Tensor> = { out, loss };
        gradients(loss, fill([], 1), [x, ...names.map((each) => params.get(each))]).forEach((gradient, i) => {
          outputs[i === 0 ? "grad_x" : `grad.${names[i - 1]!}`] = gradient!;
        });
        return outputs;
      });
      for (const order of orders) order[Symbol.dispose]();
      expect(relmax(found["out"]!, file.f32("out"))).to.be.at.most(tolerance("forward"));
      expect(found["loss"]![0]! / golden.loss).to.be.closeTo(1, tolerance("loss value"));
      const expected = file.names.filter((key) => key.startsWith("grad"));
      expect(expected).to.have.length(names.length + 1);
      for (const key of expected) expect(relmax(found[key]!, file.f32(key)), key).to.be.at.most(tolerance("gradients"));
    });
  }
});
