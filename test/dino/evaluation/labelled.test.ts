import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { readFeatures, writeFeatures } from "../../../dino/evaluation/feature-files.js";
import { readLabelled } from "../../../dino/evaluation/labelled-files.js";
import { rejection } from "../../support/rejection.js";

describe("labelled features out of files", () => {
  let folder: string;
  before(async () => void (folder = await mkdtemp(join(tmpdir(), "labelled-"))));
  after(() => rm(folder, { recursive: true }));

  interface Contents {
    readonly values: readonly number[];
    readonly dim: number;
    readonly classes?: string[];
    readonly labels?: number[];
  }

  async function write(name: string, { values, dim, classes = [], labels }: Contents): Promise<string> {
    const rows = values.length / dim;
    const files = Array.from({ length: rows }, (_, i) => `${i}.png`);
    const path = join(folder, name);
    const features = { values: Float32Array.from(values), rows, dim };
    const made = { data: "photos", checkpoint: "c", which: "teacher" } as const;
    await writeFeatures(path, { features, list: { ...made, failures: [], files, classes, ...(labels && { labels }) } });
    return path;
  }

  it("have their classes matched by name", async () => {
    const train = await write("train.npy", { values: [1, 2, 3, 4], dim: 2, classes: ["a", "b"], labels: [0, 1] });
    const test = await write("test.npy", { values: [5, 6], dim: 2, classes: ["b"], labels: [0] });
    const found = await readLabelled(train, test);
    expect([...found.train.labels, ...found.test.labels]).to.deep.equal([0, 1, 1]);
    expect(found.classes).to.deep.equal(["a", "b"]);
    expect([...found.test.features.values]).to.deep.equal([5, 6]);
  });

  it("lists each image on a line of its own, whatever its name", async () => {
    const path = join(folder, "names.npy");
    const list = { data: "photos", checkpoint: "c", which: "teacher" } as const;
    const files = ["new\nline.png", "cr\r.png", "plain.png"];
    const features = { values: new Float32Array(3), rows: 3, dim: 1 };
    await writeFeatures(path, { features, list: { ...list, failures: [], classes: [], files } });
    expect(await readFile(join(folder, "names.txt"), "utf8")).to.equal("new\\nline.png\ncr\\r.png\nplain.png\n");
    expect((await readFeatures(path)).list.files).to.deep.equal(files);
  });

  it("are refused where they do not fit each other", async () => {
    const train = await write("train.npy", { values: [1, 2, 3, 4], dim: 2, classes: ["a", "b"], labels: [0, 1] });
    const narrow = await write("narrow.npy", { values: [1], dim: 1, classes: ["a"], labels: [0] });
    const bare = await write("bare.npy", { values: [1, 2], dim: 2 });
    const strange = await write("strange.npy", { values: [1, 2], dim: 2, classes: ["c"], labels: [0] });
    expect(await rejection(readLabelled(train, narrow))).to.include("narrow.npy: expected features of 2 numbers");
    expect(await rejection(readLabelled(bare, train))).to.include("bare.npy: expected features of images with classes");
    expect(await rejection(readLabelled(train, strange))).to.include("a class c, which the train images lack (a, b)");
    expect(await rejection(readLabelled(train, join(folder, "gone.npy")))).to.include(
      "gone.npy: there is no such file",
    );
  });
});
