import { expect } from "chai";
import { head, type HeadConfig, headSpecs } from "../../dino/model/head.js";
import { evaluate, fill, gradients, input, linear, mul, sum, type Tensor } from "../../engine/index.js";
import { testDevice } from "../support/device.js";
import { golden, type GoldenTensors, goldenV2, relmax, toleranceIn } from "./golden.js";
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

/** A head of DINOv2, whose lengths of prototypes are always trained. */
interface HeadV2Case {
  readonly in_dim: number;
  readonly out_dim: number;
  readonly hidden_dim: number;
  readonly bottleneck_dim: number;
  readonly nlayers: number;
  readonly use_bn: boolean;
  readonly loss: number;
  readonly tolerance: Readonly<Record<string, string>>;
}

/** What a file says of a head besides its tensors. */
interface Expected {
  readonly loss: number;
  readonly frozen: readonly string[];
  readonly tolerance: { readonly forward: number; readonly gradients: number };
}

async function checkHead(config: HeadConfig, file: GoldenTensors, { loss, frozen, tolerance }: Expected) {
  const device = await testDevice();
  using params = await goldenParams(file, { prefix: "state.", frozen });
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
    const total = sum(mul(mul(out, out), weight));
    const outputs: Record<string, Tensor> = { out, loss: total };
    const wrt = [x, ...trained.map((name) => params.get(name))];
    gradients(total, fill([], 1), wrt).forEach((g, i) => (outputs[`grad.${i === 0 ? "x" : trained[i - 1]!}`] = g!));
    return outputs;
  });
  expect(relmax(found["out"]!, file.f32("out"))).to.be.below(tolerance.forward);
  expect(found["loss"]![0]! / loss).to.be.closeTo(1, 1e-5);
  const stored = file.names.filter((name) => name.startsWith("grad."));
  expect(stored).to.have.length(trained.length + 1);
  for (const name of stored) expect(relmax(found[name]!, file.f32(name)), name).to.be.below(tolerance.gradients);
}

describe("golden dino head", () => {
  for (const [tag, sizes] of Object.entries(golden.json<Record<string, HeadCase>>("dino_head"))) {
    it(tag, async () => {
      const config = {
        inDim: sizes.in_dim,
        hidden: sizes.hidden,
        bottleneck: sizes.bott,
        out: sizes.out,
        layers: sizes.nlayers,
        batchNorm: sizes.use_bn,
        normLastLayer: sizes.norm_last,
      };
      const tolerance = { forward: 1e-5, gradients: 5e-5 };
      const expected = { loss: sizes.loss, frozen: sizes.no_grad, tolerance };
      await checkHead(config, golden.tensors(`dino_head_${tag}`), expected);
    });
  }
});

describe("golden head of DINOv2", () => {
  for (const name of goldenV2.cases(/^head2_/)) {
    it(name, async () => {
      const sizes = goldenV2.json<HeadV2Case>(name);
      const config = {
        inDim: sizes.in_dim,
        hidden: sizes.hidden_dim,
        bottleneck: sizes.bottleneck_dim,
        out: sizes.out_dim,
        layers: sizes.nlayers,
        batchNorm: sizes.use_bn,
        normLastLayer: false,
      };
      const tolerance = {
        forward: toleranceIn(sizes.tolerance["head forward"]),
        gradients: toleranceIn(sizes.tolerance["head gradients"]),
      };
      await checkHead(config, goldenV2.tensors(name), { loss: sizes.loss, frozen: [], tolerance });
    });
  }
});
