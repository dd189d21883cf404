import { expect } from "chai";
import { principalComponents } from "../../../dino/math/principal-components.js";
import { rng } from "../../../dino/math/random.js";

/** Rows with standard deviations `deviations` along the axes of a rotated frame, around `offset`. */
function cloud(rows: number, deviations: readonly number[], offset = 0): Float32Array {
  const random = rng({ seed: 1, purpose: "test" });
  const dim = deviations.length;
  const values = new Float32Array(rows * dim);
  for (let r = 0; r < rows; r++) {
    const along = deviations.map((deviation) => deviation * random.normal());
    // A Householder reflection: x - 2 u (u . x), u the diagonal.
    const shift = (2 / dim) * along.reduce((sum, x) => sum + x, 0);
    for (let c = 0; c < dim; c++) values[r * dim + c] = along[c]! - shift + offset;
  }
  return values;
}

describe("principalComponents", () => {
  const deviations = [5, 3, 2, 1, 1, 0.5, 0.5, 0.1, 0.1, 0.1];
  const dim = deviations.length;

  it("finds the directions and shares of variance of a known cloud", () => {
    const { directions, shares, count } = principalComponents({
      values: cloud(20000, deviations, 7),
      rows: 20000,
      dim,
      count: 3,
    });
    expect(count).to.equal(3);
    const whole = deviations.reduce((sum, each) => sum + each ** 2, 0);
    for (let d = 0; d < 3; d++) {
      let cosine = 0;
      for (let c = 0; c < dim; c++) cosine += directions[d * dim + c]! * ((c === d ? 1 : 0) - 2 / dim);
      expect(Math.abs(cosine), `direction ${d}`).to.be.above(0.999);
      expect(shares[d], `share ${d}`).to.be.closeTo(deviations[d]! ** 2 / whole, 0.02);
    }
  });

  it("projects to mean 0, uncorrelated, and satisfies the eigenvalue equation", () => {
    const rows = 500;
    const values = cloud(rows, deviations, -3);
    const { projected, shares, directions, mean } = principalComponents({ values, rows, dim, count: 3 });
    const variance = (a: number, b: number): number => {
      let sum = 0;
      for (let r = 0; r < rows; r++) sum += projected[r * 3 + a]! * projected[r * 3 + b]!;
      return sum / rows;
    };
    for (let a = 0; a < 3; a++) {
      for (let b = 0; b < a; b++) expect(variance(a, b) / variance(0, 0)).to.be.closeTo(0, 1e-7);
      expect(variance(a, a) / variance(0, 0)).to.be.closeTo(shares[a]! / shares[0]!, 1e-9);
      const image = new Float64Array(dim);
      for (let r = 0; r < rows; r++) {
        for (let c = 0; c < dim; c++) image[c]! += (projected[r * 3 + a]! * (values[r * dim + c]! - mean[c]!)) / rows;
      }
      for (let c = 0; c < dim; c++) expect(image[c]).to.be.closeTo(variance(a, a) * directions[a * dim + c]!, 1e-6);
    }
  });

  it("gives the same signs for the same cloud, the largest entry positive", () => {
    const values = cloud(300, deviations);
    const { directions } = principalComponents({ values, rows: 300, dim, count: 3 });
    const mirrored = principalComponents({ values: values.map((x) => -x), rows: 300, dim, count: 3 });
    for (let i = 0; i < directions.length; i++) expect(mirrored.directions[i]).to.be.closeTo(directions[i]!, 1e-6);
    for (let d = 0; d < 3; d++) {
      const direction = [...directions.subarray(d * dim, (d + 1) * dim)];
      expect(Math.max(...direction)).to.be.closeTo(Math.max(...direction.map(Math.abs)), 1e-8);
    }
  });

  it("stays finite without variance, with one row, with few dimensions, and with variance in one direction", () => {
    const cases = [
      { values: new Float32Array(12).fill(2), rows: 3, dim: 4 },
      { values: Float32Array.of(1, 2, 3), rows: 1, dim: 3 },
      { values: Float32Array.of(1, 2, 3), rows: 3, dim: 1 },
      { values: Float32Array.of(1, 1, 1, 1, 2, 2, 2, 2, 5, 5, 5, 5), rows: 3, dim: 4 },
    ];
    for (const each of cases) {
      const found = principalComponents({ ...each, count: 3 });
      expect(found.count).to.equal(Math.min(3, each.dim));
      expect(found.projected.every(Number.isFinite) && found.directions.every(Number.isFinite)).to.equal(true);
      expect(found.shares.every((share) => share >= 0 && share <= 1 + 1e-9)).to.equal(true);
    }
    expect(principalComponents({ ...cases[3]!, count: 1 }).shares[0]).to.be.closeTo(1, 1e-9);
  });

  it("refuses NaN and sizes that do not fit", () => {
    const values = Float32Array.of(1, NaN, 2, 3);
    expect(() => principalComponents({ values, rows: 2, dim: 2, count: 2 })).to.throw("hold NaN or infinity");
    expect(() => principalComponents({ values, rows: 3, dim: 2, count: 2 })).to.throw(
      "expected [3, 2] with rows, got 4 values",
    );
  });
});
