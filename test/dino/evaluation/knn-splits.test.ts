import { expect } from "chai";
import { knnSplits } from "../../../dino/evaluation/knn-splits.js";
import { memoryImages } from "../../../dino/images/image-set.js";
import type { Subset } from "../../../dino/images/split.js";

/** Numbers of images of a set of 200, with classes or without. */
function partOf(from: number, to: number, hasClasses = true): Subset {
  const image = { rows: 1, cols: 1, pixels: new Uint8Array(3) };
  const labels = Array.from({ length: 200 }, (_, i) => i % 2);
  const images = memoryImages({
    images: labels.map(() => image),
    ...(hasClasses && { labels, classes: ["a", "b"] }),
  });
  return { images, indices: Int32Array.from({ length: to - from }, (_, i) => from + i) };
}

describe("images that k-NN compares", () => {
  const seed = 3;
  const [auto, asked] = [
    { knnEvery: null, seed },
    { knnEvery: 1, seed },
  ];

  it("are all of both parts where it is asked for and images are held out", () => {
    const parts = { train: partOf(0, 150), test: partOf(150, 200) };
    expect(knnSplits(parts, asked, 1)).to.deep.equal({ ...parts, areTrainedOn: false });
  });

  it("are no more than the run is trained on where it is not, a fifth of them classified, but at least a hundred", () => {
    const parts = { train: partOf(0, 150), test: partOf(150, 200) };
    for (const [trainedOn, counts] of [
      [1, [80, 20]],
      [120, [96, 24]],
      [1e6, [150, 50]],
    ] as const) {
      const { train, test, areTrainedOn } = knnSplits(parts, auto, trainedOn)!;
      expect([train.indices.length, test.indices.length], `${trainedOn}`).to.deep.equal(counts);
      expect(areTrainedOn).to.equal(false);
      for (const [subset, from, to] of [
        [train, 0, 150],
        [test, 150, 200],
      ] as const) {
        expect(new Set(subset.indices).size).to.equal(subset.indices.length);
        for (const index of subset.indices) expect(index).to.be.within(from, to - 1);
        expect([...subset.indices]).to.deep.equal([...subset.indices].sort((a, b) => a - b));
      }
      expect(knnSplits(parts, auto, trainedOn)).to.deep.equal(knnSplits(parts, auto, trainedOn));
    }
  });

  it("are taken from those trained on where none are held out, no image among its own neighbours", () => {
    const parts = { train: partOf(0, 200), test: partOf(0, 0) };
    for (const config of [auto, asked]) {
      const { train, test, areTrainedOn } = knnSplits(parts, config, 1e6)!;
      expect(areTrainedOn).to.equal(true);
      expect([train.indices.length, test.indices.length]).to.deep.equal([160, 40]);
      expect(new Set([...train.indices, ...test.indices]).size).to.equal(200);
    }
  });

  it("are none where there are no classes or too few images", () => {
    expect(knnSplits({ train: partOf(0, 150, false), test: partOf(150, 200, false) }, auto, 1e6)).to.equal(undefined);
    expect(knnSplits({ train: partOf(0, 4), test: partOf(0, 0) }, auto, 1e6)).to.equal(undefined);
  });
});
