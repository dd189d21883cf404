/** The built-in images: what can be said of them by looking at pixels alone. */
import { expect } from "chai";
import { builtinImages } from "../../../dino/images/builtin.js";
import type { ImageSet } from "../../../dino/images/image-set.js";
import { isFailure } from "../../../dino/images/image-location.js";

async function pixelsOf(set: ImageSet, index: number): Promise<Uint8Array> {
  const image = await set.decode(index);
  if (isFailure(image)) throw new Error(image.reason);
  expect([image.rows, image.cols]).to.deep.equal([64, 64]);
  return image.pixels;
}

/** Mean of all channels from 0 to 255, for each class. */
async function brightness(set: ImageSet): Promise<number[]> {
  const sums = new Float64Array(set.classes.length);
  for (let index = 0; index < set.count; index++) {
    const pixels = await pixelsOf(set, index);
    sums[set.labels![index]!]! += pixels.reduce((sum, value) => sum + value, 0) / pixels.length;
  }
  return Array.from(sums, (sum) => sum / (set.count / set.classes.length));
}

describe("the built-in images", () => {
  const { train, test } = builtinImages();

  it("are the same ones whenever they are drawn", async () => {
    const again = builtinImages();
    for (const index of [0, 7, 1999]) {
      expect(await pixelsOf(again.train, index)).to.deep.equal(await pixelsOf(train, index));
    }
    expect(again.test.labels).to.deep.equal(test.labels);
  });

  it("have each class equally often in both parts", () => {
    for (const { classes, labels, count } of [train, test]) {
      const counts = classes.map((_, label) => labels!.filter((other) => other === label).length);
      expect(counts).to.deep.equal(classes.map(() => count / 10));
    }
  });

  it("have no sheet twice", async () => {
    const seen = new Set<string>();
    for (const set of [train, test]) {
      for (let index = 0; index < set.count; index++) {
        seen.add(Buffer.from(await pixelsOf(set, index)).toString("latin1"));
      }
    }
    expect(seen.size).to.equal(2500);
  });

  it("are as bright in every class, so that brightness does not tell them apart", async () => {
    const means = await brightness(train);
    const overall = means.reduce((sum, mean) => sum + mean, 0) / means.length;
    for (const mean of means) expect(mean / overall).to.be.within(0.85, 1.15);
  });
});
