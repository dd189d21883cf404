import { appendFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { readColumns } from "../../../dino/explorer/columns.js";
import { openLabels } from "../../../dino/explorer/labels.js";
import { FIRST_CELLS, pictureLevels, squareOf } from "../../../dino/explorer/picture-levels.js";
import { updateMap } from "../../../dino/explorer/stored-map.js";
import { memoryImages } from "../../../dino/images/image-set.js";
import { normalizeRows } from "../../../dino/math/feature-rows.js";
import { rng } from "../../../dino/math/random.js";
import { neighborTable } from "../../../dino/retrieval/places.js";
import { rejection } from "../../support/rejection.js";
import { put, temporaryFolders } from "../../support/temporary-folders.js";

const folder = temporaryFolders("dino-explorer-parts");

describe("columns of a CSV file", () => {
  const pixels = new Uint8Array(3);
  const names = ["a.png", "b.png", "c.png"];
  const images = memoryImages({ images: names.map(() => ({ rows: 1, cols: 1, pixels })), names });
  const read = async (text: string) =>
    readColumns(await put(await folder(), "columns.csv", text), { images, files: ["c.png", "a.png"] });

  it("are names or numbers of each image, unknown where the file has none", async () => {
    expect(await read("file,kind,size\na.png,cat,3\nb.png,dog,\nc.png,,4.5\n")).to.deep.equal([
      { kind: "names", name: "kind", names: ["cat"], codes: [-1, 0] },
      { kind: "numbers", name: "size", numbers: [4.5, 3] },
    ]);
  });

  it("are refused where they name unknown files, or miss values, titles or the file", async () => {
    expect(await rejection(read("file,kind\nx.png,1\na.png,2\n"))).to.match(
      /columns\.csv: 1 of 2 rows name files that are not in memory: x\.png; expected paths within the folder/,
    );
    expect(await rejection(read("file,kind\na.png\n"))).to.include(
      "expected 2 values in row 2, as many as titles, got 1",
    );
    expect(await rejection(read("file\na.png\n"))).to.include("expected a line of titles");
    const missing = readColumns("/nowhere.csv", { images, files: [] });
    expect(await rejection(missing)).to.equal("/nowhere.csv: there is no such file");
  });
});

describe("labels", () => {
  it("are on disk at once, taken away by null, and there again when opened", async () => {
    const path = await folder();
    const labels = await openLabels(path);
    await labels.set([
      { file: "a", label: "cat" },
      { file: "b", label: "dog" },
    ]);
    await labels.set([{ file: "a", label: null }]);
    expect((await readFile(join(path, "labels.jsonl"), "utf8")).split("\n")).to.have.length(4);
    expect([...(await openLabels(path)).all()]).to.deep.equal([["b", "dog"]]);
  });

  it("survive a line that was cut off, and damage elsewhere is named", async () => {
    const path = await folder();
    await (await openLabels(path)).set([{ file: "a", label: "cat" }]);
    await appendFile(join(path, "labels.jsonl"), '{"file":"b","la');
    const labels = await openLabels(path);
    await labels.set([{ file: "c", label: "fox" }]);
    expect([...(await openLabels(path)).all().keys()]).to.deep.equal(["a", "c"]);
    await writeFile(join(path, "labels.jsonl"), '{"file":"a","label":"cat"}\n{"file":3}\n');
    expect(await rejection(openLabels(path))).to.match(/labels\.jsonl: line 2 is damaged; mend or remove it/);
  });
});

describe("levels of pictures", () => {
  const random = rng({ seed: 1, purpose: "places" });
  const places = Float32Array.from({ length: 2000 }, () => random.normal());
  const { levels, order } = pictureLevels(places);

  it("show at most one more image in a cell, and all in the end", () => {
    const { left, top, side } = squareOf(places);
    for (const level of [0, 1, 3]) {
      const cells = FIRST_CELLS * 2 ** level;
      const along = (value: number) => Math.min(cells - 1, Math.floor(value * cells));
      const before = new Set<number>();
      const added: number[] = [];
      for (let row = 0; row < 1000; row++) {
        if (levels[row]! > level) continue;
        const cell = along((places[2 * row + 1]! - top) / side) * cells + along((places[2 * row]! - left) / side);
        if (levels[row] === level) added.push(cell);
        else before.add(cell);
      }
      expect(new Set(added).size, `cells of level ${level}`).to.equal(added.length);
      expect(added.filter((cell) => before.has(cell))).to.deep.equal([]);
      expect(added.length).to.be.above(10);
    }
    expect([...order].sort((a, b) => a - b)).to.deep.equal(Array.from({ length: 1000 }, (_, row) => row));
    expect([...order].map((row) => levels[row]!)).to.deep.equal([...levels].sort((a, b) => a - b));
  });
});

describe("a stored map", () => {
  const random = rng({ seed: 2, purpose: "features" });
  const features = normalizeRows({
    ...{ rows: 40, dim: 4 },
    values: Float32Array.from({ length: 160 }, () => random.normal()),
  });

  it("is made once for features and seed, and again if its files are damaged", async () => {
    const path = await folder();
    let compared = 0;
    const compare = () => {
      compared++;
      return neighborTable(features);
    };
    const first = await updateMap({ folder: path, features, seed: 0, compare });
    expect(await updateMap({ folder: path, features, seed: 0, compare })).to.deep.equal(first);
    expect(compared).to.equal(1);
    const other = await updateMap({ folder: path, features, seed: 1, compare });
    expect(other.places).to.not.deep.equal(first.places);
    await writeFile(join(path, "places.npy"), "damaged");
    expect(await updateMap({ folder: path, features, seed: 1, compare })).to.deep.equal(other);
    expect(compared).to.equal(3);
  });
});
