import { expect } from "chai";
import { createNetwork, type DinoHeads, forward, type NetworkConfig, writeNetwork } from "../../dino/model/network.js";
import { scope } from "../../dino/model/vit-config.js";
import { vit } from "../../dino/model/vit.js";
import { evaluate, fill, gradients, input, type Input, linear, mul, sum, type Tensor } from "../../engine/index.js";
import { testDevice } from "../support/device.js";
import { golden, relmax } from "./golden.js";
import type { HeadCase } from "./head.test.js";
import type { VitCase } from "./vit.test.js";

interface MulticropCase {
  readonly B: number;
  readonly crops: readonly number[];
  readonly loss: number;
  readonly grad_norm: Readonly<Record<string, number>>;
  readonly param_names: readonly string[];
}

describe("golden multi-crop", () => {
  const { B: batch, crops, loss, grad_norm, param_names } = golden.json<MulticropCase>("multicrop");
  const { config: sizes } = golden.json<VitCase>("vit");
  const headSizes = Object.values(golden.json<Record<string, HeadCase>>("dino_head")).find(
    ({ norm_last }) => norm_last,
  )!;
  const file = golden.tensors("multicrop");
  const config: NetworkConfig<DinoHeads> = {
    vit: {
      imageRows: sizes.img,
      imageCols: sizes.img,
      patch: sizes.patch,
      dim: sizes.dim,
      depth: sizes.depth,
      heads: sizes.heads,
      mlpRatio: sizes.mlp,
      channels: 3,
      dropPathRate: 0,
    },
    heads: {
      head: {
        inDim: headSizes.in_dim,
        hidden: headSizes.hidden,
        bottleneck: headSizes.bott,
        out: headSizes.out,
        layers: headSizes.nlayers,
        batchNorm: headSizes.use_bn,
        normLastLayer: headSizes.norm_last,
      },
    },
  };

  it("outputs, loss and gradients of all crops together", async () => {
    const device = await testDevice();
    using network = createNetwork(device, config, "student");
    expect(
      network.params.layout.entries.map(({ name }) => name).filter((name) => param_names.includes(name)),
    ).to.deep.equal(param_names);
    const backbone = golden.tensors("vit_state");
    const head = golden.tensors(`dino_head_${headSizes.tag}`);
    const headNames = head.names.filter((name) => name.startsWith("state."));
    writeNetwork(
      network,
      new Map([
        ...backbone.names.map((name) => [`backbone.${name}`, backbone.f32(name)] as const),
        ...headNames.map((name) => [name.replace("state.", "head."), head.f32(name)] as const),
      ]),
    );
    // Crops of one size that follow each other share a pass.
    const groups: Input[] = [];
    for (let first = 0; first < crops.length;) {
      const size = crops[first]!;
      let count = 1;
      while (crops[first + count] === size) count++;
      const group = input(device, [count * batch, 3, size, size]);
      group.write(Array.from({ length: count }, (_, i) => [...file.f32(`crop${first + i}`)]).flat());
      groups.push(group);
      first += count;
    }
    using single = input(device, file.shape("crop0"));
    single.write(file.f32("crop0"));
    using last = input(device, file.shape(`crop${crops.length - 1}`));
    last.write(file.f32(`crop${crops.length - 1}`));
    using weight = input(device, file.shape("loss_w"));
    weight.write(file.f32("loss_w"));
    const trained = network.params.layout.entries.filter(({ trainable }) => trainable).map(({ name }) => name);
    const found = await evaluate(device, () => {
      const logitsOf = (images: readonly Tensor[]) => {
        const { x, weight: lastWeight } = forward(network, images).logits;
        return linear(x, lastWeight);
      };
      const logits = logitsOf(groups);
      const total = sum(mul(mul(logits, logits), weight));
      const outputs: Record<string, Tensor> = {
        out: logits,
        total,
        out_two_global: logitsOf(groups.slice(0, 1)),
        out_single: logitsOf([single]),
        backbone_crop_last: vit(config.vit, scope(network.params.get, "backbone."), last),
      };
      const wrt = trained.map((name) => network.params.get(name));
      gradients(total, fill([], 1), wrt).forEach((g, i) => (outputs[`grad.${trained[i]!}`] = g!));
      return outputs;
    });
    for (const group of groups) group[Symbol.dispose]();

    for (const name of ["out", "out_two_global", "out_single", "backbone_crop_last"]) {
      expect(relmax(found[name]!, file.f32(name)), name).to.be.below(2e-5);
    }
    expect(found["total"]![0]! / loss).to.be.closeTo(1, 1e-5);
    for (const [name, norm] of Object.entries(grad_norm)) {
      expect(Math.hypot(...found[`grad.${name}`]!) / norm, name).to.be.closeTo(1, 1e-4);
    }
    for (const name of file.names.filter((n) => n.startsWith("grad."))) {
      const expected = file.f32(name);
      const actual = found[name]!;
      if (name.endsWith("attn.qkv.bias")) {
        for (const values of [actual, expected]) values.fill(0, sizes.dim, 2 * sizes.dim); // rounding noise
      }
      expect(relmax(actual, expected), name).to.be.below(1e-4);
    }
  });
});
