import { expect } from "chai";
import { evaluate, fill, gradients, input, linear, mul, sum, type Tensor } from "../../engine/index.js";
import { head, headSpecs } from "../../dino/model/head.js";
import { testDevice } from "../support/device.js";
import { golden, relmax } from "./golden.js";
import { goldenParams } from "./params.js";

export interface HeadCase {
  readonly tag: string;
  readonly in_dim: number;
  readonly out: number;
  readonly hidden: number;
  readonly bott: number;
  readonly nlayers: number;
  readonly norm_last: boolean;
  readonly loss: number;
  readonly use_bn: boolean;
  readonly no_grad: readonly string[];
}

describe("golden dino head", () => {
  for (const [tag, sizes] of Object.entries(golden.json<Record<string, HeadCase>>("dino_head"))) {
    it(tag, async () => {
      const device = await testDevice();
      const file = golden.tensors(`dino_head_${tag}`);
      const config = {
        inDim: sizes.in_dim,
        hidden: sizes.hidden,
        bottleneck: sizes.bott,
        out: sizes.out,
        layers: sizes.nlayers,
        batchNorm: sizes.use_bn,
        normLastLayer: sizes.norm_last,
      };
      using params = await goldenParams(file, { prefix: "state.", frozen: sizes.no_grad });
      const named = (specs: readonly { name: string; trainable: boolean }[]) =>
        specs.map(({ name, trainable }) => ({ name, trainable }));
      expect(named(headSpecs(config))).to.deep.equal(named(params.layout.entries));
      using x = input(device, file.shape("x"));
      x.write(file.f32("x"));
      using weight = input(device, file.shape("loss_w"));
      weight.write(file.f32("loss_w"));
      const trained = params.layout.entries.filter(({ trainable }) => trainable).map(({ name }) => name);
      const found = await evaluate(device, () => {
        const logits = head(config, params.get, x);
        const out = linear(logits.x, logits.weight);
        const loss = sum(mul(mul(out, out), weight));
        const outputs: Record<string, Tensor> = { out, loss };
        const wrt = [x, ...trained.map((name) => params.get(name))];
        gradients(loss, fill([], 1), wrt).forEach((g, i) => (outputs[`grad.${i === 0 ? "x" : trained[i - 1]!}`] = g!));
        return outputs;
      });
      expect(relmax(found["out"]!, file.f32("out"))).to.be.below(1e-5);
      expect(found["loss"]![0]! / sizes.loss).to.be.closeTo(1, 1e-5);
      const stored = file.names.filter((name) => name.startsWith("grad."));
      expect(stored).to.have.length(trained.length + 1);
      for (const name of stored) expect(relmax(found[name]!, file.f32(name)), name).to.be.below(5e-5);
    });
  }
});
