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

async function columnsOf(sizes: readonly number[]) {
  const features = blobs(sizes);
  const files = Array.from({ length: features.rows }, (_, row) => `${row}.png`);
  return featureColumns({ features, table: await neighborTable(features), files });
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
    expect((await columnsOf([5])).map(({ name }) => name)).to.deep.equal(["distance from neighbours"]);
  });
});
