import { mkdir, rm, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import fc from "fast-check";
import sharp from "sharp";
import { isFailure } from "../../../../dino/images/image-location.js";
import type { ImageSet } from "../../../../dino/images/image-set.js";
import type { Image } from "../../../../dino/images/pixels.js";
import { listedImages, measureImage, openImages } from "../../../../dino/images/sources/folder-images.js";
import { openSubjects, readImage } from "../../../../dino/images/sources/image-files.js";
import { openData } from "../../../../dino/images/sources/open.js";
import { indexedImages } from "../../../../dino/retrieval/indexed-images.js";
import { rejection } from "../../../support/rejection.js";
import { gray, tiff, type TiffPage } from "../formats/written-formats.js";
import { imagesOf, inFolder, noise, pngOf, survivesDamage, writeTar } from "./written-images.js";

const REDUCED = [[254, "long", [1]]] as const;

const namesOf = (set: ImageSet): readonly string[] => Array.from({ length: set.count }, (_, index) => set.name(index));

const firstPixels = async (set: ImageSet): Promise<readonly number[][]> =>
  (await imagesOf(set)).map(({ pixels }) => [...pixels.subarray(0, 3)]);

describe("pages of files", () => {
  it("are images of their own, without reduced copies, and keep the class of their file", () =>
    inFolder(async (folder) => {
      for (const name of ["a", "b"]) await mkdir(join(folder, name));
      await writeFile(join(folder, "a", "one.tif"), tiff([gray(10), gray(11, { tags: REDUCED })]));
      await writeFile(join(folder, "a", "stack.tif"), tiff([gray(20), gray(21, { tags: REDUCED }), gray(22)]));
      await writeFile(join(folder, "a", "x.png"), await pngOf(noise(0)));
      await writeFile(join(folder, "b", "bare"), tiff([gray(30), gray(31)]));
      await writeFile(join(folder, "b", "torn.tif"), tiff([gray(40), gray(41)]).subarray(0, 20));
      const set = await openData(folder);
      expect(namesOf(set)).to.deep.equal([
        "a/one.tif",
        "a/stack.tif#1",
        "a/stack.tif#3",
        "a/x.png",
        "b/bare#1",
        "b/bare#2",
        "b/torn.tif",
      ]);
      expect([...set.labels!]).to.deep.equal([0, 0, 0, 0, 1, 1, 1]);
      const values = [10, 20, 22, noise(0).pixels[0], 30, 31];
      for (const [index, value] of values.entries()) {
        const image = await set.decode(index);
        if (isFailure(image)) throw new Error(image.reason);
        expect(image.pixels[0], set.name(index)).to.equal(value);
      }
      expect(await set.decode(6)).to.have.property("path", "b/torn.tif");
    }));

  it("are channels of one image if asked for, with levels of their own", () =>
    inFolder(async (folder) => {
      const path = join(folder, "cells.tif");
      const values = (first: number) => new Uint8Array(Float32Array.of(first, first + 1, first + 2, first + 4).buffer);
      const page = (first: number): TiffPage => ({
        rows: 2,
        cols: 2,
        bits: 32,
        format: "float",
        samples: values(first),
      });
      await writeFile(path, tiff([page(0), page(100), page(-7)]));
      const set = await openData(path, { pages: "channels" });
      expect(namesOf(set)).to.deep.equal(["cells.tif#channels"]);
      const [image] = await imagesOf(set);
      expect([...image!.pixels]).to.deep.equal([0, 64, 128, 255].flatMap((value) => [value, value, value]));
      expect(await measureImage(set, 0)).to.deep.equal({ rows: 2, cols: 2 });
      const tiles = await openData(path, { pages: "channels", tile: 1 });
      expect(namesOf(tiles)).to.include.members(["cells.tif#channels@1x1+0+0", "cells.tif#channels@1x1+1+1"]);
      expect(await firstPixels(tiles)).to.deep.equal([0, 64, 128, 255].map((value) => [value, value, value]));
      const levels = [0, 100, -7].map((low) => ({ low, high: low + 4 }));
      expect(tiles.location(2).part?.levels).to.deep.equal(levels);
      await writeFile(path, tiff([gray(1), gray(2), gray(3)]));
      expect(await firstPixels(await openData(path, { pages: "channels" }))).to.deep.equal([[1, 2, 3]]);
      await writeFile(path, tiff([gray(1), gray(2), gray(3), gray(4), gray(5)]));
      expect(await rejection((await openData(path, { pages: "channels" })).decode(0))).to.match(
        /expected 1 to 4 channels .*, got 5; --channels 5 takes all$/,
      );
      await writeFile(path, tiff([gray(1), gray(2, { rows: 1, cols: 4 })]));
      expect(await rejection((await openData(path, { pages: "channels" })).decode(0))).to.match(
        /expected pages of one size to be channels, got 2 x 2 and 4 x 1$/,
      );
    }));

  it("end where a damaged file goes in circles", () =>
    inFolder(async (folder) => {
      const path = join(folder, "loop.tif");
      const bytes = tiff([gray(1)]);
      await writeFile(path, tiff([gray(1)], bytes.readUInt32LE(4)));
      expect((await openData(path)).count).to.equal(1);
    }));
});

describe("lists of pages and tiles", () => {
  const before = process.env["XDG_CACHE_HOME"];
  afterEach(() => {
    if (before === undefined) Reflect.deleteProperty(process.env, "XDG_CACHE_HOME");
    else process.env["XDG_CACHE_HOME"] = before;
  });

  it("are kept until a file changes, is added or removed, or is cut otherwise", () =>
    inFolder(async (folder) => {
      process.env["XDG_CACHE_HOME"] = join(folder, "cache");
      const scans = join(folder, "scans");
      await mkdir(scans);
      const side = 1100;
      const floats = (value: number) => {
        const samples = new Uint8Array(Float32Array.from({ length: side * side }, (_, i) => (i % 7) + value).buffer);
        return tiff([{ rows: side, cols: side, bits: 32, format: "float", samples }]);
      };
      const [a, b] = [join(scans, "a.tif"), join(scans, "b.png")];
      await writeFile(a, floats(0));
      const old = new Date(2020, 1, 1);
      await utimes(a, old, old);
      const open = async (tile = 1000) => {
        const set = await openData(scans, { tile });
        return [set.count, set.location(0).part?.levels?.[0]?.low];
      };
      expect(await open()).to.deep.equal([4, 0]);
      await writeFile(a, floats(5));
      await utimes(a, old, old); // as if nothing had happened
      expect(await open()).to.deep.equal([4, 0]);
      expect(await open(900)).to.deep.equal([4, 5]);
      await writeFile(b, await pngOf(noise(0)));
      expect(await open()).to.deep.equal([5, 5]);
      await rm(b);
      await writeFile(a, floats(6));
      expect(await open()).to.deep.equal([4, 6]);
    }));
});

describe("tiles", () => {
  /** An image whose pixels tell their place. */
  const placed = (rows: number, cols: number): Image => ({
    rows,
    cols,
    pixels: Uint8Array.from({ length: rows * cols * 3 }, (_, i) => {
      const [pixel, channel] = [Math.floor(i / 3), i % 3];
      return channel === 0 ? Math.floor(pixel / cols) : channel === 1 ? pixel % cols : 7;
    }),
  });

  it("cover images of any format and size, each tile with the pixels of its place", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 20 }),
        fc.constantFrom("png", "tiff", "tiled", "float", "webp"),
        (rows, cols, tile, format) =>
          inFolder(async (folder) => {
            const image = placed(rows, cols);
            const raw = sharp(image.pixels, { raw: { width: cols, height: rows, channels: 3 } });
            const floats = { rows, cols, channels: 3, bits: 32, format: "float" } as const;
            const written = {
              png: () => raw.png().toBuffer(),
              webp: () => raw.webp({ lossless: true }).toBuffer(),
              tiff: () => raw.tiff({ compression: "lzw" }).toBuffer(),
              tiled: () => raw.tiff({ tile: true, tileWidth: 16, tileHeight: 16, compression: "deflate" }).toBuffer(),
              float: () => tiff([{ ...floats, samples: new Uint8Array(Float32Array.from(image.pixels).buffer) }]),
            };
            await writeFile(join(folder, "a"), await written[format]());
            const [whole] = await imagesOf(await openData(join(folder, "a")));
            const set = await openData(join(folder, "a"), { tile });
            const covered = new Set<number>();
            for (const [index, part] of (await imagesOf(set)).entries()) {
              const [, left, top] = /\+(\d+)\+(\d+)$/.exec(set.name(index)) ?? ["", "0", "0"];
              expect([part.rows, part.cols]).to.deep.equal([Math.min(tile, rows), Math.min(tile, cols)]);
              expect(await measureImage(set, index)).to.deep.equal({ rows: part.rows, cols: part.cols });
              for (let row = 0; row < part.rows; row++)
                for (let col = 0; col < part.cols; col++) {
                  const place = (Number(top) + row) * cols + Number(left) + col;
                  covered.add(place);
                  const at = 3 * (row * part.cols + col);
                  if (
                    part.pixels[at] !== whole!.pixels[3 * place] ||
                    part.pixels[at + 1] !== whole!.pixels[3 * place + 1]
                  )
                    return false;
                }
            }
            expect(set.count).to.equal(Math.ceil(rows / tile) * Math.ceil(cols / tile));
            return covered.size === rows * cols;
          }),
      ),
      { seed: 3, numRuns: 60 },
    );
  });

  it("of upright images are those of the image as it is shown", () =>
    inFolder(async (folder) => {
      const jpeg = sharp({ create: { width: 30, height: 20, channels: 3, background: "red" } }).jpeg();
      await writeFile(join(folder, "a.jpg"), await jpeg.withMetadata({ orientation: 6 }).toBuffer());
      const set = await openData(folder, { tile: 20 });
      expect(namesOf(set)).to.deep.equal(["a.jpg#20x20+0+0", "a.jpg#20x20+0+10"]);
      expect((await imagesOf(set)).map(({ rows, cols }) => [rows, cols])).to.deep.equal([
        [20, 20],
        [20, 20],
      ]);
    }));

  it("of a page are named after it, and found again by their names", () =>
    inFolder(async (folder) => {
      const path = join(folder, "scan.tif");
      const page = (value: number): TiffPage => ({
        ...gray(value),
        cols: 4,
        samples: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, value),
      });
      await writeFile(path, tiff([page(8), page(9)]));
      const set = await openData(folder, { tile: 2 });
      const names = ["scan.tif#1@2x2+0+0", "scan.tif#1@2x2+2+0", "scan.tif#2@2x2+0+0", "scan.tif#2@2x2+2+0"];
      expect(namesOf(set)).to.deep.equal(names);
      const images = await imagesOf(set);
      expect(await imagesOf(listedImages(folder, names))).to.deep.equal(images);
      expect(await readImage(join(folder, names[3]!))).to.deep.equal(images[3]);
      expect([...images[3]!.pixels].filter((_, i) => i % 3 === 0)).to.deep.equal([3, 4, 7, 9]);
      const indexed = await indexedImages({ data: folder, files: [names[1]!] });
      expect(await indexed.decode(0)).to.deep.equal(images[1]);
      const { subjects } = await openSubjects([join(folder, names[2]!), folder], { size: 8, patch: 8 });
      expect(subjects.map(({ name }) => name)).to.deep.equal(["scan-2-2x2+0+0", "scan-1", "scan-2"]);
    }));

  it("of files with many images are refused, as are tiles that a file has no more", () =>
    inFolder(async (folder) => {
      await writeTar(join(folder, "a.tar"), [["a.png", await pngOf(noise(0))]]);
      expect(await rejection(openData(join(folder, "a.tar"), { tile: 8 }))).to.match(
        /a\.tar: expected image files, since --tile is for these; got a file with many images$/,
      );
      expect(await rejection(openData(folder, { pages: "channels" }))).to.match(/since --pages channels is for these/);
      const photos = join(folder, "photos");
      await mkdir(photos);
      await writeFile(join(photos, "a.bmp.png"), await pngOf({ rows: 4, cols: 4, pixels: new Uint8Array(48) }));
      const floats = { rows: 4, cols: 4, bits: 32, format: "float" } as const;
      await writeFile(join(photos, "b.tif"), tiff([{ ...floats, samples: new Uint8Array(64) }]));
      const set = await openImages(photos, { tile: 2 });
      await writeFile(join(photos, "b.tif"), tiff([{ ...floats, rows: 1, cols: 1, samples: new Uint8Array(4) }]));
      const gone = await set.decode(7);
      if (!isFailure(gone)) throw new Error("expected a failure");
      expect(gone.path).to.equal("b.tif#2x2+2+2");
      expect(gone.reason).to.equal("expected an image with a tile of 2 x 2 at column 2, row 2, got 1 x 1");
    }));

  it("do no harm when they are damaged", () =>
    inFolder((folder) => {
      const page = { rows: 5, cols: 6, bits: 32, format: "float", samples: noise(1).pixels.slice(0, 120) } as const;
      return survivesDamage(join(folder, "a.tif"), tiff([page, gray(3)]), (path) => openData(path, { tile: 3 }), {
        runs: 300,
      });
    }));
});
