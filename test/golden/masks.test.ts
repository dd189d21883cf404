import { expect } from "chai";
import {
  batchMasks,
  type BlockOptions,
  blockMask,
  halfOfPatches,
  type MaskDraws,
  maskedPatches,
  mostMasked,
} from "../../dino/batches/block-masks.js";
import { rng } from "../../dino/math/random.js";
import { goldenV2 } from "./golden.js";

/** How a file draws: its kind, the bounds, both included, and the number. */
type Draw = readonly [kind: "uniform" | "randint", low: number, high: number, value: number];

interface Grid {
  readonly rows: number;
  readonly cols: number;
}

interface Masks extends Record<string, unknown> {
  readonly replays: readonly (Grid & {
    readonly key: string;
    readonly num_masking_patches: number;
    readonly min_num_patches: number;
    readonly max_num_patches: number;
    readonly min_aspect: number;
    readonly masked: number;
    readonly draws: readonly Draw[];
  })[];
  readonly statistics: readonly (Grid & {
    readonly num_masking_patches: number;
    readonly masks: number;
    readonly count_max: number;
    readonly count_mean: number;
    readonly count_mean_standard_error: number;
    readonly masked_share_corner: number;
    readonly masked_share_center: number;
  })[];
  readonly collate: readonly (Grid & {
    readonly key: string;
    readonly images: number;
    readonly global_crops: number;
    readonly mask_ratio_min_max: readonly [number, number];
    readonly mask_sample_probability: number;
    readonly crops_with_mask: number;
    readonly upper_per_bin: readonly number[];
    readonly upperbound: number;
    readonly n_masked_patches: number;
  })[];
}

const golden = goldenV2.json<Masks>("masks2");
const tensors = goldenV2.tensors("masks2");
const { replays, statistics, collate } = golden;

/** The limits of DINOv2 for a grid, whose largest blocks take half of it in the official statistics. */
const limitsOf = ({ rows, cols }: Grid): BlockOptions => {
  return { rows, cols, minPatches: 4, maxPatches: 0.5 * rows * cols, minAspect: 0.3 };
};

describe("golden block masks of DINOv2", () => {
  for (const replay of replays) {
    it(`${replay.key}: the stored draws give exactly the mask`, () => {
      let used = 0;
      const next = (kind: Draw[0], low: number, high: number): number => {
        const [storedKind, storedLow, storedHigh, value] = replay.draws[used++]!;
        expect(kind).to.equal(storedKind);
        expect(low).to.be.closeTo(storedLow, 1e-12);
        expect(high).to.be.closeTo(storedHigh, 1e-12);
        return value;
      };
      const draws: MaskDraws = {
        uniformIn: (low, high) => next("uniform", low, high),
        integer: (n) => next("randint", 0, n - 1),
      };
      const limits: BlockOptions = {
        ...{ rows: replay.rows, cols: replay.cols, minAspect: replay.min_aspect },
        ...{ minPatches: replay.min_num_patches, maxPatches: replay.max_num_patches },
      };
      const mask = blockMask(limits, replay.num_masking_patches, draws);
      expect(used).to.equal(replay.draws.length);
      expect([...mask]).to.deep.equal([...tensors.u8(replay.key)]);
    });
  }

  for (const expected of statistics) {
    const { rows, cols, num_masking_patches: wanted, masks } = expected;
    it(`${wanted} patches of ${rows} x ${cols} are as many, and lie where the official ones do`, () => {
      const counts: number[] = [];
      let [corner, center] = [0, 0];
      for (let index = 0; index < masks; index++) {
        const mask = blockMask(limitsOf(expected), wanted, rng({ seed: 1, index, purpose: "statistics" }));
        counts.push(mask.reduce((sum, masked) => sum + masked, 0));
        corner += mask[0]!;
        center += mask[Math.floor(rows / 2) * cols + Math.floor(cols / 2)]!;
      }
      expect(Math.max(...counts)).to.equal(expected.count_max);
      const mean = counts.reduce((sum, count) => sum + count, 0) / masks;
      const variance = counts.reduce((sum, count) => sum + (count - mean) ** 2, 0) / masks;
      const error = Math.hypot(expected.count_mean_standard_error, Math.sqrt(variance / masks));
      expect(Math.abs(mean - expected.count_mean)).to.be.below(5 * error);
      for (const [found, share] of [
        [corner, expected.masked_share_corner],
        [center, expected.masked_share_center],
      ] as const) {
        const shareError = Math.sqrt((2 * share * (1 - share)) / masks); // of both sides
        expect(Math.abs(found / masks - share)).to.be.below(5 * shareError + 1 / masks);
      }
    });
  }

  for (const expected of collate) {
    const { key, rows, cols, images, mask_sample_probability: probability, mask_ratio_min_max: ratios } = expected;
    const options = { ...limitsOf(expected), images, probability, ratios };

    it(`${key}: masked patches, their weights and their upper bound`, () => {
      const { indices, weights } = maskedPatches(tensors.u8(`${key}.masks`), rows * cols);
      expect([...indices]).to.deep.equal([...tensors.i32(`${key}.mask_indices`)]);
      const stored = tensors.f32(`${key}.masks_weight`);
      expect(weights.length).to.equal(expected.n_masked_patches);
      weights.forEach((weight, i) => expect(weight / stored[i]!).to.be.closeTo(1, 1e-7));
      expect(mostMasked(options)).to.equal(expected.upperbound);
      const ofOneImage = expected.upper_per_bin.slice(-2).reduce((sum, most) => sum + most, 0);
      expect(mostMasked(options, 1)).to.equal(ofOneImage);
    });

    it(`${key}: a batch has as many masks, one in each bin`, () => {
      const masks = batchMasks(options, { seed: 4, step: 9 });
      const patches = rows * cols;
      const counts = Array.from({ length: expected.global_crops }, (_, crop) =>
        masks.subarray(crop * patches, (crop + 1) * patches).reduce((sum, masked) => sum + masked, 0),
      );
      const masked = counts.filter((count) => count > 0).sort((a, b) => a - b);
      expect(masked).to.have.length(expected.crops_with_mask);
      masked.forEach((count, bin) => {
        const least = bin === 0 ? Math.floor(patches * ratios[0]) : expected.upper_per_bin[bin - 1]!;
        expect(count).to.be.within(0.7 * least, expected.upper_per_bin[bin]!); // blocks may not fit any more
      });
    });
  }

  it("allows blocks of half of the patches of a crop", () => {
    expect(halfOfPatches(224, 224, 14)).to.equal(128);
    expect(halfOfPatches(224, 224, 16)).to.equal(98);
  });
});
