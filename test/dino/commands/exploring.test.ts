import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { program } from "../../../dino/cli.js";
import { writeFeatures } from "../../../dino/evaluation/feature-files.js";
import { parseCsv } from "../../../dino/files/csv.js";
import { dino, drawFolder, writeTwoClasses } from "../../support/command-line.js";
import { families, writeModelOf } from "../../support/families.js";
import { rejection } from "../../support/rejection.js";

/** Runs a command that must succeed, and returns its JSON. */
async function reportOf<T>(...words: readonly string[]): Promise<T> {
  const { code, stdout, stderr } = await dino(...words, "--json");
  expect(code, stderr).to.equal(0);
  return JSON.parse(stdout) as T;
}

describe("commands that explore images", function () {
  this.timeout(120_000);
  let folder: string;
  let features: string;
  let photos: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "dino-exploring-"));
    features = await writeTwoClasses(join(folder, "features.npy"));
    photos = join(folder, "photos");
    await drawFolder(photos, 6);
    await writeFile(join(photos, "red", "torn.png"), "torn");
  });
  after(() => rm(folder, { recursive: true }));

  /** Writes features of two numbers per image, without classes. */
  const write = async (name: string, values: readonly number[]): Promise<string> => {
    const rows = values.length / 2;
    const files = Array.from({ length: rows }, (_, i) => `${i}.png`);
    const list = { data: photos, checkpoint: "none", which: "teacher", files, classes: [], failures: [] } as const;
    const path = join(folder, `${name}.npy`);
    const written = { features: { values: Float32Array.from(values), rows, dim: 2 } };
    await writeFeatures(path, { ...written, list: { ...list, files: [...files], classes: [], failures: [] } });
    return path;
  };

  for (const family of families) {
    it(`take a folder and a network of ${family}`, async () => {
      const checkpoint = join(folder, `${family}.safetensors`);
      await writeModelOf(family, checkpoint);
      const words = ["--checkpoint", checkpoint, "--data", photos, "--cache", join(folder, "cache")];
      interface Clusters {
        readonly groups: readonly { readonly name: string; readonly members: readonly { readonly file: string }[] }[];
        readonly failures: readonly { readonly path: string }[];
      }
      const out = join(folder, `groups of ${family}`);
      const lists = join(folder, "lists", family);
      const { groups, failures } = await reportOf<Clusters>(
        ...["cluster", ...words, "--groups", "2", "--out", out, "--lists", lists],
      );
      expect(failures.map(({ path }) => path)).to.deep.equal(["red/torn.png"]);
      expect((await readdir(out)).sort()).to.deep.equal(groups.map(({ name }) => name));
      expect((await readdir(lists)).sort()).to.deep.equal(groups.map(({ name }) => `${name}.txt`));
      for (const { name, members } of groups) {
        const paths = members.map(({ file }) => join(photos, file));
        expect(await readFile(join(lists, `${name}.txt`), "utf8")).to.equal(paths.map((path) => `${path}\n`).join(""));
        for (const [i, { file }] of members.entries()) {
          expect(await readlink(join(out, name, file))).to.equal(paths[i]);
        }
      }
      const largest = `@${join(lists, `${groups[0]!.name}.txt`)}`;
      const listed = ["--checkpoint", checkpoint, "--data", largest];
      const part = await reportOf<{ images: number }>("outliers", ...listed);
      expect(part.images).to.equal(groups[0]!.members.length);
      const { outliers } = await reportOf<{ outliers: readonly object[] }>("outliers", ...words);
      expect(outliers).to.have.length(12);
      const audit = await reportOf<{ images: number; classes: number }>("audit", ...words);
      expect(audit).to.include({ images: 12, classes: 2 });
      const { chosen } = await reportOf<{ chosen: readonly string[] }>("select", ...words, "-n", "4");
      expect(new Set(chosen).size).to.equal(4);
      const labels = join(folder, `${family}.csv`);
      await writeFile(labels, "red/0.png,red\nred/1.png,red\nblue/0.png,blue\nblue/1.png,blue\n");
      const classes = join(folder, "classes", family);
      const { images } = await reportOf<{ images: readonly { readonly file: string; readonly label: string }[] }>(
        ...["classify", ...words, "--labels", labels, "--out", classes],
      );
      expect(images).to.have.length(12);
      for (const { file, label } of images) {
        expect(await readlink(join(classes, label, file))).to.equal(join(photos, file));
      }
    });
  }

  it("find groups as text and as a table", async () => {
    const csv = join(folder, "made", "groups.csv");
    const { stdout, stderr } = await dino("cluster", "--features", features, "--groups", "2", "--csv", csv);
    expect(stderr).to.equal("");
    expect(stdout).to.match(/^2 groups of 20 images\n\ngroup {2,}images/);
    const [header, ...rows] = parseCsv(await readFile(csv, "utf8"));
    expect(header).to.deep.equal(["file", "group", "similarity"]);
    const groupOf = new Map(rows.map(([file, group]) => [file, group]));
    for (let i = 0; i < 20; i++) expect(groupOf.get(`${i}.png`)).to.equal(groupOf.get(`${i % 2}.png`));
    const dense = await reportOf<{ groups: readonly { readonly images: number }[]; noise: readonly object[] }>(
      ...["cluster", "--features", features, "--min-size", "4"],
    );
    expect(dense.groups.length).to.be.at.least(2);
    expect(dense.groups.reduce((sum, { images }) => sum + images, dense.noise.length)).to.equal(20);
  });

  it("list outliers, the strangest first", async () => {
    const path = await write("strange", [1, 0, 1, 0.1, -1, 0.1, 1, 0.05, 1, 0.02]);
    const csv = join(folder, "outliers.csv");
    const { stdout } = await dino("outliers", "--features", path, "-k", "2", "--show", "1", "--csv", csv);
    expect(stdout).to.match(/^the 1 strangest of 5 images; the median score is 0\.\d{4}\n {3}1\.9\d{3} {3}2\.png\n$/);
    expect(parseCsv(await readFile(csv, "utf8"))).to.have.length(6);
  });

  it("list doubtful labels, of classes and of a file", async () => {
    const labels = join(folder, "swapped.csv");
    const rows = Array.from({ length: 20 }, (_, i) => `${i}.png,${(i % 2 === 0) === (i !== 6) ? "even" : "odd"}\n`);
    await writeFile(labels, rows.join(""));
    for (const by of ["linear", "knn"]) {
      const words = ["audit", "--features", features, "--by", by];
      expect(await reportOf<object>(...words)).to.deep.include({ likely: 0, doubtful: [] });
      const { stdout } = await dino(...words, "--labels", labels);
      expect(stdout).to.match(/^1 of 20 labels are doubtful, .*\n.* odd -> even {3}6\.png\n$/);
    }
  });

  it("choose images that are not given, and write them", async () => {
    const given = join(folder, "given.txt");
    await writeFile(given, "0.png\n2.png\n");
    const out = join(folder, "chosen", "list.txt");
    const words = ["select", "--features", features, "-n", "18", "--given", given, "--out", out];
    const { stdout, stderr } = await dino(...words);
    expect(stderr).to.equal("");
    expect(await readFile(out, "utf8")).to.equal(stdout);
    const expected = Array.from({ length: 20 }, (_, i) => `${i}.png`).filter((file) => !/^[02]\.png/.test(file));
    expect(stdout.trimEnd().split("\n").sort()).to.deep.equal(expected.sort());
  });

  it("classify all images, and write tables and annotations", async () => {
    const labels = join(folder, "few.json");
    await writeFile(labels, JSON.stringify({ "0.png": "a/b", "2.png": "a/b", "1.png": "odd", "3.png": "odd" }));
    const [csv, coco] = [join(folder, "all.csv"), join(folder, "coco.json")];
    const words = ["classify", "--features", features, "--labels", labels, "--csv", csv, "--coco", coco];
    const { code, stdout, stderr } = await dino(...words);
    expect(code, stderr).to.equal(0);
    expect(stdout).to.include("20 images by 4 labels of 2 classes; accuracy on these, leave-one-out: 100.0 %");
    const [header, ...rows] = parseCsv(await readFile(csv, "utf8"));
    expect(header).to.deep.equal(["file", "label", "confidence", "given"]);
    const expected = Array.from({ length: 20 }, (_, i) => [
      `${i}.png`,
      i % 2 === 0 ? "a/b" : "odd",
      i < 4 ? "yes" : "no",
    ]);
    expect(rows.map(([file, label, , isGiven]) => [file, label, isGiven])).to.deep.equal(expected);
    interface Coco {
      readonly images: readonly { readonly id: number; readonly file_name: string }[];
      readonly categories: readonly { readonly id: number; readonly name: string }[];
      readonly annotations: readonly { readonly id: number; readonly image_id: number; readonly category_id: number }[];
    }
    const { images, categories, annotations } = JSON.parse(await readFile(coco, "utf8")) as Coco;
    const named = annotations.map(({ image_id: image, category_id: category }) => [
      images.find(({ id }) => id === image)!.file_name,
      categories.find(({ id }) => id === category)!.name,
    ]);
    expect(named).to.deep.equal(expected.map(([file, label]) => [file, label]));
  });

  it("put images of low confidence into a folder of their own, and every name below the folder", async () => {
    const data = join(folder, "flat");
    await mkdir(data);
    for (let i = 0; i < 5; i++) await writeFile(join(data, `${i}.png`), "");
    const path = await write("unsure", [1, 0, 1, 0.01, 0, 1, 0.01, 1, 1, 1]);
    const labels = join(folder, "unsure.csv");
    await writeFile(labels, "0.png,../up\n1.png,../up\n2.png,b\n3.png,b\n");
    const lists = join(folder, "unsure");
    const words = ["classify", "--features", path, "--data", data, "--labels", labels, "--by", "knn"];
    const { code, stderr } = await dino(...words, "--min-confidence", "0.9", "--lists", lists);
    expect(code, stderr).to.equal(0);
    expect((await readdir(lists)).sort()).to.deep.equal(["--up.txt", "b.txt", "unsure.txt"]);
    expect(await readFile(join(lists, "unsure.txt"), "utf8")).to.equal(`${join(data, "4.png")}\n`);
  });

  describe("refuse", () => {
    const refusal = async (command: string, ...words: readonly string[]): Promise<string> =>
      rejection((await program(command)).parseAsync([command, ...words], { from: "user" }));

    it("with an exit code and one line", async () => {
      const usage = await dino("cluster", "--data", photos);
      expect(usage).to.include({ code: 2, stdout: "" });
      const { code, stdout, stderr } = await dino("outliers", "--features", await write("one", [1, 0]));
      expect({ code, stdout }).to.deep.equal({ code: 1, stdout: "" });
      expect(stderr).to.equal("dino: outliers: expected at least 2 images, got 1\n");
    });

    const commands = {
      cluster: ["--groups", "2"],
      outliers: [],
      audit: ["--labels", "LABELS"],
      select: ["-n", "1"],
      classify: ["--labels", "LABELS"],
    } as const;
    const sets: readonly (readonly [name: string, values: readonly number[], expected: string])[] = [
      ["one image", [1, 0], "expected at least 2 images, got 1"],
      ["images that are all alike", [1, 2, 1, 2, 2, 4], "expected different images, got 3 with the same features"],
      ["features that are not finite", [1, 2, 3, NaN, 1, 1], "expected features of finite numbers, got NaN for 1.png"],
    ];
    for (const [name, flags] of Object.entries(commands)) {
      it(`in dino ${name} what is no set of images`, async () => {
        const labels = join(folder, "two.csv");
        await writeFile(labels, "0.png,a\n1.png,b\n");
        const out = join(folder, `refused-${name}.csv`);
        for (const [set, values, expected] of sets) {
          const path = await write(set.replaceAll(" ", "-"), values);
          const words = flags.map((flag) => (flag === "LABELS" ? labels : flag));
          const one = values.length === 2 && words.includes(labels);
          const output = name === "select" ? "--out" : "--csv";
          const message = await refusal(name, "--features", path, ...words, output, out);
          expect(message, set).to.include(one ? "expected labels of the images" : expected);
          expect(existsSync(out), set).to.equal(false);
        }
      });
    }

    it("half a source, unknown images, one class, too many groups, and a folder that holds something", async () => {
      expect(await refusal("cluster", "--data", photos)).to.include("expected --checkpoint and --data together");
      expect(await refusal("outliers", "--features", features, "--cache", folder)).to.include("leave --cache out");
      expect(await refusal("outliers", "--features", join(folder, "none.npy"))).to.include("no such file");
      const given = ["--features", features, "--groups", "21"];
      expect(await refusal("cluster", ...given)).to.include("expected 1 to 20 groups, the number of images, got 21");
      const bare = await write("bare", [1, 0, 0, 1]);
      expect(await refusal("audit", "--features", bare)).to.include("--labels: expected a file of labels");
      const one = join(folder, "one.csv");
      await writeFile(one, "0.png,a\n1.png,a\n");
      for (const command of ["audit", "classify"]) {
        expect(await refusal(command, "--features", bare, "--labels", one)).to.include("got one class only");
      }
      await writeFile(one, "0.png,a\nother.png,b\n");
      expect(await refusal("classify", "--features", bare, "--labels", one)).to.include("got other.png");
      expect(await refusal("select", "--features", bare, "-n", "3")).to.include("expected 1 to 2 images");
      expect(await refusal("select", "--features", bare, "-n", "1", "--given", one)).to.include("got other.png");
      const full = ["--features", bare, "--groups", "2", "--out"];
      expect(await refusal("cluster", ...full, folder)).to.include("expected a new or empty folder");
      const out = join(folder, "links");
      expect(await refusal("cluster", ...full, out)).to.include("expected images that are files");
      expect(existsSync(out)).to.equal(false);
    });
  });
});
