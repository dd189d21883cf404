import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { expect } from "chai";
import { isFailure } from "../../../../dino/images/image-location.js";
import { openParquet } from "../../../../dino/images/sources/parquet.js";
import { thriftSize } from "../../../../dino/images/sources/thrift.js";
import { rejection } from "../../../support/rejection.js";
import { gray, tiff } from "../formats/written-formats.js";
import { imagesOf, inFolder, noise, pngs, redOf, survivesDamage, writeParquet } from "./written-images.js";

describe("Parquet image sets", () => {
  const range = (count: number) => Array.from({ length: count }, (_, i) => i);

  for (const [words, options] of [
    ["compressed by Snappy", { codec: "SNAPPY" }],
    ["uncompressed", { codec: "UNCOMPRESSED" }],
    ["compressed by gzip", { codec: "GZIP", compressors: { GZIP: (bytes: Uint8Array) => gzipSync(bytes) } }],
    ["in many pages", { pageSize: 1500 }],
    ["in many groups of rows", { rowGroupSize: 3 }],
    ["as plain bytes", { plain: true }],
  ] as const) {
    it(`give their images, ${words}`, () =>
      inFolder(async (folder) => {
        const path = join(folder, "train.parquet");
        await writeParquet(path, await pngs(12), options);
        const set = await openParquet(path);
        expect([set.count, set.name(11), set.labels]).to.deep.equal([12, "11", undefined]);
        expect(await imagesOf(set)).to.deep.equal(range(12).map(noise));
      }));
  }

  it("give images that a dictionary holds once", () =>
    inFolder(async (folder) => {
      const path = join(folder, "train.parquet");
      const files = await pngs(3);
      const order = range(40).map((i) => (i * i) % 3);
      await writeParquet(
        path,
        order.map((i) => files[i]!),
        { pageSize: 4 },
      );
      expect(await imagesOf(await openParquet(path))).to.deep.equal(order.map(noise));
    }));

  it("give each page of TIFF files, with the class of the row", () =>
    inFolder(async (folder) => {
      const path = join(folder, "train.parquet");
      const [file] = await pngs(1);
      const rows = [tiff([gray(1), gray(2)]), null, tiff([gray(3)]), file!, tiff([gray(4), gray(5), gray(6)])];
      const labels = [0n, 1n, 2n, 3n, 4n];
      for (const options of [{}, { pageSize: 400 }]) {
        await writeParquet(path, rows, { labels, ...options });
        const set = await openParquet(path);
        const names = Array.from({ length: set.count }, (_, i) => set.name(i));
        expect(names).to.deep.equal(["0#1", "0#2", "1", "2", "3", "4#1", "4#2", "4#3"]);
        expect(Array.from(set.labels!)).to.deep.equal([0, 0, 1, 2, 3, 4, 4, 4]);
        expect(await redOf(set, 2)).to.deep.equal([1, 2]);
        expect(await set.decode(2)).to.deep.equal({ path: `${path}/1`, reason: "the row has no image" });
        expect(await set.decode(6)).to.have.deep.property(
          "pixels",
          Uint8Array.from({ length: 12 }, () => 5),
        );
      }
      await survivesDamage(join(folder, "t.parquet"), await readFile(path), openParquet, { runs: 100 });
    }));

  it("fail for rows without an image, and for those alone", () =>
    inFolder(async (folder) => {
      const path = join(folder, "train.parquet");
      const files = await pngs(4);
      await writeParquet(path, [files[0]!, null, files[2]!, Buffer.from("no image"), null]);
      const set = await openParquet(path);
      const decoded = await Promise.all(range(5).map((i) => set.decode(i)));
      expect(decoded.map(isFailure)).to.deep.equal([false, true, false, true, true]);
      expect(set.failures.get(1)).to.deep.equal({ path: `${path}/1`, reason: "the row has no image" });
    }));

  it("name classes as Hugging Face does, by number where nobody has named them, or by what is written", () =>
    inFolder(async (folder) => {
      const path = join(folder, "train.parquet");
      const files = await pngs(4);
      const classesOf = async (options: Parameters<typeof writeParquet>[2]) => {
        await writeParquet(path, files, options);
        const { classes, labels } = await openParquet(path);
        return labels && Array.from(labels, (label) => classes[label]);
      };
      const labels = [1n, 0n, 1n, 1n];
      expect(await classesOf({ labels, names: ["cat", "dog"] })).to.deep.equal(["dog", "cat", "dog", "dog"]);
      expect(await classesOf({ labels })).to.deep.equal(["1", "0", "1", "1"]);
      expect(await classesOf({ labels: ["b", "a", "b", "c"] })).to.deep.equal(["b", "a", "b", "c"]);
      expect(await classesOf({ labels: [1n, -1n, 0n, 0n] })).to.equal(undefined);
      expect(await classesOf({ labels: [1n, null, 0n, 0n] })).to.equal(undefined);
      expect(await classesOf({ labels: [true, false, true, true] })).to.deep.equal(["true", "false", "true", "true"]);
      expect(await classesOf({ labels: [1, 0, 0.5, 1] })).to.deep.equal(["1", "0", "0.5", "1"]);
      expect(await classesOf({ labels: [1, 0, 1, 1], names: ["cat", "dog"] })).to.deep.equal([
        "dog",
        "cat",
        "dog",
        "dog",
      ]);
      const truths = range(20).map((i) => i % 3 === 0); // so many are written in runs
      await writeParquet(
        path,
        range(20).map(() => files[0]!),
        { labels: truths },
      );
      const { classes, labels: numbers } = await openParquet(path);
      expect(Array.from(numbers!, (number) => classes[number] === "true")).to.deep.equal(truths);
      for (const [incomplete, missing] of [
        [[1n, null, -1n, 0n], 2],
        [[1, NaN, 0, 0], 1],
        [[true, null, null, false], 2],
        [[null, null, null, null], 4],
      ] as const) {
        await writeParquet(path, files, { labels: incomplete });
        const set = await openParquet(path);
        expect([set.labels, set.whyUnlabelled]).to.deep.equal([
          undefined,
          `${missing} of 4 images have no class, which Parquet has in a column label, labels, cls, class, fine_label`,
        ]);
      }
    }));

  it("say what is wrong with a file", () =>
    inFolder(async (folder) => {
      const path = join(folder, "train.parquet");
      await writeFile(path, "PAR1 and no more");
      expect(await rejection(openParquet(path))).to.equal(
        `${path}: expected a parquet file; this is none, or not a whole one`,
      );
      await writeParquet(path, await pngs(1));
      const whole = await readFile(path);
      await writeFile(path, whole.subarray(0, whole.length - 20));
      expect(await rejection(openParquet(path))).to.include("not a whole one");
    }));

  for (const [what, labels] of [
    ["nested", [0n, 1n, 1n, 0n, 0n, 0n]],
    ["plain", [0.5, 1, NaN, 0, null, 0]],
    ["plain, with truth values", [true, false, null, true, true, false]],
  ] as const) {
    it(`do no harm when they are damaged, ${what}`, () =>
      inFolder(async (folder) => {
        const path = join(folder, "s.parquet");
        const options = { labels, rowGroupSize: 4, plain: what !== "nested" };
        await writeParquet(path, await pngs(6), options);
        await survivesDamage(join(folder, "t.parquet"), await readFile(path), openParquet, { runs: 300 });
      }));
  }

  it("are not taken at their word about lists and numbers", () => {
    const list =
      (...bytes: number[]) =>
      () =>
        thriftSize(Uint8Array.from([0x19, ...bytes]));
    expect(thriftSize(Uint8Array.from([0x19, 0x28, 1, 65, 1, 66, 0, 99]))).to.equal(7);
    expect(list(0xf8, 0xff, 0xff, 0xff, 0x7f)).to.throw("damaged"); // a list of 268 million
    expect(list(0x18, 0xff, 0xff, 0xff, 0x7f)).to.throw("damaged"); // a text of 268 MiB
    expect(() => thriftSize(new Uint8Array(100).fill(0x1c))).to.throw("damaged"); // structs in structs
    expect(() => thriftSize(Uint8Array.from([0x16, ...new Array<number>(50).fill(0x80), 0]))).to.throw("damaged");
  });
});
