import { expect } from "chai";
import fc from "fast-check";
import { knnClassify, type KnnOptions } from "../../../dino/evaluation/knn.js";
import { type FeatureRows, normalizeRows } from "../../../dino/math/feature-rows.js";
import { nearestIn } from "../../../dino/math/nearest-rows.js";
import { rng } from "../../../dino/math/random.js";

function randomRows(rows: number, dim: number, seed: number): FeatureRows {
  const random = rng({ seed, purpose: "test" });
  return normalizeRows({ values: Float32Array.from({ length: rows * dim }, () => random.normal()), rows, dim });
}

const units = (...rows: readonly (readonly number[])[]): FeatureRows =>
  normalizeRows({ values: Float32Array.from(rows.flat()), rows: rows.length, dim: rows[0]!.length });

/** What knnClassify should vote, said as plainly as possible. */
function votesOf({ train, test, trainLabels, classes }: KnnOptions, k: number, temperature: number): number[] {
  const at = ({ values, dim }: FeatureRows, r: number): Float32Array => values.subarray(r * dim, (r + 1) * dim);
  return Array.from({ length: test.rows }, (_, t) => {
    const similarity = Array.from({ length: train.rows }, (_, n) =>
      Math.fround(at(test, t).reduce((sum, x, c) => sum + x * at(train, n)[c]!, 0)),
    );
    const nearest = similarity.map((s, n) => ({ s, n })).sort((a, b) => b.s - a.s || a.n - b.n);
    const votes = new Array<number>(classes).fill(0);
    for (const { s, n } of nearest.slice(0, k)) votes[trainLabels[n]!]! += Math.exp(s / temperature);
    return votes;
  }).flat();
}

describe("knn", () => {
  it("votes as the plain definition does, for any sizes", async () => {
    const size = fc.integer({ min: 1, max: 30 });
    await fc.assert(
      fc.asyncProperty(size, size, size, size, size, fc.nat(), async (trainRows, testRows, dim, classes, k, seed) => {
        const random = rng({ seed, purpose: "labels" });
        const options: KnnOptions = {
          train: randomRows(trainRows, dim, seed),
          test: randomRows(testRows, dim, seed + 1),
          trainLabels: Int32Array.from({ length: trainRows }, () => random.integer(classes)),
          testLabels: Int32Array.from({ length: testRows }, () => random.integer(classes)),
          classes,
          ks: [k],
          temperature: 0.2,
        };
        const [result] = await knnClassify(options);
        const expected = votesOf(options, k, 0.2);
        expect(result!.votes.length).to.equal(expected.length);
        for (const [i, votes] of expected.entries()) expect(result!.votes[i]).to.be.closeTo(votes, 1e-9 * (1 + votes));
        for (const [row, prediction] of result!.predictions.entries()) {
          const votes = expected.slice(row * classes, (row + 1) * classes);
          expect(votes[prediction]).to.be.closeTo(Math.max(...votes), 1e-9 * (1 + Math.max(...votes)));
        }
        expect(result!.top5).to.be.within(result!.top1, 100);
      }),
      { numRuns: 60 },
    );
  });

  it("gives several k at once what each gives alone, whatever the order", async () => {
    const options = {
      train: randomRows(50, 8, 1),
      test: randomRows(20, 8, 2),
      trainLabels: Int32Array.from({ length: 50 }, (_, i) => i % 7),
      testLabels: Int32Array.from({ length: 20 }, (_, i) => i % 7),
      classes: 7,
    };
    const together = await knnClassify({ ...options, ks: [20, 1, 5] });
    for (const result of together) {
      expect(await knnClassify({ ...options, ks: [result.k] })).to.deep.equal([result]);
    }
    expect(await knnClassify({ ...options, ks: [] })).to.deep.equal([]);
  });

  it("is always right with one class, and within as many classes as there are below five", async () => {
    for (const classes of [1, 2, 4]) {
      const [result] = await knnClassify({
        train: randomRows(40, 4, 3),
        test: randomRows(9, 4, 4),
        trainLabels: Int32Array.from({ length: 40 }, (_, i) => i % classes),
        testLabels: Int32Array.from({ length: 9 }, (_, i) => i % classes),
        classes,
        ks: [20],
      });
      expect(result!.top5, `${classes} classes`).to.equal(100);
      if (classes === 1) expect(result!.top1).to.equal(100);
    }
  });

  it("counts top-5 among the first k where k is below five, as the official code does", async () => {
    const [one] = await knnClassify({
      train: randomRows(40, 4, 5),
      test: randomRows(30, 4, 6),
      trainLabels: Int32Array.from({ length: 40 }, (_, i) => i % 8),
      testLabels: Int32Array.from({ length: 30 }, (_, i) => i % 8),
      classes: 8,
      ks: [1],
    });
    expect(one!.top5).to.equal(one!.top1);
  });

  it("lets all train rows vote, and says so, where k is larger", async () => {
    const options = {
      train: randomRows(6, 4, 7),
      test: randomRows(3, 4, 8),
      trainLabels: [0, 1, 2, 0, 1, 2],
      testLabels: [0, 1, 2],
      classes: 3,
    };
    const [all, more] = await knnClassify({ ...options, ks: [6, 200] });
    expect([more!.k, more!.neighbors]).to.deep.equal([200, 6]);
    expect(more!.votes).to.deep.equal(all!.votes);
  });

  it("takes the earlier train row and the lower class among equals", async () => {
    const same = [1, 0];
    const [result] = await knnClassify({
      train: units(same, same, same, same),
      test: units(same, [0, 1]),
      trainLabels: [2, 1, 0, 0],
      testLabels: [2, 1],
      classes: 3,
      ks: [2],
    });
    const each = Math.exp(1 / 0.07);
    expect([...result!.votes.subarray(0, 3)]).to.deep.equal([0, each, each]);
    expect([...result!.predictions]).to.deep.equal([1, 1]);
  });

  it("takes neighbours from elsewhere, a block at a time, and refuses the wrong number", async () => {
    const options = {
      train: randomRows(30, 8, 9),
      test: randomRows(600, 8, 10),
      trainLabels: Int32Array.from({ length: 30 }, (_, i) => i % 3),
      testLabels: Int32Array.from({ length: 600 }, (_, i) => i % 3),
      classes: 3,
      ks: [5],
    };
    const blocks: number[] = [];
    const results = await knnClassify({
      ...options,
      nearest: (block, k) => {
        blocks.push(block.rows);
        return nearestIn(options.train)(block, k);
      },
    });
    expect(results).to.deep.equal(await knnClassify(options));
    expect(blocks.length).to.be.above(1);
    expect(blocks.reduce((sum, rows) => sum + rows, 0)).to.equal(600);
    const refused = await knnClassify({
      ...options,
      nearest: nearestIn(options.train, () => new Float32Array(1)),
    }).catch(String);
    expect(refused).to.match(/knn: expected \d+ similarities, got 1/);
  });

  it("normalises rows to length one and leaves rows of zeros alone", () => {
    const rows = units([3, 4], [0, 0], [1e-20, 0]);
    expect([...rows.values].map((x) => Math.round(x * 1e6) / 1e6)).to.deep.equal([0.6, 0.8, 0, 0, 0, 0]);
  });

  it("says what does not fit", async () => {
    const options: KnnOptions = {
      train: units([1, 0], [0, 1]),
      test: units([1, 0]),
      trainLabels: [0, 1],
      testLabels: [0],
      classes: 2,
      ks: [1],
    };
    const message = (change: Partial<KnnOptions>): Promise<string> =>
      knnClassify({ ...options, ...change }).then(() => "no error", String);
    expect(await message({ classes: 0 })).to.contain("knn classes: expected a whole number from 1 on, got 0");
    expect(await message({ ks: [0] })).to.contain("knn k: expected a whole number from 1 on, got 0");
    expect(await message({ temperature: 0 })).to.contain("knn temperature: expected more than 0");
    expect(await message({ test: units([1, 0, 0]) })).to.contain("train [rows, 2] and test [rows, 3] differ");
    expect(await message({ testLabels: [0, 1] })).to.contain("knn test: 1 rows, but 2 labels");
    expect(await message({ trainLabels: [0, 2] })).to.contain("label 2 of row 1 is not from 0 to 1");
    expect(await message({ test: { values: new Float32Array(0), rows: 0, dim: 2 } })).to.contain(
      "expected images, got none",
    );
    expect(await message({ train: { values: new Float32Array(3), rows: 2, dim: 2 } })).to.contain(
      "takes 4 values, got 3",
    );
    const long = { values: Float32Array.of(3, 4), rows: 1, dim: 2 };
    expect(await message({ test: long })).to.contain(
      "row 0 has length 5, expected 1; pass the features through normalizeRows",
    );
    const broken = { values: Float32Array.of(NaN, 1), rows: 1, dim: 2 };
    expect(await message({ test: broken })).to.contain("row 0 has length NaN");
  });
});
