import { expect } from "chai";
import { outlierScores } from "../../../dino/exploration/outliers.js";
import { normalizeRows } from "../../../dino/math/feature-rows.js";
import { madeGroups } from "../../support/made-features.js";
import { rejection } from "../../support/rejection.js";

describe("outlier scores", () => {
  it("are the mean distances to the nearest others, by the plain definition", async () => {
    const { features } = madeGroups({ groups: 3, perGroup: 8, dim: 5, spread: 0.5 });
    const { values, rows, dim } = features;
    const distances = (a: number): number[] => {
      const own: number[] = [];
      for (let b = 0; b < rows; b++) {
        let sum = 0;
        for (let c = 0; c < dim; c++) sum += (values[a * dim + c]! - values[b * dim + c]!) ** 2;
        if (b !== a) own.push(Math.sqrt(sum));
      }
      return own.sort((x, y) => x - y);
    };
    for (const k of [1, 4, 23, 100]) {
      const found = await outlierScores({ features, k });
      for (let row = 0; row < rows; row++) {
        const nearest = distances(row).slice(0, k);
        expect(found[row]).to.be.closeTo(nearest.reduce((sum, value) => sum + value, 0) / nearest.length, 1e-5);
      }
    }
  });

  it("are highest for strangers, though some are alike", async () => {
    const { features } = madeGroups({ groups: 2, perGroup: 50, dim: 6, spread: 0.1 });
    const strangers = [97, 98, 99];
    for (const row of strangers) features.values.set([0, 0, 0, 1, -1, 1], row * 6);
    normalizeRows(features);
    const scores = await outlierScores({ features });
    const order = Array.from(scores.keys()).sort((a, b) => scores[b]! - scores[a]!);
    expect(order.slice(0, 3).sort()).to.deep.equal(strangers);
  });

  it("refuse no neighbours", async () => {
    const { features } = madeGroups({ groups: 2, perGroup: 2, dim: 3, spread: 0.1 });
    expect(await rejection(outlierScores({ features, k: 0 }))).to.include("expected 1 neighbour or more, got 0");
  });
});
