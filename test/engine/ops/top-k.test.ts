import { expect } from "chai";
import { topK as topKOnHost } from "../../../dino/math/feature-rows.js";
import { rng } from "../../../dino/math/random.js";
import { type Device, input, record, type TopK, topK } from "../../../engine/index.js";
import { testDevice } from "../../support/device.js";
import { rejection } from "../../support/rejection.js";

const NONE = 2 ** 32 - 1;

/** Finds the largest numbers of rows on a device, whose columns come in tiles. */
async function found(device: Device, rows: readonly (readonly number[])[], k: number, tiles: readonly number[]) {
  let start = 0;
  const inputs = tiles.map((cols) => {
    const x = input(device, [rows.length, cols]);
    x.write(rows.flatMap((row) => row.slice(start, start + cols)));
    start += cols;
    return x;
  });
  using program = await record(device, () => {
    let best: TopK | undefined;
    for (const x of inputs) best = topK(x, k, best);
    return { values: best!.values, columns: best!.columns };
  });
  await program.run();
  const [values, columns] = [await program.read("values"), await program.readIntegers("columns")];
  for (const x of inputs) x[Symbol.dispose]();
  return { values, columns };
}

/** What `topK` of the host finds in each row. */
function expected(rows: readonly (readonly number[])[], k: number) {
  const columns = rows.flatMap((row) => [...topKOnHost(row, k)]);
  return { columns, values: columns.map((column, i) => rows[Math.floor(i / k)]![column]!) };
}

describe("topK", () => {
  const random = rng({ seed: 3, purpose: "rows" });
  const cases: readonly { title: string; cols: number; k: number; tiles?: readonly number[]; draw: () => number }[] = [
    { title: "random numbers", cols: 3000, k: 15, draw: () => Math.fround(random.normal()) },
    { title: "many equal numbers", cols: 3000, k: 64, draw: () => random.integer(3) },
    { title: "one number", cols: 2000, k: 200, draw: () => 0.5 },
    { title: "zeros of both signs", cols: 300, k: 40, draw: () => (random.integer(2) === 0 ? 0 : -0) },
    { title: "equal numbers across tiles", cols: 700, k: 64, tiles: [10, 1, 600, 89], draw: () => random.integer(5) },
    { title: "as many as fit", cols: 1200, k: 512, tiles: [700, 500], draw: () => Math.fround(random.normal()) },
    { title: "all columns", cols: 130, k: 130, tiles: [65, 65], draw: () => random.integer(100) },
  ];
  for (const kernels of ["cpu", "gpu"] as const) {
    describe(`for a ${kernels.toUpperCase()}`, () => {
      for (const { title, cols, k, tiles = [cols], draw } of cases) {
        it(`finds the columns that the host finds: ${title}`, async () => {
          const rows = Array.from({ length: 5 }, () => Array.from({ length: cols }, draw));
          const { values, columns } = await found(await testDevice({ kernels }), rows, k, tiles);
          expect([...columns]).to.deep.equal(expected(rows, k).columns);
          values.forEach((value, i) => expect(value).to.equal(rows[Math.floor(i / k)]![columns[i]!]));
        });
      }

      it("finds columns in rising and falling order", async () => {
        const rising = Array.from({ length: 5000 }, (_, c) => c);
        const rows = [rising, rising.toReversed(), [...rising.slice(0, 2500), ...rising.slice(0, 2500)]];
        for (const tiles of [[5000], [3000, 2000]]) {
          const { columns } = await found(await testDevice({ kernels }), rows, 30, tiles);
          expect([...columns]).to.deep.equal(expected(rows, 30).columns);
        }
      });

      it("never finds a NaN", async () => {
        const row = [NaN, 3, NaN, Infinity, -2, NaN, -Infinity];
        const { values, columns } = await found(await testDevice({ kernels }), [row, row.map(() => NaN)], 4, [3, 4]);
        expect([...columns]).to.deep.equal([3, 1, 4, NONE, NONE, NONE, NONE, NONE]);
        expect([...values]).to.deep.equal([Infinity, 3, -2, ...new Array<number>(5).fill(Math.fround(-3e38))]);
      });
    });
  }

  it("refuses more than workgroup memory holds", async () => {
    const device = await testDevice();
    expect(await rejection(found(device, [[1, 2]], 513, [2]))).to.equal("topK k: expected 1 to 512, got 513");
    expect(await rejection(found(device, [[1, 2]], 0, [2]))).to.equal("topK k: expected 1 to 512, got 0");
  });
});
