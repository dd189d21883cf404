import { expect } from "chai";
import { chooseRows, CHOICES } from "../../../dino/exploration/select-rows.js";
import { dotProducts } from "../../../dino/math/feature-rows.js";
import { madeGroups } from "../../support/made-features.js";
import { rejection } from "../../support/rejection.js";

describe("choice of images", () => {
  const { features } = madeGroups({ groups: 4, perGroup: 10, dim: 5, spread: 0.4 });
  const { rows } = features;
  const all = dotProducts(features, features);
  const similarity = (a: number, b: number): number => all[a * rows + b]!;
  const places = Array.from({ length: rows }, (_, row) => row);
  /** Sum of the similarities of all images with the most similar chosen one. */
  const covered = (chosen: readonly number[]): number =>
    places.reduce((sum, row) => sum + Math.max(-1, ...chosen.map((other) => similarity(row, other))), 0);

  /** Adds the best image by a plain comparison of all, again and again. */
  const greedy = (count: number, given: readonly number[], worth: (chosen: readonly number[]) => number): number[] => {
    const chosen: number[] = [];
    while (chosen.length < count) {
      const free = places.filter((row) => !chosen.includes(row) && !given.includes(row));
      const scores = free.map((row) => worth([...given, ...chosen, row]));
      chosen.push(free[scores.indexOf(Math.max(...scores))]!);
    }
    return chosen;
  };

  for (const given of [[], [3, 17]]) {
    it(`covers the set as the plain greedy algorithm does, with ${given.length} images given`, async () => {
      const found = await chooseRows({ features, count: 9, given });
      expect([...found]).to.deep.equal(greedy(9, given, covered));
    });

    it(`takes the farthest image each time, with ${given.length} images given`, async () => {
      const found = [...(await chooseRows({ features, count: 9, given, by: "farthest" }))];
      const before = given.length > 0 ? given : found.slice(0, 1);
      const rest = given.length > 0 ? found : found.slice(1);
      const farthest = greedy(
        rest.length,
        before,
        (chosen) => -Math.max(...chosen.slice(0, -1).map((other) => similarity(chosen.at(-1)!, other))),
      );
      expect(rest).to.deep.equal(farthest);
    });
  }

  it("takes an image of each of some groups", async () => {
    const made = madeGroups({ groups: 6, perGroup: 30, dim: 8, spread: 0.1 });
    for (const by of CHOICES) {
      const chosen = await chooseRows({ features: made.features, count: 6, by });
      expect(new Set(Array.from(chosen, (row) => made.labels[row])).size, by).to.equal(6);
    }
  });

  it("may take all that are not given, and refuses more", async () => {
    const given = [0, 5];
    for (const by of CHOICES) {
      const chosen = await chooseRows({ features, count: 38, given, by });
      expect([...chosen].sort((a, b) => a - b)).to.deep.equal(places.filter((row) => !given.includes(row)));
      expect(await rejection(chooseRows({ features, count: 39, given, by }))).to.include("expected 1 to 38 images");
    }
  });
});
