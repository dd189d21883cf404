import { expect } from "chai";
import { positionEmbedding, rotaryAngles, rotaryPeriods } from "../../dino/model/positions.js";
import type { RotaryPositions, VitConfig } from "../../dino/model/vit-config.js";
import { evaluate, gradients, input, type Tensor } from "../../engine/index.js";
import { testDevice } from "../support/device.js";
import { rotaryPositions } from "./backbone-case.js";
import { goldenV2, relmax, toleranceIn } from "./golden.js";

interface InterpolationFile {
  readonly dim: number;
  readonly patch_size: number;
  readonly cases: readonly {
    readonly key: string;
    readonly base: number;
    readonly rows: number;
    readonly cols: number;
    readonly interpolate_offset: number;
    readonly interpolate_antialias: boolean;
    readonly pos_embed: string;
    readonly grad_out: string;
    readonly has_grad: boolean;
  }[];
  readonly tolerance: Readonly<Record<string, string>>;
}

describe("golden resampled positions of DINOv2", () => {
  const { cases, dim, patch_size, tolerance } = goldenV2.json<InterpolationFile>("interp2");
  const file = goldenV2.tensors("interp2");
  const most = Math.min(...Object.values(tolerance).map(toleranceIn));
  for (const given of cases) {
    it(given.key, async () => {
      const device = await testDevice();
      const config: VitConfig = {
        imageRows: given.base * patch_size,
        imageCols: given.base * patch_size,
        patch: patch_size,
        dim,
        depth: 1,
        heads: 1,
        mlpRatio: 4,
        channels: 3,
        dropPathRate: 0,
        positions: { kind: "learned", offset: given.interpolate_offset, antialias: given.interpolate_antialias },
      };
      using embedding = input(device, file.shape(given.pos_embed));
      embedding.write(file.f32(given.pos_embed));
      const [, tokens] = file.shape(`${given.key}.out`) as [number, number];
      using gradOut = input(device, [tokens, dim]);
      gradOut.write(file.f32(given.grad_out));
      const found = await evaluate(device, () => {
        const out = positionEmbedding(config, embedding, given.rows * patch_size, given.cols * patch_size);
        const outputs: Record<string, Tensor> = { out };
        if (given.has_grad) outputs["grad"] = gradients(out, gradOut, [embedding])[0]!;
        return outputs;
      });
      expect(relmax(found["out"]!, file.f32(`${given.key}.out`))).to.be.at.most(most);
      if (given.has_grad)
        expect(relmax(found["grad"]!, file.f32(`${given.key}.grad_pos_embed`)), "gradient").to.be.at.most(most);
    });
  }
});

interface RopeFile {
  readonly cases: readonly {
    readonly key: string;
    readonly head_dim: number;
    readonly base: number | null;
    readonly min_period?: number;
    readonly max_period?: number;
    readonly normalize_coords: RotaryPositions["normalize"];
    readonly grids: readonly { readonly rows: number; readonly cols: number; readonly key: string }[];
  }[];
  readonly tolerance: { readonly periods: string; readonly "sin, cos": string };
}

describe("golden rotary positions of DINOv3", () => {
  const { cases, tolerance } = goldenV2.json<RopeFile>("rope3");
  const file = goldenV2.tensors("rope3");
  const drawn = (name: string) => (file.has(name) ? file.f32(name) : [0, 0]);
  const [usual, ofMinPeriod] = tolerance["sin, cos"].split("(").map(toleranceIn) as [number, number];
  for (const given of cases) {
    const positions = rotaryPositions(given);
    it(`${given.key}: periods`, () => {
      const expected = file.f32(`${given.key}.periods`);
      const periods = rotaryPeriods(positions, given.head_dim);
      expect(periods).to.have.length(expected.length);
      const most = toleranceIn(tolerance.periods);
      periods.forEach((period, i) => expect(period / expected[i]!).to.be.closeTo(1, most));
    });

    for (const { rows, cols, key } of given.grids) {
      it(`${key}: sines and cosines`, () => {
        const [shift, jitter] = [drawn(`${key}.shift`), drawn(`${key}.log_jitter`)];
        const [rescale] = drawn(`${key}.log_rescale`);
        const angles = rotaryAngles(
          positions,
          given.head_dim,
          { rows, cols },
          {
            shift: [shift[0]!, shift[1]!],
            factor: [Math.exp(jitter[0]! + rescale!), Math.exp(jitter[1]! + rescale!)],
          },
        );
        const pairs = given.head_dim / 2;
        for (const [table, of] of Object.entries({ sin: Math.sin, cos: Math.cos })) {
          const expected = file.f32(`${key}.${table}`);
          expect(expected).to.have.length(2 * angles.length);
          const apart = expected.map((v, i) => {
            const patch = Math.floor(i / given.head_dim);
            return Math.abs(v - of(angles[patch * pairs + (i % pairs)]!)); // the table holds every angle twice
          });
          expect(Math.max(...apart), table).to.be.at.most(given.base === null ? ofMinPeriod : usual);
        }
      });
    }
  }
});
