import { expect } from "chai";
import { meanAndSpread, welch } from "../../bench/learning/statistics.js";

describe("statistics of learning curves", () => {
  it("have the mean and the deviation of a sample", () => {
    expect(meanAndSpread([2, 4, 4, 4, 5, 5, 7, 9])).to.deep.equal({ mean: 5, spread: Math.sqrt(32 / 7) });
    expect(meanAndSpread([3])).to.deep.equal({ mean: 3, spread: 0 });
  });

  it("agree with published values of Welch's t-test and with tables of Student's t", () => {
    // https://en.wikipedia.org/wiki/Welch%27s_t-test, example 1
    const a = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4];
    const b = [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 20.5, 24.4];
    const { t, degrees, p } = welch(a, b)!;
    expect([t.toFixed(2), degrees.toFixed(1), p.toFixed(3)]).to.deep.equal(["-2.46", "25.0", "0.021"]);

    // Two samples of n values and one deviation have 2 (n - 1) degrees of freedom
    const between = (n: number, at: number) => {
      const values = Array.from({ length: n }, (_, i) => i);
      const error = meanAndSpread(values).spread * Math.sqrt(2 / n);
      return welch(
        values.map((value) => value + at * error),
        values,
      )!;
    };
    for (const [n, at, chance] of [
      [2, 4.302653, 0.05],
      [3, 2.776445, 0.05],
      [6, 2.228139, 0.05],
      [6, 3.169273, 0.01],
      [16, 2.749996, 0.01],
    ] as const) {
      const found = between(n, at);
      expect(found.t).to.be.closeTo(at, 1e-9);
      expect(found.degrees).to.be.closeTo(2 * (n - 1), 1e-9);
      expect(found.p).to.be.closeTo(chance, 1e-6);
    }
    expect(between(5, 0).p).to.be.closeTo(1, 1e-9);
  });

  it("say nothing of one value, or of values that do not vary", () => {
    expect(welch([1], [2, 3])).to.equal(undefined);
    expect(welch([1, 1], [2, 2])).to.equal(undefined);
  });
});
