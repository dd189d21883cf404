import { expect } from "chai";
import fc from "fast-check";
import { rng } from "../../../dino/math/random.js";
import {
  averagePrecision,
  meanScores,
  type QueryScore,
  rankAll,
  scoreRanking,
  type Truth,
} from "../../../dino/retrieval/ranking.js";
import { dotProducts, type FeatureRows } from "../../../dino/math/feature-rows.js";

describe("average precision", () => {
  const cases: readonly (readonly [what: string, places: number[], relevant: number, expected: number])[] = [
    ["of a perfect ranking is 1", [0, 1, 2], 3, 1],
    ["of the only relevant image in second place: (0 + 1/2) / 2", [1], 1, 1 / 4],
    ["of places 1 and 3: (1 + (1/2 + 2/3) / 2) / 2", [0, 2], 2, (1 + (1 / 2 + 2 / 3) / 2) / 2],
    ["counts relevant images that were not found", [0], 4, 1 / 4],
    ["of nothing found is 0", [], 3, 0],
  ];
  for (const [what, places, relevant, expected] of cases) {
    it(what, () => expect(averagePrecision(places, relevant)).to.be.closeTo(expected, 1e-12));
  }
});

describe("the score of a ranking", () => {
  const score = (order: number[], truth: Truth): QueryScore => scoreRanking(order, truth, [1, 2, 5])!;

  it("passes junk over as if it were not there", () => {
    const clean = score([4, 0, 5, 1], { relevant: [0, 1], junk: [] });
    const soiled = score([7, 4, 8, 0, 9, 5, 7, 1, 6], { relevant: [0, 1], junk: [6, 7, 8, 9] });
    expect(soiled).to.deep.equal(clean);
    expect(score([9, 0], { relevant: [0], junk: [9] }).averagePrecision).to.equal(1);
    expect(score([9, 0], { relevant: [0], junk: [] }).averagePrecision).to.equal(1 / 4);
  });

  it("has precisions at k, and behind the last relevant image that at it", () => {
    expect(score([0, 4, 1, 5, 6], { relevant: [0, 1], junk: [] }).precisions).to.deep.equal([1, 1 / 2, 2 / 3]);
    expect(score([0, 1, 4, 5, 6], { relevant: [0, 1], junk: [] }).precisions).to.deep.equal([1, 1, 1]);
    expect(score([4, 5, 6, 7, 8, 0], { relevant: [0], junk: [] }).precisions).to.deep.equal([0, 0, 0]);
  });

  it("is none without relevant images, and such queries do not count in the mean", () => {
    const none = scoreRanking([0, 1], { relevant: [], junk: [0] }, [1]);
    expect(none).to.equal(undefined);
    const [perfect, poor] = [score([0, 1], { relevant: [0], junk: [] }), score([1, 0], { relevant: [0], junk: [] })];
    expect(meanScores([perfect, none, poor])).to.deep.equal({
      ...{ meanAveragePrecision: (1 + 1 / 4) / 2, queries: 2 },
      meanPrecisions: [1 / 2, (1 + 1 / 2) / 2, (1 + 1 / 2) / 2],
    });
    const empty = meanScores([none]);
    expect(empty.queries).to.equal(0);
    expect(empty.meanAveragePrecision).to.deep.equal(NaN);
  });

  it("agrees with the definition of the benchmark's own code on any ranking", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 30 }), fc.nat(), (count, seed) => {
        const random = rng({ seed, purpose: "ranking" });
        const order = Array.from(random.permutation(count));
        const kinds = order.map(() => random.integer(3));
        const of = (kind: number) => [...kinds.keys()].filter((image) => kinds[image] === kind);
        const truth = { relevant: of(0), junk: of(1) };
        const found = scoreRanking(order, truth, [1, 5, 10]);
        const expected = byTheBook(order, truth, [1, 5, 10]);
        expect(found?.precisions).to.deep.equal(expected?.precisions);
        expect(found?.averagePrecision ?? 0).to.be.closeTo(expected?.averagePrecision ?? 0, 1e-12);
      }),
    );
  });
});

/** compute_map in its own steps: places of all, then those of junk taken off one by one. */
function byTheBook(order: readonly number[], { relevant, junk }: Truth, ks: readonly number[]): QueryScore | undefined {
  if (relevant.length === 0) return undefined;
  const placesOf = (images: readonly number[]) => [...order.keys()].filter((place) => images.includes(order[place]!));
  const junkPlaces = placesOf(junk);
  const places = placesOf(relevant).map((place) => place - junkPlaces.filter((other) => other < place).length);
  const last = Math.max(...places) + 1;
  return {
    averagePrecision: averagePrecision(places, relevant.length),
    precisions: ks.map((k) => {
      const depth = Math.min(last, k);
      return places.filter((place) => place + 1 <= depth).length / depth;
    }),
  };
}

describe("ranking", () => {
  it("puts the most similar first and the earlier of equals, whatever the number of queries", async () => {
    const database = rows([1, 0], [0, 1], [1, 0], [0.6, 0.8]);
    const orders: number[][] = [];
    const queries = rows(...Array.from({ length: 300 }, (_, i) => (i % 2 === 0 ? [1, 0] : [0, 1])));
    await rankAll({
      ...{ queries, database, similarities: dotProducts },
      onRanked: (query, order) => void (orders[query] = Array.from(order)),
    });
    expect(orders).to.have.length(300);
    expect(orders[0]).to.deep.equal([0, 2, 3, 1]);
    expect(orders[299]).to.deep.equal([1, 3, 0, 2]);
  });
});

function rows(...values: readonly (readonly number[])[]): FeatureRows {
  return { values: Float32Array.from(values.flat()), rows: values.length, dim: values[0]!.length };
}
