import { expect } from "chai";
import { type FeatureRows, normalizeRows } from "../../../dino/math/feature-rows.js";
import { rng } from "../../../dino/math/random.js";
import { approximateNeighbors } from "../../../dino/retrieval/approximate-neighbors.js";
import { neighborsOf } from "../../../dino/retrieval/neighbors.js";
import { testDevice } from "../../support/device.js";

const K = 7;

/** Features in groups of about forty, of length one. */
function groupedFeatures(rows: number): FeatureRows {
  const random = rng({ seed: 4, purpose: "groups" });
  const dim = 12;
  const means = Array.from({ length: Math.ceil(rows / 40) }, () => Array.from({ length: dim }, () => random.normal()));
  const values = new Float32Array(rows * dim);
  for (let row = 0; row < rows; row++) {
    const mean = means[random.integer(means.length)]!;
    for (let c = 0; c < dim; c++) values[row * dim + c] = mean[c]! + 0.4 * random.normal();
  }
  return normalizeRows({ values, rows, dim });
}

describe("approximate neighbours", () => {
  const features = groupedFeatures(3000);

  it("are nearly all of the exact ones, and say how many", async () => {
    const found = await approximateNeighbors({ device: await testDevice(), features, k: K, seed: 0 });
    const exact = await neighborsOf({ features, k: K });
    let hits = 0;
    for (let row = 0; row < features.rows; row++) {
      const own = found.rows.subarray(row * K, (row + 1) * K);
      const cosines = found.similarities.subarray(row * K, (row + 1) * K);
      expect(new Set(own).size, `different neighbours of ${row}`).to.equal(K);
      expect([...own]).to.not.include(row);
      expect([...cosines]).to.deep.equal([...cosines].sort((a, b) => b - a));
      hits += exact.rows.subarray(row * K, (row + 1) * K).filter((other) => own.includes(other)).length;
    }
    const recall = hits / exact.rows.length;
    expect(recall).to.be.within(0.95, 0.9999);
    expect(found.recall).to.be.closeTo(recall, 0.02);
  });

  it("are the same for the same seed", async () => {
    const options = { device: await testDevice(), features, k: K };
    const first = await approximateNeighbors({ ...options, seed: 0 });
    expect(await approximateNeighbors({ ...options, seed: 0 })).to.deep.equal(first);
    expect((await approximateNeighbors({ ...options, seed: 1 })).rows).to.not.deep.equal(first.rows);
  });

  it("of copies of one image are found without comparing all with all", async () => {
    const rows = 9000;
    const alike = { values: new Float32Array(2 * rows).fill(Math.SQRT1_2), rows, dim: 2 };
    let compared = 0;
    const onProgress = (done: number) => (compared = done);
    const device = await testDevice();
    const found = await approximateNeighbors({ device, features: alike, k: K, seed: 0, onProgress });
    expect(compared).to.be.within(rows, 4 * rows * 4000);
    expect(found.similarities.every((similarity) => Math.abs(similarity - 1) < 1e-5)).to.equal(true);
  });

  it("are as many as asked for where a cell has fewer images", async () => {
    const few = groupedFeatures(300);
    const device = await testDevice();
    const { rows, similarities } = await approximateNeighbors({ device, features: few, k: 20, seed: 0, perCenter: 2 });
    expect(rows.every((row) => row >= 0)).to.equal(true);
    expect(similarities.every((similarity) => similarity >= -1)).to.equal(true);
  });
});
