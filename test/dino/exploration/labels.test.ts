import { expect } from "chai";
import { Matrix, solve } from "ml-matrix";
import { similaritiesOn } from "../../../dino/evaluation/device-similarities.js";
import { knnClassify } from "../../../dino/evaluation/knn.js";
import { doubtfulLabels } from "../../../dino/exploration/doubtful-labels.js";
import type { GivenLabels } from "../../../dino/exploration/given-labels.js";
import { neighborVotes } from "../../../dino/exploration/neighbor-votes.js";
import { classVotes, spreadLabels, VOTING } from "../../../dino/exploration/spread-labels.js";
import { selectRows } from "../../../dino/math/feature-rows.js";
import { testDevice } from "../../support/device.js";
import { madeGroups } from "../../support/made-features.js";
import { rejection } from "../../support/rejection.js";

const made = madeGroups({ groups: 3, perGroup: 20, dim: 6, spread: 0.35 });
const { features, labels } = made;
const all: GivenLabels = { rows: Int32Array.from(labels.keys()), labels, classes: 3 };
const some = (count: number): GivenLabels => {
  const rows = Int32Array.from({ length: count }, (_, i) => 59 - 2 * i);
  return { rows, labels: rows.map((row) => labels[row]!), classes: 3 };
};
const without = (given: GivenLabels, place: number): GivenLabels => ({
  rows: given.rows.filter((_, i) => i !== place),
  labels: given.labels.filter((_, i) => i !== place),
  classes: given.classes,
});

describe("votes of labelled images", () => {
  it("by neighbours are those of knnClassify without the image itself", async () => {
    for (const given of [all, some(12)]) {
      const votes = await neighborVotes({ features, given, k: 5 });
      for (let row = 0; row < 60; row++) {
        const voters = without(given, given.rows.indexOf(row));
        const [result] = await knnClassify({
          train: selectRows(features, voters.rows),
          trainLabels: voters.labels,
          test: selectRows(features, [row]),
          testLabels: [0],
          classes: 3,
          ks: [5],
        });
        const sum = result!.votes.reduce((total, vote) => total + vote, 0);
        for (let c = 0; c < 3; c++) expect(votes[row * 3 + c]).to.be.closeTo(result!.votes[c]! / sum, 1e-5);
      }
    }
  });

  it("by neighbours are the same on a device", async () => {
    using onDevice = similaritiesOn(await testDevice(), features);
    const votes = await neighborVotes({ features, given: all });
    const again = await neighborVotes({ features, given: all, nearest: onDevice.nearest });
    votes.forEach((vote, i) => expect(again[i]).to.be.closeTo(vote, 1e-4));
  });

  it("of a linear classifier leave an image out as a classifier trained without it does", async () => {
    const given = some(14);
    const votes = await classVotes({ features, given });
    // One of the penalties and temperatures must explain all; each image is left out by solving anew.
    const input = (row: number): number[] => [...features.values.subarray(row * 6, row * 6 + 6), 1];
    const errors: number[] = [];
    for (const penalty of [1e-4, 1e-3, 1e-2, 1e-1]) {
      for (const temperature of [0.02, 0.05, 0.1, 0.2, 0.5, 1]) {
        let error = 0;
        for (let row = 0; row < 60; row++) {
          const place = given.rows.indexOf(row);
          const voters = place < 0 ? given : without(given, place);
          const x = new Matrix(Array.from(voters.rows, input));
          const y = Matrix.zeros(voters.rows.length, 3);
          voters.labels.forEach((label, i) => y.set(i, label, 1));
          const penalised = x
            .transpose()
            .mmul(x)
            .add(Matrix.eye(7).mul(penalty * 14));
          const scores = new Matrix([input(row)]).mmul(solve(penalised, x.transpose().mmul(y))).getRow(0);
          const powers = scores.map((score) => Math.exp(score / temperature));
          const sum = powers.reduce((total, power) => total + power, 0);
          powers.forEach((power, c) => (error = Math.max(error, Math.abs(power / sum - votes[row * 3 + c]!))));
        }
        errors.push(error);
      }
    }
    expect(Math.min(...errors)).to.be.below(1e-6);
    expect(errors.filter((error) => error < 1e-3)).to.have.length(1);
  });
});

describe("labels spread from a few images", () => {
  for (const voting of VOTING) {
    it(`are right where groups lie apart, and keep the given ones, by ${voting}`, async () => {
      const apart = madeGroups({ groups: 5, perGroup: 30, dim: 10, spread: 0.08 });
      const rows = Int32Array.from({ length: 40 }, (_, i) => i);
      const given = { rows, labels: Int32Array.from(apart.labels.subarray(0, 40)), classes: 5 };
      const found = await spreadLabels({ features: apart.features, given, voting });
      expect(found.labels).to.deep.equal(apart.labels);
      expect(found.accuracy).to.equal(1);
      found.confidence.forEach((value, row) => expect(value).to.be.within(row < 40 ? 1 : 0.5, 1));
      given.labels[3] = 0; // against its neighbours
      const again = await spreadLabels({ features: apart.features, given, voting });
      expect(again.labels[3]).to.equal(0);
      expect(again.accuracy).to.be.closeTo(39 / 40, 1e-9);
    });
  }

  it("refuse labels that do not fit", async () => {
    const refusal = (given: Partial<GivenLabels>) =>
      rejection(spreadLabels({ features, given: { ...some(4), ...given } }));
    expect(await refusal({ labels: Int32Array.of(1, 1, 1, 1) })).to.include("at least two classes, got one class only");
    expect(await refusal({ labels: Int32Array.of(1) })).to.include("a label for each of 4 images, got 1");
    expect(await refusal({ labels: Int32Array.of(0, 1, 2, 3) })).to.include("labels from 0 to 2");
    expect(await refusal({ rows: Int32Array.of(0, 1, 2, 60) })).to.include("rows 0 to 59, got 60");
    expect(await refusal({ rows: Int32Array.of(0, 1, 2, 2) })).to.include("one label per image");
    expect(await refusal({ rows: new Int32Array(0), labels: new Int32Array(0) })).to.include(
      "at least 2 images, got 0",
    );
  });
});

describe("doubtful labels", () => {
  for (const voting of VOTING) {
    it(`are those swapped on purpose, with the right suggestion, by ${voting}`, async () => {
      const apart = madeGroups({ groups: 4, perGroup: 25, dim: 10, spread: 0.1 });
      const given = { rows: Int32Array.from(apart.labels.keys()), labels: Int32Array.from(apart.labels), classes: 4 };
      const swapped = [7, 40, 81];
      for (const row of swapped) given.labels[row] = (given.labels[row]! + 1) % 4;
      const doubts = await doubtfulLabels({ features: apart.features, given, voting });
      expect(doubts.map(({ row }) => row).sort((a, b) => a - b)).to.deep.equal(swapped);
      for (const { row, label, suggested, confidence, support } of doubts) {
        expect([label, suggested]).to.deep.equal([given.labels[row], apart.labels[row]]);
        expect(confidence).to.be.above(support);
      }
    });
  }

  it("come in the order of the difference of votes, and are likely from the mean vote of their class on", async () => {
    const noisy = madeGroups({ groups: 3, perGroup: 40, dim: 5, spread: 0.5, seed: 3 });
    const given = { rows: Int32Array.from(noisy.labels.keys()), labels: noisy.labels, classes: 3 };
    const options = { features: noisy.features, given, voting: "knn" as const };
    const doubts = await doubtfulLabels(options);
    const votes = await neighborVotes(options);
    const share = (row: number, label: number): number => votes[row * 3 + label]!;
    const means = [0, 1, 2].map((label) => {
      const rows = Array.from(given.rows).filter((row) => given.labels[row] === label);
      return rows.reduce((sum, row) => sum + share(row, label), 0) / rows.length;
    });
    expect(doubts.length).to.be.within(5, 60);
    for (const [i, { row, label, suggested, confidence, support, isLikely }] of doubts.entries()) {
      expect([confidence, support]).to.deep.equal([share(row, suggested), share(row, label)]);
      expect(confidence).to.equal(Math.max(...[0, 1, 2].map((c) => share(row, c))));
      expect(isLikely).to.equal(confidence >= means[suggested]!);
      if (i > 0) expect(doubts[i - 1]!.confidence - doubts[i - 1]!.support).to.be.at.least(confidence - support);
    }
    expect(new Set(doubts.map(({ isLikely }) => isLikely)).size).to.equal(2);
  });
});
