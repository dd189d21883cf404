import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { writeNpyPieces } from "../../../dino/files/npy-pieces.js";
import { parseNpy } from "../../../dino/files/npy.js";
import { rejection } from "../../support/rejection.js";

describe("npy in pieces", () => {
  let folder: string;
  let path: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "npy-"));
    path = join(folder, "rows.npy");
  });
  after(() => rm(folder, { recursive: true }));

  it("is the array of what was appended, and gives the result of the function", async () => {
    const all = Float32Array.from({ length: 12 }, (_, i) => i / 7);
    const result = await writeNpyPieces(path, [3], async (append) => {
      for (let row = 0; row < 4; row++) await append(all.subarray(3 * row, 3 * row + 3));
      return "done";
    });
    expect(result).to.equal("done");
    expect(parseNpy(await readFile(path))).to.deep.equal({ values: all, shape: [4, 3] });
    await writeNpyPieces(path, [3], () => Promise.resolve());
    expect(parseNpy(await readFile(path)).shape).to.deep.equal([0, 3]);
  });

  it("leaves the former file where an array is of another length, or the function throws", async () => {
    await writeNpyPieces(path, [1], (append) => append(Float32Array.of(5)));
    const former = await readFile(path);
    const short = writeNpyPieces(path, [2, 2], (append) => append(Float32Array.of(1, 2, 3)));
    expect(await rejection(short)).to.equal("npy: expected arrays [2, 2], got 3 values");
    expect(await rejection(writeNpyPieces(path, [1], () => Promise.reject(new Error("no images"))))).to.equal(
      "no images",
    );
    expect(await readFile(path)).to.deep.equal(former);
    expect(await readdir(folder)).to.deep.equal(["rows.npy"]);
  });
});
