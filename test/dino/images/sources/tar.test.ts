import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { openTar } from "../../../../dino/images/sources/tar.js";
import { rejection } from "../../../support/rejection.js";
import { gray, tiff } from "../formats/written-formats.js";
import { imagesOf, inFolder, noise, pngs, redOf, survivesDamage, writeTar } from "./written-images.js";

describe("WebDataset shards", () => {
  it("hold images that are read where they lie, whatever their names", () =>
    inFolder(async (folder) => {
      const files = await pngs(4);
      const long = `${"deep/".repeat(40)}x`; // too long for a plain header
      const names = ["a/1.png", `${long}.png`, "ünï 图.PNG", "b.left.png"];
      const path = join(folder, "s.tar");
      await writeTar(path, [
        ["a/1.json", "{}"],
        ...names.map((name, i) => [name, files[i]!] as const),
        [".hidden.png", "none"],
        ["../../escape.txt", "none"],
      ]);
      const set = await openTar(path);
      expect(Array.from({ length: set.count }, (_, i) => set.name(i))).to.deep.equal(names);
      expect(await imagesOf(set)).to.deep.equal([0, 1, 2, 3].map(noise));
      expect([set.labels, set.classes]).to.deep.equal([undefined, []]);
    }));

  it("take the class of a sample from its .cls, before or behind the image, if all have one", () =>
    inFolder(async (folder) => {
      const files = await pngs(3);
      const path = join(folder, "s.tar");
      const samples = [
        ["x/1.cls", "dog\n"],
        ["x/1.png", files[0]!],
        ["x/2.png", files[1]!],
        ["x/2.cls", "cat"],
        ["3.png", files[2]!],
      ] as const;
      await writeTar(path, [...samples, ["3.cls", "dog"]]);
      const { classes, labels } = await openTar(path);
      expect(classes).to.deep.equal(["cat", "dog"]);
      expect([...labels!]).to.deep.equal([1, 0, 1]);
      const other = join(folder, "t.tar");
      await writeTar(other, samples);
      expect((await openTar(other)).labels).to.equal(undefined);
    }));

  it("number names that occur again, and their labels with them", () =>
    inFolder(async (folder) => {
      const files = await pngs(5);
      const path = join(folder, "s.tar");
      await writeTar(path, [
        ["x/a.b.png", files[0]!],
        ["x/a.cls", "dog"],
        ["x/a.b.png", files[1]!],
        ["x/a.cls", "cat"],
        ["x/a (2).b.png", files[2]!],
        ["x/a.b.png", files[3]!],
        ["x.y/README", "one"],
        ["x.y/README", "two"],
      ]);
      const set = await openTar(path);
      expect(Array.from({ length: set.count }, (_, i) => set.name(i))).to.deep.equal([
        "x/a.b.png",
        "x/a (2).b.png",
        "x/a (2) (2).b.png",
        "x/a (3).b.png",
      ]);
      expect(await imagesOf(set)).to.deep.equal([0, 1, 2, 3].map(noise));
      const ofTwo = async (...labels: readonly string[]) => {
        const image = ["a.png", files[4]!] as const;
        await writeTar(path, [image, ...labels.map((label) => ["a.cls", label] as const), image]);
        const { classes, labels: numbers } = await openTar(path);
        return numbers && Array.from(numbers, (number) => classes[number]);
      };
      expect(await ofTwo("dog", "cat")).to.deep.equal(["dog", "cat"]);
      expect(await ofTwo("dog"), "of both").to.deep.equal(["dog", "dog"]);
    }));

  it("take a class from .json or a .txt of one word, wherever it lies, and whatever dots a name has", () =>
    inFolder(async (folder) => {
      const [file] = await pngs(1);
      const path = join(folder, "s.tar");
      const classesOf = async (...texts: readonly (readonly [string, string])[]) => {
        const images = ["cam.1.00.png", "cam.1.01.png", "x/a.left.PNG", "x/a.right.png"];
        await writeTar(path, [...images.map((name) => [name, file!] as const), ...texts]);
        const { classes, labels, whyUnlabelled } = await openTar(path);
        return labels ? Array.from(labels, (label) => classes[label]) : whyUnlabelled;
      };
      const cams = [
        ["cam.1.00.CLS", "dog\r\n"],
        ["cam.1.01.cls", "cat"],
      ] as const;
      expect(await classesOf(...cams, ["x/a.cls", "0"])).to.deep.equal(["dog", "cat", "0", "0"]);
      const json = (value: unknown) => ["x/a.json", JSON.stringify(value)] as const;
      for (const [value, name] of [
        [{ width: 3, label: 7 }, "7"],
        [{ cls: "cow", label: null }, "cow"],
        [{ class: true }, "true"],
        ["cow", "cow"],
      ] as const)
        expect(await classesOf(...cams, json(value))).to.deep.equal(["dog", "cat", name, name]);
      expect(await classesOf(...cams, ["x/a.txt", "cow\n"])).to.deep.equal(["dog", "cat", "cow", "cow"]);
      expect(await classesOf(...cams, ["x/a.left.txt", "l"], ["x/a.txt", "r"])).to.deep.equal(["dog", "cat", "l", "r"]);
      expect(await classesOf(...cams, ["x/a.txt", "a"], json({ label: "b" }))).to.deep.equal(["dog", "cat", "b", "b"]);
      expect(await classesOf(...cams, ["x/a.outputs.txt", "cow"])).to.deep.equal(["dog", "cat", "cow", "cow"]);
      // of a sample with several labels, none is that of an image without its own
      expect(await classesOf(cams[0], ["cam.1.02.cls", "cat"], ["x/a.cls", "0"])).to.match(
        /^1 of 4 images have no class/,
      );
      for (const none of [
        ["x/a.b.cls", "\0\0"],
        ["x/a.cls", "\u0001\0\0\0"],
        ["x/a.txt", "a cow on grass"],
        json({ label: [1] }),
        ["x/a.json", "{"],
      ] as const)
        expect(await classesOf(...cams, none)).to.equal(
          "2 of 4 images have no class, which a .tar has beside an image, under its name: in .cls, in .json as " +
            '"label", or as the one word of .txt',
        );
    }));

  it("give each page of a TIFF file, with the class of the file", () =>
    inFolder(async (folder) => {
      const path = join(folder, "s.tar");
      const stack = tiff([gray(1), gray(2), gray(3)]);
      await writeTar(path, [
        ["a.tif", stack],
        ["a.cls", "x"],
        ["b.tiff", tiff([gray(4)])],
        ["b.cls", "y"],
        ["c.tif", stack.subarray(0, 60)],
        ["c.cls", "z"],
      ]);
      const set = await openTar(path);
      const names = Array.from({ length: set.count }, (_, i) => set.name(i));
      expect(names).to.deep.equal(["a.tif#1", "a.tif#2", "a.tif#3", "b.tiff", "c.tif"]);
      expect([...set.labels!]).to.deep.equal([0, 0, 0, 1, 2]);
      expect(await redOf(set, 4)).to.deep.equal([1, 2, 3, 4]);
      expect(await set.decode(4)).to.have.property("path", `${path}/c.tif`);
      await survivesDamage(join(folder, "t.tar"), await readFile(path), openTar, { runs: 100 });
    }));

  it("say where a file is no tar, or not a whole one", () =>
    inFolder(async (folder) => {
      const path = join(folder, "s.tar");
      await writeFile(path, "no tar at all ".repeat(100));
      expect(await rejection(openTar(path))).to.match(/s\.tar: expected a tar, but there is no header .* at byte 0$/);
      await writeTar(path, [
        ["0.png.data", Buffer.alloc(10)],
        ["0.png.label", "1"],
        ["1.png.data", Buffer.alloc(10)],
      ]);
      expect(await rejection(openTar(path))).to.match(/got files of other kinds: 2 \.data, 1 \.label$/);
      await writeTar(path, [["1.png", Buffer.alloc(3000)]]);
      await writeFile(path, (await readFile(path)).subarray(0, 2000));
      expect(await rejection(openTar(path))).to.match(/expected a tar, but 1\.png is cut off at byte 0$/);
    }));

  it("do no harm when they are damaged", () =>
    inFolder(async (folder) => {
      const path = join(folder, "s.tar");
      const files = await pngs(3);
      await writeTar(path, [
        ...files.map((file, i) => [`${i}.png`, file] as const),
        [`${"long/".repeat(30)}2.cls`, "5"],
        ["1.json", '{"label": 5}'],
        ["0.txt", "5"],
      ]);
      await survivesDamage(join(folder, "t.tar"), await readFile(path), openTar, { runs: 300 });
    }));
});
