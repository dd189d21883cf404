import { expect } from "chai";
import { positionEmbedding } from "../../dino/model/positions.js";
import type { VitConfig } from "../../dino/model/vit-config.js";
import { evaluate, gradients, input, type Tensor } from "../../engine/index.js";
import { testDevice } from "../support/device.js";
import { golden, relmax } from "./golden.js";

interface InterpolationCase {
  readonly key: string;
  readonly base_grid: number;
  readonly patch: number;
  readonly dim: number;
  readonly rows_px: number;
  readonly cols_px: number;
}

describe("golden interpolated position embedding", () => {
  const file = golden.tensors("interp_pos");
  for (const { key, base_grid, patch, dim, rows_px, cols_px } of golden.json<{ cases: InterpolationCase[] }>(
    "interp_pos",
  ).cases) {
    it(key, async () => {
      const device = await testDevice();
      const side = base_grid * patch;
      const config: VitConfig = {
        imageRows: side,
        imageCols: side,
        patch,
        dim,
        depth: 1,
        heads: 1,
        mlpRatio: 4,
        channels: 3,
        dropPathRate: 0,
      };
      const name = `base${base_grid}.pos_embed`;
      using embedding = input(device, file.shape(name));
      embedding.write(file.f32(name));
      const hasGradient = file.has(`${key}.grad_out`);
      const [, tokens] = file.shape(`${key}.out`) as [number, number];
      using gradOut = input(device, [tokens, dim]);
      if (hasGradient) gradOut.write(file.f32(`${key}.grad_out`));
      const found = await evaluate(device, () => {
        const out = positionEmbedding(config, embedding, rows_px, cols_px);
        const outputs: Record<string, Tensor> = { out };
        if (hasGradient) outputs["grad"] = gradients(out, gradOut, [embedding])[0]!;
        return outputs;
      });
      expect(relmax(found["out"]!, file.f32(`${key}.out`))).to.be.below(2e-5);
      if (hasGradient) expect(relmax(found["grad"]!, file.f32(`${key}.grad_pos_embed`)), "gradient").to.be.below(2e-5);
    });
  }
});
