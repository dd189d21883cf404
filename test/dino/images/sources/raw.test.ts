import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { expect } from "chai";
import { openCifar } from "../../../../dino/images/sources/cifar.js";
import { measureImage } from "../../../../dino/images/sources/folder-images.js";
import { openIdx } from "../../../../dino/images/sources/idx.js";
import { rejection } from "../../../support/rejection.js";
import { idx, imagesOf, inFolder, survivesDamage } from "./written-images.js";

const bytes = (count: number, below = 256) => Uint8Array.from({ length: count }, (_, i) => (i * 37 + (i >> 3)) % below);

describe("IDX files", () => {
  const [count, rows, cols] = [5, 4, 3];
  const pixels = bytes(count * rows * cols);
  const images = idx([count, rows, cols], pixels);
  const labels = idx([count], Uint8Array.of(7, 2, 2, 9, 7));

  for (const [how, end, written] of [
    ["as they are", "", (file: Buffer) => file],
    ["compressed", ".gz", gzipSync],
  ] as const) {
    it(`give gray images, and the labels beside them, ${how}`, () =>
      inFolder(async (folder) => {
        const path = join(folder, `train-images-idx3-ubyte${end}`);
        await writeFile(path, written(images));
        expect((await openIdx(path)).labels).to.equal(undefined);
        await writeFile(join(folder, `train-labels-idx1-ubyte${end}`), written(labels));
        const set = await openIdx(path);
        expect([set.count, set.classes, [...set.labels!]]).to.deep.equal([count, ["2", "7", "9"], [1, 0, 0, 2, 1]]);
        for (const [index, image] of (await imagesOf(set)).entries()) {
          const gray = [...pixels.subarray(index * rows * cols, (index + 1) * rows * cols)];
          expect({ ...image, pixels: [...image.pixels] }).to.deep.equal({
            rows,
            cols,
            pixels: gray.flatMap((value) => [value, value, value]),
          });
        }
        expect(await measureImage(set, 2)).to.deep.equal({ rows, cols });
      }));

    it(`do no harm when they are damaged, ${how}`, () =>
      inFolder((folder) =>
        survivesDamage(join(folder, `x-images-idx3-ubyte${end}`), images, openIdx, { compressed: end !== "" }),
      ));
  }

  it("do no harm when the compressed bytes are damaged", () =>
    inFolder((folder) => survivesDamage(join(folder, "x-images-idx3-ubyte.gz"), gzipSync(images), openIdx)));

  it("allocate nothing for what is not there", () =>
    inFolder(async (folder) => {
      const path = join(folder, "images-idx3-ubyte.gz");
      await writeFile(path, gzipSync(idx([4_000_000_000, 60000, 60000], pixels)));
      expect(await rejection(openIdx(path))).to.include("it is far shorter than it says");
    }));

  it("want as many labels as images", () =>
    inFolder(async (folder) => {
      await writeFile(join(folder, "images-idx3-ubyte"), images);
      await writeFile(join(folder, "labels-idx1-ubyte"), idx([2], bytes(2)));
      expect(await rejection(openIdx(join(folder, "images-idx3-ubyte")))).to.match(/expected 5 labels, .* got 2$/);
    }));
});

describe("CIFAR files", () => {
  const record = (...labels: number[]) => Buffer.from([...labels, ...bytes(3072)]);

  it("give images out of planes, with classes by name or number", () =>
    inFolder(async (folder) => {
      const path = join(folder, "data_batch_1.bin");
      await writeFile(path, Buffer.concat([record(3), record(0)]));
      const set = await openCifar(path);
      expect([set.count, set.classes.length, [...set.labels!]]).to.deep.equal([2, 10, [3, 0]]);
      const planes = bytes(3072);
      const [first] = await imagesOf(set);
      expect([first!.rows, first!.cols]).to.deep.equal([32, 32]);
      for (const at of [0, 5, 1023]) {
        const rgb = [planes[at], planes[1024 + at], planes[2048 + at]];
        expect([...first!.pixels.subarray(3 * at, 3 * at + 3)]).to.deep.equal(rgb);
      }
      const names = ["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
      await writeFile(join(folder, "batches.meta.txt"), names.map((name) => `${name}\n`).join(""));
      const named = await openCifar(path);
      expect(Array.from(named.labels!, (label) => named.classes[label])).to.deep.equal(["cat", "plane"]);
    }));

  it("take the fine label of CIFAR-100", () =>
    inFolder(async (folder) => {
      const path = join(folder, "train.bin");
      await writeFile(path, Buffer.concat([record(19, 99), record(0, 11)]));
      const { classes, labels } = await openCifar(path);
      expect(Array.from(labels!, (label) => classes[label])).to.deep.equal(["99", "11"]);
    }));

  it("are told from other files", () =>
    inFolder(async (folder) => {
      const path = join(folder, "x.bin");
      for (const wrong of [Buffer.alloc(0), Buffer.alloc(100), record(10)]) {
        await writeFile(path, wrong);
        expect(await rejection(openCifar(path))).to.match(
          /x\.bin: expected a CIFAR file, records of 3073 or 3074 bytes/,
        );
      }
      await survivesDamage(path, Buffer.concat([record(1), record(2)]), openCifar);
    }));
});
