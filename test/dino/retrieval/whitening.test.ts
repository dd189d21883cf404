import { expect } from "chai";
import { rng } from "../../../dino/math/random.js";
import { learnWhitening, whiten } from "../../../dino/retrieval/whitening.js";
import type { FeatureRows } from "../../../dino/math/feature-rows.js";

/** Rows around a mean far from 0, that vary much along some directions and little along others, and not by coordinates. */
function cloud(rows: number, dim: number): FeatureRows {
  const random = rng({ seed: 5, purpose: "cloud" });
  const turn = Float64Array.from({ length: dim * dim }, () => random.normal());
  const values = new Float32Array(rows * dim);
  for (let r = 0; r < rows; r++) {
    for (let d = 0; d < dim; d++) {
      const along = random.normal() / (1 + d);
      for (let c = 0; c < dim; c++) values[r * dim + c]! += along * turn[d * dim + c]!;
    }
    for (let c = 0; c < dim; c++) values[r * dim + c]! += 10 + c;
  }
  return { values, rows, dim };
}

/** Said plainly, in float64. */
function moments({ values, rows, dim }: FeatureRows): { readonly mean: number[]; readonly covariance: number[][] } {
  const at = (r: number, c: number): number => values[r * dim + c]!;
  const over = (of: (r: number) => number): number =>
    Array.from({ length: rows }, (_, r) => of(r) / rows).reduce((a, b) => a + b, 0);
  const mean = Array.from({ length: dim }, (_, c) => over((r) => at(r, c)));
  const covariance = mean.map((mi, i) => mean.map((mj, j) => over((r) => (at(r, i) - mi) * (at(r, j) - mj))));
  return { mean, covariance };
}

describe("whitening", () => {
  it("gives what it was learnt from mean 0 and the identity as covariance", () => {
    const features = cloud(500, 12);
    const { mean, covariance } = moments(whiten(features, learnWhitening(features)));
    for (const [i, value] of mean.entries()) expect(value, `mean ${i}`).to.be.closeTo(0, 1e-4);
    for (const [i, row] of covariance.entries()) {
      for (const [j, value] of row.entries()) expect(value, `${i}, ${j}`).to.be.closeTo(i === j ? 1 : 0, 1e-4);
    }
  });

  it("turns and scales by hand-computed numbers, the direction of most variance first", () => {
    // Rows (±3, 1) and (0, 1 ± 1): mean (0, 1), variances 18/4 and 2/4 along the axes.
    const features = { values: Float32Array.of(3, 1, -3, 1, 0, 2, 0, 0), rows: 4, dim: 2 };
    const learnt = learnWhitening(features);
    expect(Array.from(learnt.mean)).to.deep.equal([0, 1]);
    expect(learnt.raised).to.equal(0);
    const whitened = whiten({ values: Float32Array.of(9, 1, 0, 3), rows: 2, dim: 2 }, learnt);
    const sizes = Array.from(whitened.values, Math.abs); // the sign of a direction is free
    for (const [i, expected] of [9 / Math.sqrt(4.5), 0, 0, 2 / Math.sqrt(0.5)].entries())
      expect(sizes[i]).to.be.closeTo(expected, 1e-6);
  });

  it("leaves alone, but for the floor, where hardly anything varies", () => {
    const features = { values: Float32Array.of(1, 0, -1, 0, 1, 0, -1, 0), rows: 4, dim: 2 };
    const learnt = learnWhitening(features);
    expect(learnt.raised).to.equal(1);
    const whitened = whiten({ values: Float32Array.of(1, 1), rows: 1, dim: 2 }, learnt);
    expect(Math.abs(whitened.values[0]!)).to.be.closeTo(1, 1e-6);
    expect(Math.abs(whitened.values[1]!)).to.be.closeTo(1 / Math.sqrt(1e-5), 1e-2);
  });

  it("refuses what has no variance", () => {
    expect(() => learnWhitening({ values: Float32Array.of(1, 2), rows: 1, dim: 2 })).to.throw("at least 2 images");
    const same = { values: Float32Array.of(1, 2, 1, 2), rows: 2, dim: 2 };
    expect(() => learnWhitening(same)).to.throw("got the same for all");
  });
});
