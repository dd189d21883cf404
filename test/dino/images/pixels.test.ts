import { expect } from "chai";
import fc from "fast-check";
import { centerCrop, resize, resizedCenterCrop, shortSideSize, sizeWithin } from "../../../dino/images/pixels.js";

describe("pixels", () => {
  it("resizes by Lanczos to the bit as Pillow 12 does", () => {
    const [rows, cols] = [9, 12];
    const pixels = Uint8Array.from({ length: rows * cols * 3 }, (_, i) => {
      const [x, y] = [Math.floor(i / 3) % cols, Math.floor(i / 3 / cols)];
      return x * 37 + y * 91 + (i % 3) * 53 + x * y * 13; // kept modulo 256
    });
    const small = resize({ rows, cols, pixels }, { rows: 3, cols: 5 }, "lanczos");
    expect(Array.from(small.pixels)).to.deep.equal(PILLOW);
  });

  it("computes of a resized image what the center crop keeps, and nothing else", () => {
    const side = fc.integer({ min: 1, max: 24 });
    fc.assert(
      fc.property(side, side, side, fc.double({ min: 0.01, max: 1, noNaN: true }), (rows, cols, short, share) => {
        const image = {
          rows,
          cols,
          pixels: Uint8Array.from({ length: rows * cols * 3 }, (_, i) => i * 89 + (i % 7) * 31),
        };
        const whole = shortSideSize(image, short);
        const crop = { rows: Math.ceil(whole.rows * share), cols: Math.ceil(whole.cols * share) };
        expect(resizedCenterCrop(image, short, crop)).to.deep.equal(centerCrop(resize(image, whole), crop));
      }),
      { seed: 1, numRuns: 300 },
    );
    const crop = { rows: 224, cols: 224 };
    for (const [rows, cols] of [
      [1, 30_000],
      [30_000, 1],
    ] as const) {
      const line = { rows, cols, pixels: new Uint8Array(90_000).fill(9) };
      const { pixels } = resizedCenterCrop(line, 224, crop); // of 5 gigabytes otherwise
      expect(pixels.length).to.equal(224 * 224 * 3);
      expect(pixels.every((value) => value === 9)).to.equal(true);
    }
  });

  /** [rows, cols], side, and what Image.thumbnail of Pillow 12 makes of them. */
  const thumbnails = [
    [[768, 1024], 224, [168, 224]],
    [[1024, 768], 224, [224, 168]],
    [[683, 1024], 224, [149, 224]],
    [[1024, 683], 224, [224, 149]],
    [[30, 20], 224, [30, 20]],
    [[224, 224], 224, [224, 224]],
    [[1, 3000], 224, [1, 224]],
    [[13, 39], 7, [2, 7]],
    [[39, 13], 7, [7, 2]],
    [[37, 3], 16, [16, 1]],
  ] as const;
  for (const [[rows, cols], side, [toRows, toCols]] of thumbnails) {
    it(`fits ${rows} x ${cols} into ${side} as Pillow does`, () => {
      expect(sizeWithin({ rows, cols }, side)).to.deep.equal({ rows: toRows, cols: toCols });
    });
  }
});

const PILLOW = [
  114, 131, 137, 143, 145, 141, 138, 133, 139, 121, 114, 111, 102, 135, 164, 115, 167, 133, 149, 117, 138, 133, 109,
  152, 146, 134, 144, 109, 131, 127, 144, 118, 167, 152, 113, 167, 146, 125, 123, 152, 129, 135, 153, 110, 121,
];
