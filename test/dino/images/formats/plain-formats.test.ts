import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { isFailure } from "../../../../dino/images/image-location.js";
import type { Image } from "../../../../dino/images/pixels.js";
import { measureImage } from "../../../../dino/images/sources/folder-images.js";
import { openData } from "../../../../dino/images/sources/open.js";
import { imagesOf, inFolder, noise, pngOf, survivesDamage } from "../sources/written-images.js";
import { bgrRows, bmp, pnm } from "./written-formats.js";

/** Reads a file of these bytes as a dataset of one image. */
async function decoded(bytes: Buffer, name = "image"): Promise<Image> {
  return inFolder(async (folder) => {
    await writeFile(join(folder, name), bytes);
    const set = await openData(join(folder, name));
    const [image] = await imagesOf(set);
    expect(await measureImage(set, 0)).to.deep.equal({ rows: image!.rows, cols: image!.cols });
    return image!;
  });
}

/** The reason why a file of these bytes is not read. */
async function reason(bytes: Buffer): Promise<string> {
  return inFolder(async (folder) => {
    await writeFile(join(folder, "a.png"), await pngOf(noise(0)));
    await writeFile(join(folder, "b.bmp"), bytes);
    const failed = await (await openData(folder)).decode(1);
    if (!isFailure(failed)) throw new Error("expected a failure");
    expect(failed.path).to.equal("b.bmp");
    return failed.reason;
  });
}

const rgb = ({ pixels }: Image): number[][] =>
  Array.from({ length: pixels.length / 3 }, (_, i) => [...pixels.subarray(3 * i, 3 * i + 3)]);

const palette = [
  [255, 0, 0],
  [0, 255, 0],
  [0, 0, 255],
  [10, 20, 30],
] as const;

describe("BMP files", () => {
  const image = noise(3);
  const size = { rows: image.rows, cols: image.cols };

  it("give their colors, from below or from above, with the header of Windows or OS/2", async () => {
    const rows = bgrRows(image);
    expect(await decoded(bmp(size, rows, { bits: 24 }))).to.deep.equal(image);
    expect(await decoded(bmp(size, rows, { bits: 24, isTopDown: true }), "a.bmp")).to.deep.equal(image);
    expect(await decoded(bmp(size, rows, { bits: 24, isCore: true }), "a.jpg")).to.deep.equal(image);
  });

  it("give the colors of a palette, of 1, 4 and 8 bits", async () => {
    const two = { rows: 2, cols: 3 };
    const expected = [0, 1, 1, 1, 0, 0].map((color) => [...palette[color]!]);
    for (const [bits, rows] of [
      [1, [[0b0110_0000], [0b1000_0000]]],
      [
        4,
        [
          [0x01, 0x10],
          [0x10, 0x00],
        ],
      ],
      [
        8,
        [
          [0, 1, 1],
          [1, 0, 0],
        ],
      ],
    ] as const)
      for (const isCore of [false, true]) {
        const colors = isCore
          ? [...palette, ...Array<(typeof palette)[0]>(252).fill(palette[0])].slice(0, 2 ** bits)
          : palette;
        const file = bmp(
          two,
          rows.map((row) => Uint8Array.from(row)),
          { bits, isCore, palette: bits === 1 ? palette.slice(0, 2) : colors },
        );
        expect(rgb(await decoded(file)), `${bits} bits`).to.deep.equal(expected);
      }
  });

  it("give colors of 16 and 32 bits, with bit fields of their own or without", async () => {
    const words = (bytes: readonly number[]) => [Uint8Array.from(bytes)];
    const one = { rows: 1, cols: 2 };
    const five = bmp(one, words([0x00, 0x7c, 0x1f, 0x02]), { bits: 16 });
    expect(rgb(await decoded(five))).to.deep.equal([
      [255, 0, 0],
      [0, Math.round((16 * 255) / 31), 255],
    ]);
    const six = bmp(one, words([0xe0, 0x07, 0x00, 0x80]), { bits: 16, masks: [0xf800, 0x07e0, 0x001f] });
    expect(rgb(await decoded(six))).to.deep.equal([
      [0, 255, 0],
      [Math.round((16 * 255) / 31), 0, 0],
    ]);
    const plain = bmp(one, words([1, 2, 3, 9, 4, 5, 6, 9]), { bits: 32 });
    expect(rgb(await decoded(plain))).to.deep.equal([
      [3, 2, 1],
      [6, 5, 4],
    ]);
    const turned = bmp(one, words([1, 2, 3, 9, 4, 5, 6, 255]), {
      bits: 32,
      masks: [0x000000ff, 0x0000ff00, 0xff000000],
    });
    expect(rgb(await decoded(turned))).to.deep.equal([
      [1, 2, 9],
      [4, 5, 255],
    ]);
  });

  it("give runs, with ends of lines, jumps and literal pixels", async () => {
    const eight = [2, 1, 0, 3, 1, 2, 3, 0, 0, 0, 1, 2, 0, 2, 1, 0, 1, 3, 0, 0, 0, 2, 4, 1, 1, 2, 0, 1];
    const runs8 = bmp({ rows: 4, cols: 5 }, [Uint8Array.from(eight)], { bits: 8, palette, compression: 1 });
    expect(rgb(await decoded(runs8))).to.deep.equal(
      [
        [0, 0, 0, 0, 2],
        [0, 0, 0, 0, 0],
        [2, 0, 3, 0, 0],
        [1, 1, 1, 2, 3],
      ]
        .flat()
        .map((color) => [...palette[color]!]),
    );
    const four = [3, 0x12, 0, 3, 0x31, 0x20, 0, 0, 5, 0x01, 0, 1];
    const runs4 = bmp({ rows: 2, cols: 6 }, [Uint8Array.from(four)], { bits: 4, palette, compression: 2 });
    expect(rgb(await decoded(runs4))).to.deep.equal(
      [
        [0, 1, 0, 1, 0, 0],
        [1, 2, 1, 3, 1, 2],
      ]
        .flat()
        .map((color) => [...palette[color]!]),
    );
  });

  it("say what is wrong with them", async () => {
    const whole = bmp(size, bgrRows(image), { bits: 24 });
    expect(await reason(whole.subarray(0, -8))).to.match(
      /^BMP: expected \d+ bytes of pixels, got \d+; the file is cut off$/,
    );
    const eleven = Buffer.from(whole);
    eleven.writeUInt16LE(11, 28);
    expect(await reason(eleven)).to.equal("BMP: expected 1, 4, 8, 16, 24 or 32 bits, got 11 with compression 0");
    const huge = Buffer.from(whole);
    huge.writeInt32LE(2 ** 30, 18);
    expect(await reason(huge)).to.match(/exceeds pixel limit of 178956970; --max-pixels sets the limit$/);
  });

  for (const [name, bytes] of [
    ["colors", bmp(size, bgrRows(image), { bits: 24 })],
    [
      "runs",
      bmp({ rows: 4, cols: 5 }, [Uint8Array.from([2, 1, 0, 3, 1, 2, 3, 0, 0, 0, 1, 2, 0, 1])], {
        bits: 8,
        palette,
        compression: 1,
      }),
    ],
  ] as const)
    it(`do no harm when they are damaged, ${name}`, () =>
      inFolder((folder) => survivesDamage(join(folder, "a.bmp"), bytes, openData, { runs: 500 })));
});

describe("PNM files", () => {
  it("give gray and color, as text and binary, with comments", async () => {
    const image = noise(5);
    const head = `P6 # made by hand\n${image.cols} ${image.rows}\n#\n255\n`;
    expect(await decoded(pnm(head, image.pixels))).to.deep.equal(image);
    const text = Array.from(image.pixels).join(" ");
    expect(await decoded(pnm(head.replace("P6", "P3"), text), "a.PPM")).to.deep.equal(image);
    const gray = [0, 100, 255].map((value) => [value, value, value]);
    expect(rgb(await decoded(pnm("P5 3 1 255\n", Uint8Array.of(0, 100, 255))))).to.deep.equal(gray);
    expect(rgb(await decoded(pnm("P2 3 1 255\n", "0 100\n255")))).to.deep.equal(gray);
  });

  it("give bits, which are black where they are set", async () => {
    const expected = [1, 0, 0, 0, 1, 0, 0, 0, 0, 1].map((bit) => Array<number>(3).fill(bit ? 0 : 255));
    expect(rgb(await decoded(pnm("P1\n10 1\n", "1000 1 00001")))).to.deep.equal(expected);
    expect(rgb(await decoded(pnm("P4\n10 1\n", Uint8Array.of(0b1000_1000, 0b0111_1111))))).to.deep.equal(expected);
  });

  it("scale values so that the largest of the header is white", async () => {
    const wide = Uint8Array.of(0, 0, 0x08, 0, 0x0f, 0xff);
    const gray = (values: readonly number[]) => values.map((value) => [value, value, value]);
    expect(rgb(await decoded(pnm("P5 3 1 4095\n", wide)))).to.deep.equal(gray([0, 128, 255]));
    expect(rgb(await decoded(pnm("P5 3 1 65535\n", wide)))).to.deep.equal(gray([0, 8, 16]));
    expect(rgb(await decoded(pnm("P2 3 1 15\n", "0 15 8")))).to.deep.equal(gray([0, 255, 136]));
  });

  it("say what is wrong with them", async () => {
    expect(await reason(pnm("P5 4 4 255\n", Uint8Array.of(1)))).to.equal(
      "PNM: expected 16 bytes of samples, got 1; the file is cut off",
    );
    expect(await reason(pnm("P5 4 4 70000\n", Uint8Array.of(1)))).to.match(
      /expected values up to 1 to 65535, got 70000/,
    );
    expect(await reason(pnm("P6 900000 900000 255\n", ""))).to.match(/exceeds pixel limit of 178956970; --max-pixels/);
    expect(await reason(pnm("P2 2 1 255\n", "7 x"))).to.equal("PNM: expected a number at byte 13");
  });

  for (const [name, bytes] of [
    ["binary", pnm("P5 8 8 300\n", new Uint8Array(128).fill(1))],
    ["text", pnm("P3 2 3 255\n", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18")],
    ["bits", pnm("P4 10 3\n", new Uint8Array(6).fill(0x5a))],
  ] as const)
    it(`do no harm when they are damaged, ${name}`, () =>
      inFolder((folder) => survivesDamage(join(folder, "a.ppm"), bytes, openData, { runs: 500 })));
});
