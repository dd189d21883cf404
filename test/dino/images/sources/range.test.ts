/** Channels and range of values of image files. */
import { writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { expect } from "chai";
import sharp from "sharp";
import type { Reading } from "../../../../dino/images/reading.js";
import { openSubset } from "../../../../dino/images/sources/open-splits.js";
import { rejection } from "../../../support/rejection.js";
import { pnm, tiff } from "../formats/written-formats.js";
import { idx, imagesOf, inFolder, survivesDamage } from "./written-images.js";

/** The pixels of a file, read in some way. */
async function pixelsOf(name: string, bytes: Uint8Array, reading: Reading): Promise<readonly number[]> {
  return inFolder(async (folder) => {
    await writeFile(join(folder, name), bytes);
    const { images } = await openSubset(join(folder, name), reading);
    return [...(await imagesOf(images))[0]!.pixels];
  });
}

const words = (...values: readonly number[]): Uint8Array => new Uint8Array(Uint16Array.from(values).buffer);
const deep = (channels: number, ...values: readonly number[]): Buffer =>
  tiff([{ rows: 1, cols: values.length / channels, channels, bits: 16, samples: words(...values) }]);

/** Encodes 16 bits as PNG. */
function png(channels: 1 | 3, ...values: readonly number[]): Promise<Buffer> {
  const raw = { width: values.length / channels, height: 1, channels };
  return sharp(Uint16Array.from(values), { raw })
    .toColourspace(channels === 1 ? "grey16" : "rgb16")
    .png()
    .toBuffer();
}

describe("the range of values", () => {
  it("maps 16 bits of TIFF, PNG and PGM to black and white", async () => {
    const values = [0, 1000, 1500, 2000, 4095];
    const expected = [0, 0, 128, 255, 255];
    const reading = { channels: 1, range: [1000, 2000] };
    expect(await pixelsOf("a.tif", deep(1, ...values), reading)).to.deep.equal(expected);
    expect(await pixelsOf("a.png", await png(1, ...values), reading)).to.deep.equal(expected);
    const bigEndian = values.flatMap((value) => [value >> 8, value & 255]);
    expect(await pixelsOf("a.pgm", pnm("P5 5 1 4095\n", Uint8Array.from(bigEndian)), reading)).to.deep.equal(expected);
  });

  it("is that of the bit depth if none is given", async () => {
    expect(await pixelsOf("a.tif", deep(1, 0, 4095, 65_535), { channels: 1 })).to.deep.equal([0, 15, 255]);
    expect(await pixelsOf("a.tif", deep(1, 0, 4095, 65_535), { channels: 1, range: "depth" })).to.deep.equal([
      0, 15, 255,
    ]);
  });

  it("maps 8 bits too", async () => {
    const reading = { channels: 1, range: [50, 100] };
    const gray = await sharp(Uint8Array.of(0, 50, 60, 100), { raw: { width: 4, height: 1, channels: 1 } })
      .png()
      .toBuffer();
    expect(await pixelsOf("a.png", gray, reading)).to.deep.equal([0, 0, 51, 255]);
    expect(
      await pixelsOf("some-images-idx3-ubyte", idx([1, 1, 4], Uint8Array.of(0, 50, 60, 100)), reading),
    ).to.deep.equal([0, 0, 51, 255]);
  });

  it("has two numbers for each channel, if they differ", async () => {
    const reading = { channels: 2, range: [0, 100, 1000, 2000] };
    expect(await pixelsOf("a.tif", deep(2, 40, 1400, 100, 1000), reading)).to.deep.equal([102, 102, 255, 0]);
    const rgb = { range: [0, 100, 0, 200, 0, 400] };
    expect(await pixelsOf("a.png", await png(3, 40, 40, 100), rgb)).to.deep.equal([102, 51, 64]);
    const pages = [10, 1010].map((value) => ({ rows: 1, cols: 1, bits: 16, samples: words(value) }));
    const stacked = { channels: 2, pages: "channels", range: [0, 20, 1000, 1040] } as const;
    expect(await pixelsOf("a.tif", tiff(pages), stacked)).to.deep.equal([128, 64]);
  });

  it("is refused for another number of channels", async () => {
    expect(await rejection(pixelsOf("a.tif", deep(1, 1, 2), { channels: 1, range: [0, 1, 2, 3] }))).to.match(
      /expected 2 channels, for which --range is given, got 1$/,
    );
  });

  it("is measured without the outermost half percent, for each channel", async () => {
    await inFolder(async (folder) => {
      const ramp = (from: number) => Array.from({ length: 1000 }, (_, i) => from + i);
      const values = ramp(0).flatMap((_, i) => [ramp(100)[i]!, ramp(3000)[i]!]);
      await writeFile(join(folder, "a.tif"), deep(2, ...values));
      await writeFile(join(folder, "b.tif"), deep(2, ...values));
      const { images } = await openSubset(folder, { channels: 2, range: "auto" });
      expect(images.decoding.range).to.deep.equal([105, 1094, 3005, 3994]);
      const { pixels } = (await imagesOf(images))[0]!;
      expect([pixels[0], pixels.at(-1), Math.abs(pixels[1000]! - 128) <= 1]).to.deep.equal([0, 255, true]);
    });
  });

  it("is measured over all channels where images differ in their number, without what is not finite", async () => {
    await inFolder(async (folder) => {
      const floats = (...values: readonly number[]) => new Uint8Array(Float32Array.from(values).buffer);
      const page = { rows: 1, bits: 32, format: "float" } as const;
      await writeFile(join(folder, "a.tif"), tiff([{ ...page, cols: 4, samples: floats(NaN, -8, 2, Infinity) }]));
      await writeFile(join(folder, "b.tif"), tiff([{ ...page, cols: 1, channels: 2, samples: floats(0, 4) }]));
      const { images } = await openSubset(folder, { channels: 1, range: "auto" });
      expect(images.decoding.range).to.deep.equal([-8, 4]);
    });
  });

  it("cannot be measured where nothing can be read, and is for files", async () => {
    await inFolder(async (folder) => {
      await writeFile(join(folder, "a.tif"), deep(1, 5).subarray(0, 9));
      expect(await rejection(openSubset(folder, { range: "auto" }))).to.match(
        /^--range auto: expected images with finite values, got none among 1 of .*; a.tif: /,
      );
    });
    expect(await rejection(openSubset("builtin", { range: [0, 1] }))).to.match(/since --range is for these/);
    expect(await rejection(openSubset("builtin", { channels: 1 }))).to.match(/since --channels is for these/);
  });
});

describe("images read with a shorter side", () => {
  it("are shrunk to it if they are larger, of any number of channels", async () => {
    await inFolder(async (folder) => {
      const picture = sharp({ create: { width: 60, height: 30, channels: 3, background: "teal" } });
      await picture.jpeg().toFile(join(folder, "a.jpg"));
      await writeFile(join(folder, "b.tif"), deep(3, ...Array.from({ length: 30 }, (_, i) => 2000 * i)));
      const sizes = async (reading: Reading) =>
        (await imagesOf((await openSubset(folder, reading)).images)).map(({ rows, cols }) => [rows, cols]);
      expect(await sizes({ shortSide: 10 })).to.deep.equal([
        [10, 20],
        [1, 10],
      ]);
      expect(await sizes({ shortSide: 0 })).to.deep.equal([
        [30, 60],
        [1, 10],
      ]);
    });
  });
});

describe("channels of files", () => {
  it("are as many as asked for, alpha among them", async () => {
    const rgba = await sharp(Uint8Array.of(10, 20, 30, 40), { raw: { width: 1, height: 1, channels: 4 } })
      .png()
      .toBuffer();
    expect(await pixelsOf("a.png", rgba, { channels: 4 })).to.deep.equal([10, 20, 30, 40]);
    expect(await pixelsOf("a.png", rgba, {})).to.deep.equal([10, 20, 30]);
    expect(await pixelsOf("a.png", rgba, { channels: 1 })).to.deep.equal([18]);
    expect(await pixelsOf("a.tif", deep(5, 0, 65_535, 0, 65_535, 257), { channels: 5 })).to.deep.equal([
      0, 255, 0, 255, 1,
    ]);
    expect(await rejection(pixelsOf("a.png", rgba, { channels: 5 }))).to.match(/expected 5 channels, got \d$/);
  });
});

describe("damaged files", () => {
  const reading: Reading = { channels: 5, range: "auto" };
  /** Opens a file whose range is measured; errors name it by its path. */
  const open = async (path: string) => {
    try {
      return (await openSubset(path, reading)).images;
    } catch (error) {
      throw new Error((error as Error).message.replaceAll(basename(path), path), { cause: error });
    }
  };
  const values = Array.from({ length: 60 }, (_, i) => (i * 7919) % 4096);
  const files: Readonly<Record<string, () => Buffer | Promise<Buffer>>> = {
    "a.tif": () => deep(5, ...values),
    "a.png": () => png(3, ...values),
    "a.pgm": () => pnm("P5 10 3 4095\n", words(...values.slice(0, 30))),
  };
  for (const [name, make] of Object.entries(files)) {
    it(`are measured, skipped or named, damaged in any way: ${name}`, () =>
      inFolder(async (folder) => survivesDamage(join(folder, name), await make(), open, { runs: 150, name })));
  }
});
