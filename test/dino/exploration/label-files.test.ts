import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect } from "chai";
import { readLabels, rowFinder } from "../../../dino/exploration/label-files.js";
import { rejection } from "../../support/rejection.js";

describe("files of labels", () => {
  const files = ["red/0.png", "red/1.png", "blue/0.png", "blue/a, b.png"];
  let folder: string;
  before(async () => void (folder = await mkdtemp(join(tmpdir(), "dino-labels-"))));
  after(() => rm(folder, { recursive: true }));

  const read = async (name: string, text: string) => {
    const path = join(folder, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
    return readLabels(path, files);
  };
  const expected = { rows: Int32Array.of(0, 2, 3), labels: Int32Array.of(1, 0, 1), classes: 2, names: ["cat", "dog"] };

  it("are tables, objects and lists of the same labels", async () => {
    const table = 'blue/0.png, cat\n"blue/a, b.png",dog\nred/0.png,dog\nred/1.png,\n';
    expect(await read("a.csv", `file,label\n${table}`)).to.deep.equal(expected);
    expect(await read("b.csv", table)).to.deep.equal(expected);
    const object = { "red/0.png": "dog", "blue/a, b.png": "dog", "blue/0.png": "cat", "red/1.png": null };
    expect(await read("a.json", JSON.stringify(object))).to.deep.equal(expected);
    const list = Object.entries(object).map(([file, label]) => ({ file, label }));
    expect(await read("b.JSON", JSON.stringify(list))).to.deep.equal(expected);
  });

  it("are folders of a class each, with the images at their place or not", async () => {
    for (const [name, file] of [
      ["sorted", "cat/blue/0.png"],
      ["sorted", "dog/red/0.png"],
      ["sorted", "dog/a, b.png"],
    ] as const) {
      await mkdir(dirname(join(folder, name, file)), { recursive: true });
      await writeFile(join(folder, name, file), "");
    }
    expect(await readLabels(join(folder, "sorted"), files)).to.deep.equal(expected);
  });

  it("may name images with more or fewer folders, if one image fits", () => {
    const rowOf = rowFinder(files);
    expect(rowOf("photos/red/1.png")).to.equal(1);
    expect(rowOf("1.png")).to.equal(1);
    expect(rowOf("..\\photos\\blue\\0.png")).to.equal(2);
    expect(rowOf("0.png")).to.equal(undefined);
    expect(rowOf("green/1.png")).to.equal(undefined);
    expect(rowOf("2.png")).to.equal(undefined);
  });

  it("are refused where they do not fit", async () => {
    expect(await rejection(read("c.csv", "red/0.png,a\nx.png,b\ny.png,b\n"))).to.equal(
      `${join(folder, "c.csv")}: expected labels of the images, which have names like red/0.png, got x.png, y.png`,
    );
    expect(await rejection(read("d.csv", "red/0.png,a\nred/0.png,b\n"))).to.include("one label per image, got a and b");
    expect(await rejection(read("e.csv", "red/0.png\n"))).to.include("a file and a label in each row");
    expect(await rejection(read("f.csv", '"red/0.png,a'))).to.include("f.csv: CSV: the quote in row 1 is not closed");
    expect(await rejection(read("g.json", "[1]"))).to.include("g.json: ");
    expect(await rejection(read("h.json", "{"))).to.include("h.json: ");
    expect(await rejection(readLabels(join(folder, "none.csv"), files))).to.include("there is no such file");
  });
});
