import { expect } from "chai";
import { batchMasks, blockMask, maskedPatches, masksOfShard, mostMasked } from "../../../dino/batches/block-masks.js";

const options = {
  ...{ rows: 7, cols: 6, images: 5, probability: 0.5 },
  ...{ ratios: [0.1, 0.5] as const, minPatches: 4, maxPatches: 21, minAspect: 0.3 },
};
const patches = options.rows * options.cols;

/** Draws blocks of these areas at the top left, as high as `aspect` times their width, and notes the bounds of areas. */
function drawsOf(areas: readonly number[], aspect = 1) {
  const bounds: number[] = [];
  let uniforms = 0;
  const uniformIn = (_: number, high: number): number => {
    if (uniforms++ % 2 === 1) return Math.log(aspect);
    bounds.push(high);
    return areas[(bounds.length - 1) % areas.length]!;
  };
  return { bounds, draws: { uniformIn, integer: () => 0 } };
}

describe("one block mask", () => {
  const limits = { rows: 4, cols: 5, minPatches: 4, maxPatches: 6, minAspect: 0.3 };

  it("gives up a block after ten places, among them all that are as high or as wide as the grid", () => {
    for (const [area, aspect] of [
      [4, 4], // 4 x 1
      [5, 1 / 5], // 1 x 5
      [9, 1], // 9 patches are too many
    ] as const) {
      const { bounds, draws } = drawsOf([area], aspect);
      expect(blockMask(limits, 12, draws)).to.deep.equal(new Uint8Array(20));
      expect(bounds).to.deep.equal(new Array(10).fill(6));
    }
  });

  it("limits a block to the patches left and to the greatest area", () => {
    const { bounds, draws } = drawsOf([4, 6], 1.5); // 2 x 2, then 3 x 2 of which 2 are new
    const mask = blockMask(limits, 8, draws);
    expect([...mask].map((masked, i) => (masked ? i : -1)).filter((i) => i >= 0)).to.deep.equal([0, 1, 5, 6, 10, 11]);
    expect(bounds.slice(0, 3)).to.deep.equal([6, 4, 2]);
  });
});

describe("block masks", () => {
  it("are a pure function of seed and step", () => {
    const masks = batchMasks(options, { seed: 1, step: 2 });
    expect(batchMasks(options, { seed: 1, step: 2 })).to.deep.equal(masks);
    expect(batchMasks(options, { seed: 1, step: 3 })).to.not.deep.equal(masks);
    expect(batchMasks(options, { seed: 2, step: 2 })).to.not.deep.equal(masks);
  });

  it("fit the tensors of a part of the images, whichever crops are masked", () => {
    for (let step = 0; step < 50; step++) {
      const masks = batchMasks(options, { seed: 1, step });
      const { images } = options;
      for (let rank = 0; rank < images / 2; rank++) {
        const shard = { rank, size: images / 2 };
        const { indices } = maskedPatches(masksOfShard(masks, { images, parts: 1, shard }), patches);
        expect(indices.length).to.be.at.most(mostMasked(options, 2));
      }
    }
  });

  it("of a device are those of its images, in each part the first crops, then the second ones", () => {
    const masks = Uint8Array.from([0, 1, 2, 3, 4, 5, 6, 7]); // a patch of two crops of four images
    const of = (parts: number, rank: number, size: number) => [
      ...masksOfShard(masks, { images: 4, parts, shard: { rank, size } }),
    ];
    expect(of(1, 0, 1)).to.deep.equal([...masks]);
    expect(of(1, 1, 2)).to.deep.equal([2, 3, 6, 7]);
    expect(of(2, 0, 1)).to.deep.equal([0, 1, 4, 5, 2, 3, 6, 7]);
    expect(of(2, 1, 2)).to.deep.equal([1, 5, 3, 7]);
  });

  it("may all be empty", () => {
    const none = { ...options, probability: 0 };
    const { indices, weights } = maskedPatches(batchMasks(none, { seed: 1, step: 0 }), patches);
    expect([indices.length, weights.length, mostMasked(none)]).to.deep.equal([0, 0, 0]);
  });
});
