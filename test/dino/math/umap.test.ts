import { expect } from "chai";
import { type NeighborTable, umap } from "../../../dino/math/umap.js";

/** Rows on a ring, each with the two before it and the two after it as neighbours. */
function ring(rows: number): NeighborTable {
  const steps = [1, -1, 2, -2];
  const neighbors = Int32Array.from({ length: rows * 4 }, (_, i) => (Math.floor(i / 4) + steps[i % 4]! + rows) % rows);
  const distances = Float32Array.from({ length: rows * 4 }, (_, i) => (i % 4 < 2 ? 0.1 : 0.2));
  return { rows, count: 4, neighbors, distances };
}

/** A round start, so that the ring need not be unfolded. */
const round = (rows: number) =>
  Float64Array.from({ length: 2 * rows }, (_, i) =>
    (i % 2 === 0 ? Math.cos : Math.sin)((2 * Math.PI * Math.floor(i / 2)) / rows),
  );

describe("umap", () => {
  it("keeps the neighbours of each row the nearest", async () => {
    const rows = 60;
    const table = ring(rows);
    const places = await umap({ table, start: round(rows), seed: 1 });
    const distance = (a: number, b: number) =>
      Math.hypot(places[2 * a]! - places[2 * b]!, places[2 * a + 1]! - places[2 * b + 1]!);
    let kept = 0;
    for (let row = 0; row < rows; row++) {
      const others = Array.from({ length: rows }, (_, other) => other).filter((other) => other !== row);
      const near = new Set(others.sort((a, b) => distance(row, a) - distance(row, b)).slice(0, 4));
      for (const other of table.neighbors.subarray(4 * row, 4 * row + 4)) if (near.has(other)) kept++;
    }
    expect(kept / (4 * rows)).to.be.above(0.9);
  });

  it("gives the same places for the same seed, others for another, and reports every epoch", async () => {
    const options = { table: ring(20), start: round(20) };
    const done: number[] = [];
    const places = await umap({ ...options, seed: 3, onProgress: (epoch, total) => done.push(epoch / total) });
    expect(done).to.have.length(500);
    expect(done.at(-1)).to.equal(1);
    expect(await umap({ ...options, seed: 3 })).to.deep.equal(places);
    expect(await umap({ ...options, seed: 4 })).to.not.deep.equal(places);
  });

  it("places rows that are all the same at finite numbers", async () => {
    const table = { ...ring(9), distances: new Float32Array(36) };
    const places = await umap({ table, start: new Float64Array(18), seed: 0 });
    expect([...places].every(Number.isFinite)).to.equal(true);
  });
});
