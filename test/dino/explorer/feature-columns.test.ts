import { expect } from "chai";
import { featureColumns } from "../../../dino/explorer/feature-columns.js";
import { normalizeRows } from "../../../dino/math/feature-rows.js";
import { rng } from "../../../dino/math/random.js";
import { neighborTable } from "../../../dino/retrieval/places.js";

/** Rows about some directions, and one row apart from all. */
function blobs(sizes: readonly number[]) {
  const random = rng({ seed: 3, purpose: "blobs" });
  const dim = 6;
  const rows = sizes.flatMap((size, blob) =>
    Array.from({ length: size }, () =>
      Array.from({ length: dim }, (_, c) => (c === blob ? 1 : 0) + 0.1 * random.uniform()),
    ),
  );
  const all = [...rows, [0, 0, 0, 0, 0, 1]];
  return normalizeRows({ values: Float32Array.from(all.flat()), rows: all.length, dim });
}

async function columnsOf(sizes: readonly number[], classes?: readonly number[]) {
  const features = blobs(sizes);
  const files = Array.from({ length: features.rows }, (_, row) => `${row}.png`);
  return featureColumns({ features, table: await neighborTable(features), files, classes });
}

describe("columns of features", () => {
  it("are the groups, the largest first, and the distance from neighbours", async () => {
    const [groups, distances] = await columnsOf([20, 30]);
    if (groups?.kind !== "names" || distances?.kind !== "numbers") throw new Error("expected names, then numbers");
    expect(groups.names).to.have.length(2);
    expect(groups.names[0]).to.match(/^01-[2-4][0-9]$/);
    expect(groups.codes).to.deep.equal([...new Array<number>(20).fill(1), ...new Array<number>(30).fill(0), -1]);
    const { numbers } = distances;
    expect(Math.max(...numbers.map(Number)), "that of the row apart").to.equal(numbers[50]);
    expect(numbers[50]).to.be.above(1);
    expect(numbers[0]).to.be.below(0.3);
  });

  it("are without groups where there are none", async () => {
    expect((await columnsOf([5])).map(({ name }) => name)).to.deep.equal([
      "distance from neighbours",
      "similarity to the nearest",
    ]);
  });

  it("are highest for near-duplicates, and for classes that neighbours contradict", async () => {
    const classes = [...new Array<number>(20).fill(0), ...new Array<number>(20).fill(1), -1];
    classes[7] = 1;
    const columns = await columnsOf([20, 20], classes);
    const numbersOf = (name: string) => {
      const column = columns.find((each) => each.name === name);
      if (column?.kind !== "numbers") throw new Error(`expected numbers called ${name}`);
      return column.numbers;
    };
    const features = blobs([20, 20]);
    const similarityOf = (a: number, b: number): number =>
      Array.from({ length: 6 }, (_, c) => features.values[a * 6 + c]! * features.values[b * 6 + c]!).reduce(
        (sum, each) => sum + each,
      );
    for (const row of [0, 25, 40]) {
      const others = Array.from({ length: 41 }, (_, other) => (other === row ? -1 : similarityOf(row, other)));
      expect(numbersOf("similarity to the nearest")[row]).to.be.closeTo(Math.max(...others), 1e-3);
    }
    const doubts = numbersOf("doubt about the class");
    expect(doubts.indexOf(Math.max(...doubts.map(Number)))).to.equal(7);
    expect(doubts[7]).to.equal(1);
    expect(doubts[30]).to.be.below(-0.8);
    expect(doubts[40], "that of an image without a class").to.equal(null);
  });
});
