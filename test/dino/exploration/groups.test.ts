import { expect } from "chai";
import fc from "fast-check";
import { similaritiesOn } from "../../../dino/evaluation/device-similarities.js";
import { densityGroups, NOISE } from "../../../dino/exploration/density-groups.js";
import { describeGroups, groupNames } from "../../../dino/exploration/groups.js";
import { kMeans } from "../../../dino/exploration/k-means.js";
import { type FeatureRows, normalizeRows } from "../../../dino/math/feature-rows.js";
import { testDevice } from "../../support/device.js";
import { madeGroups } from "../../support/made-features.js";
import { rejection } from "../../support/rejection.js";

/** Numbers labels in the order in which they appear, so that equal partitions have equal labels. */
function renumbered(labels: ArrayLike<number>): number[] {
  const numbers = new Map<number, number>();
  return Array.from(labels, (label) => {
    if (label === NOISE) return NOISE;
    if (!numbers.has(label)) numbers.set(label, numbers.size);
    return numbers.get(label)!;
  });
}

const dot = ({ values, dim }: FeatureRows, a: number, b: number): number => {
  let sum = 0;
  for (let c = 0; c < dim; c++) sum += values[a * dim + c]! * values[b * dim + c]!;
  return sum;
};

describe("k-means", () => {
  it("finds groups that lie apart, and the same ones on a device", async () => {
    const { features, labels } = madeGroups({ groups: 7, perGroup: 30, dim: 16, spread: 0.08 });
    const found = await kMeans({ features, groups: 7 });
    expect(renumbered(found.labels)).to.deep.equal([...labels]);
    expect(found.similarity).to.be.within(0.9, 1);
    using onDevice = similaritiesOn(await testDevice(), features);
    const again = await kMeans({ features, groups: 7, similarities: onDevice.similarities });
    expect(again.labels).to.deep.equal(found.labels);
  });

  it("of one seed is the same, and as good as the best of all partitions of a small set", async () => {
    const { features } = madeGroups({ groups: 3, perGroup: 3, dim: 3, spread: 0.9, seed: 5 });
    const { rows, dim, values } = features;
    // The best partition has the largest sum of the lengths of the sums of its groups.
    let best = 0;
    for (let code = 0; code < 3 ** rows; code++) {
      const sums = new Float64Array(3 * dim);
      for (let row = 0, rest = code; row < rows; row++, rest = Math.floor(rest / 3)) {
        for (let c = 0; c < dim; c++) sums[(rest % 3) * dim + c]! += values[row * dim + c]!;
      }
      const lengths = [0, 1, 2].map((group) => Math.hypot(...sums.subarray(group * dim, (group + 1) * dim)));
      best = Math.max(best, lengths[0]! + lengths[1]! + lengths[2]!);
    }
    const found = await kMeans({ features, groups: 3, seed: 1 });
    expect(found.similarity * rows).to.be.closeTo(best, 1e-4);
    expect(await kMeans({ features, groups: 3, seed: 1 })).to.deep.equal(found);
  });

  it("may take as many groups as images, and refuses more than different images", async () => {
    const values = Float32Array.of(1, 0, 0, 1, 0, 1, -1, 0);
    const features = { values, rows: 4, dim: 2 };
    expect(await rejection(kMeans({ features, groups: 5 }))).to.include("expected 1 to 4 groups");
    expect(await rejection(kMeans({ features, groups: 4 }))).to.include("at most 3 groups, the number of different");
    const { labels } = await kMeans({ features, groups: 3 });
    expect(renumbered(labels)).to.deep.equal([0, 1, 1, 2]);
    for (let seed = 0; seed < 10; seed++) {
      const copies = madeGroups({ groups: 3, perGroup: 5, dim: 7, spread: 0, seed }).features; // of lengths not quite 1
      expect(await rejection(kMeans({ features: copies, groups: 4 }))).to.include("at most 3 groups");
    }
  });
});

/** HDBSCAN by its definition: the connected parts at every level of mutual reachability, in plain loops. */
function plainDensityGroups(features: FeatureRows, minSize: number): number[] {
  const { rows } = features;
  const all = Array.from({ length: rows }, (_, row) => row);
  const distance = all.map((a) => all.map((b) => (a === b ? 0 : Math.sqrt(Math.max(0, 2 - 2 * dot(features, a, b))))));
  const core = distance.map((own) => own.toSorted((a, b) => a - b)[minSize - 1]!);
  const reach = distance.map((own, a) => own.map((value, b) => Math.max(value, core[a]!, core[b]!)));
  const parts = (members: readonly number[], below: number): number[][] => {
    const left = new Set(members);
    const found: number[][] = [];
    for (const first of members) {
      if (!left.delete(first)) continue;
      const part = [first];
      for (const a of part) for (const b of left) if (reach[a]![b]! < below && left.delete(b)) part.push(b);
      found.push(part);
    }
    return found;
  };
  interface Tree {
    readonly stability: number;
    readonly groups: number[][];
  }
  const best = (born: readonly number[], birth: number, isRoot: boolean): Tree => {
    let members = [...born];
    let stability = 0;
    for (;;) {
      const longest = Math.max(...levelsWithin(members));
      const density = 1 / longest;
      const large = parts(members, longest).filter((part) => part.length >= minSize);
      if (large.length === 1) {
        stability += (density - birth) * (members.length - large[0]!.length);
        members = large[0]!;
        continue;
      }
      stability += (density - birth) * members.length;
      const below = large.map((part) => best(part, density, false));
      const sum = below.reduce((total, tree) => total + tree.stability, 0);
      if (!isRoot && stability >= sum) return { stability, groups: [[...born]] };
      return { stability: sum, groups: below.flatMap(({ groups }) => groups) };
    }
  };
  /** The longest link that holds the members together: the lowest level at which they are one part. */
  const levelsWithin = (members: readonly number[]): number[] => {
    const levels = [...new Set(members.flatMap((a) => members.filter((b) => b !== a).map((b) => reach[a]![b]!)))];
    levels.sort((a, b) => a - b);
    return [levels.find((level) => parts(members, level * (1 + 1e-9)).length === 1)!];
  };
  const labels = new Array<number>(rows).fill(NOISE);
  for (const [group, members] of best(all, 0, true).groups.entries()) for (const row of members) labels[row] = group;
  return labels;
}

describe("density groups", () => {
  it("are those of the plain definition", async () => {
    const cases = fc.record({
      seed: fc.nat(1000),
      spread: fc.constantFrom(0.1, 0.3, 0.6),
      minSize: fc.integer({ min: 2, max: 5 }),
    });
    await fc.assert(
      fc.asyncProperty(cases, async ({ seed, spread, minSize }) => {
        const { features } = madeGroups({ groups: 3, perGroup: 9, dim: 4, spread, seed });
        const found = await densityGroups({ features, minSize });
        expect(renumbered(found)).to.deep.equal(renumbered(plainDensityGroups(features, minSize)));
      }),
      { numRuns: 40 },
    );
  });

  it("leave strangers out as noise, also by the graph of nearest neighbours", async () => {
    const { features, labels } = madeGroups({ groups: 4, perGroup: 40, dim: 12, spread: 0.06 });
    const halves = { values: features.values.map((value, i) => value + (i % 12 === 0 ? 1 : 0)), rows: 160, dim: 12 };
    const strangers = Float32Array.from({ length: 9 * 12 }, (_, i) => (i % 12 === 0 ? -1 : i % 13 === 0 ? 1 : 0));
    const values = Float32Array.from([...halves.values, ...strangers]);
    const all = normalizeRows({ values, rows: 169, dim: 12 });
    const expected = [...labels, ...new Array<number>(9).fill(NOISE)];
    for (const exactUpTo of [2048, 10]) {
      expect(renumbered(await densityGroups({ features: all, minSize: 10, exactUpTo }))).to.deep.equal(expected);
    }
  });

  it("may be parts of the graph that no neighbour joins", async () => {
    const { features, labels } = madeGroups({ groups: 3, perGroup: 100, dim: 12, spread: 0.03 });
    expect(renumbered(await densityGroups({ features, minSize: 30, exactUpTo: 10 }))).to.deep.equal([...labels]);
  });

  it("are none among images without groups, and refuse a size above the number of images", async () => {
    const even = Float32Array.from({ length: 24 }, (_, i) =>
      (i % 2 === 0 ? Math.cos : Math.sin)((Math.floor(i / 2) * Math.PI) / 6),
    );
    const features = normalizeRows({ values: even, rows: 12, dim: 2 });
    expect(await densityGroups({ features, minSize: 5 })).to.deep.equal(new Int32Array(12).fill(NOISE));
    expect(await rejection(densityGroups({ features, minSize: 13 }))).to.include("2 to 12 images");
    expect(await rejection(densityGroups({ features, minSize: 1 }))).to.include("got 1");
  });
});

describe("descriptions of groups", () => {
  it("have the most typical images first, the largest group first, and names fit for files", () => {
    const degrees = [0, 10, 50, 90, 93, 92, 200, 25];
    const angles = degrees.map((angle) => (angle * Math.PI) / 180);
    const values = Float32Array.from(angles.flatMap((angle) => [Math.cos(angle), Math.sin(angle)]));
    const labels = Int32Array.of(1, 1, 1, 0, 0, 0, NOISE, 1);
    const grouping = describeGroups({ values, rows: 8, dim: 2 }, labels);
    expect(grouping.groups.map(({ rows }) => rows)).to.deep.equal([
      [7, 1, 0, 2], // their mean is at 21 degrees
      [5, 4, 3], // 91.7
    ]);
    const { similarities, tightness } = grouping.groups[1]!;
    expect(similarities[0]).to.be.closeTo(Math.cos((Math.PI / 180) * (1 / 3)), 1e-5);
    expect(tightness).to.be.closeTo((similarities[0]! + similarities[1]! + similarities[2]!) / 3, 1e-9);
    expect(grouping.noise).to.deep.equal([6]);
    const files = ["a", "b", "c", "d", "e", "..png", "g", "cats/Tom & Co?.jpeg"];
    expect(groupNames(grouping, files)).to.deep.equal(["01-cats-Tom-Co", "02"]);
  });
});

describe("features to explore", () => {
  const refused: readonly (readonly [string, FeatureRows])[] = [
    ["at least 2 images, got 0", { values: new Float32Array(0), rows: 0, dim: 2 }],
    ["at least 2 images, got 1", { values: Float32Array.of(1, 0), rows: 1, dim: 2 }],
    ["got 3 with the same features", { values: Float32Array.of(0, 1, 0, 1, 0, 1), rows: 3, dim: 2 }],
    ["finite numbers, got others in row 1", { values: Float32Array.of(0, 1, NaN, 1), rows: 2, dim: 2 }],
    ["row 1 has length 2", { values: Float32Array.of(0, 1, 2, 0), rows: 2, dim: 2 }],
    ["[2, 3] take 6 values, got 4", { values: Float32Array.of(0, 1, 1, 0), rows: 2, dim: 3 }],
  ];
  for (const [message, features] of refused) {
    it(`are refused: ${message}`, async () => {
      expect(await rejection(kMeans({ features, groups: 1 }))).to.include(message);
      expect(await rejection(densityGroups({ features, minSize: 2 }))).to.include(message);
    });
  }
});
