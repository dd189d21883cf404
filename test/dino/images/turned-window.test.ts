import { expect } from "chai";
import fc from "fast-check";
import { type Box, type Image, resizedCrop, type Size } from "../../../dino/images/pixels.js";
import { cutWindow, turnBack, turnedSize, turnInside, windowMap } from "../../../dino/images/turned-window.js";
import { rng } from "../../../dino/math/random.js";

const anyImage = fc
  .record({ rows: fc.integer({ min: 1, max: 24 }), cols: fc.integer({ min: 1, max: 24 }), seed: fc.nat() })
  .map(({ rows, cols, seed }): Image => {
    const random = rng({ seed, purpose: "noise" });
    return { rows, cols, pixels: Uint8Array.from({ length: rows * cols * 3 }, () => random.integer(256)) };
  });
const share = fc.integer({ min: 0, max: 1000 }).map((n) => n / 1000);
const shares = fc.tuple(share, share, share, share);
const anyAngle = fc.integer({ min: -1800, max: 1800 }).map((n) => n / 10);

/** A box of whole pixels inside an image. */
function boxIn({ rows, cols }: Size, [a, b, c, d]: readonly [number, number, number, number]): Box {
  const [height, width] = [1 + Math.floor(a * (rows - 1)), 1 + Math.floor(b * (cols - 1))];
  return { height, width, top: Math.floor(c * (rows - height)), left: Math.floor(d * (cols - width)) };
}

/** One quarter turn counterclockwise, pixel by pixel. */
function quarterTurn({ rows, cols, pixels }: Image): Image {
  const out = new Uint8Array(pixels.length);
  for (let row = 0; row < cols; row++)
    for (let col = 0; col < rows; col++)
      for (let c = 0; c < 3; c++) out[(row * rows + col) * 3 + c] = pixels[(col * cols + cols - 1 - row) * 3 + c]!;
  return { rows: cols, cols: rows, pixels: out };
}

/** The corners of a box turned by an angle whose contents turn counterclockwise, in pixels from the image's corner. */
function corners({ top, left, height, width }: Box, degrees: number): readonly (readonly [x: number, y: number])[] {
  const radians = (degrees / 180) * Math.PI;
  return [-0.5, 0.5].flatMap((across) =>
    [-0.5, 0.5].map((down) => {
      const [x, y] = [across * width, down * height];
      return [
        left + width / 2 + x * Math.cos(radians) - y * Math.sin(radians),
        top + height / 2 + x * Math.sin(radians) + y * Math.cos(radians),
      ] as const;
    }),
  );
}

describe("turned windows", () => {
  it("are those of the turned image, to the bit, for quarter turns", () => {
    fc.assert(
      fc.property(anyImage, fc.integer({ min: 0, max: 3 }), shares, (image, turns, where) => {
        let turned = image;
        for (let n = 0; n < turns; n++) turned = quarterTurn(turned);
        expect(turnedSize(image, turns)).to.deep.equal({ rows: turned.rows, cols: turned.cols });
        const box = boxIn(turned, where);
        const window = { box: turnBack(box, turns, image), angle: 90 * turns };
        const expected = resizedCrop(turned, box, { rows: box.height, cols: box.width });
        expect(cutWindow(image, window)).to.deep.equal(expected);
      }),
    );
  });

  it("equal a float64 reference for any angle", () => {
    fc.assert(
      fc.property(anyImage, shares, anyAngle, (image, where, angle) => {
        const box = turnInside(boxIn(image, where), angle, image);
        const cut = cutWindow(image, { box, angle });
        expect([cut.rows, cut.cols]).to.deep.equal([box.height, box.width]);
        const [origin, right] = corners({ ...box }, angle).filter((_, n) => n % 2 === 0); // upper left, upper right
        const below = corners(box, angle)[1]!;
        for (let row = 0; row < cut.rows; row++)
          for (let col = 0; col < cut.cols; col++)
            for (let c = 0; c < 3; c++) {
              const [a, b] = [(col + 0.5) / cut.cols, (row + 0.5) / cut.rows];
              const [u, v] = [0, 1].map(
                (axis) =>
                  origin![axis]! + a * (right![axis]! - origin![axis]!) + b * (below[axis]! - origin![axis]!) - 0.5,
              );
              const level = tentSum(image, u!, v!, c);
              expect(Math.abs(cut.pixels[(row * cut.cols + col) * 3 + c]! - level)).to.be.at.most(0.5 + 1e-6);
            }
      }),
      { numRuns: 60 },
    );
  });

  it("stay inside the image, as large as drawn wherever they fit", () => {
    const size = fc.record({ rows: fc.integer({ min: 2, max: 500 }), cols: fc.integer({ min: 2, max: 500 }) });
    fc.assert(
      fc.property(size, shares, anyAngle, (image, where, angle) => {
        const box = boxIn(image, where);
        const turned = turnInside(box, angle, image);
        const xs = corners(turned, angle).map(([x]) => x);
        const ys = corners(turned, angle).map(([, y]) => y);
        const slack = 1e-9;
        expect(Math.min(...xs)).to.be.at.least(-slack);
        expect(Math.min(...ys)).to.be.at.least(-slack);
        expect(Math.max(...xs)).to.be.at.most(image.cols + slack);
        expect(Math.max(...ys)).to.be.at.most(image.rows + slack);
        const drawn = corners(box, angle);
        const wide = Math.max(...drawn.map(([x]) => x)) - Math.min(...drawn.map(([x]) => x));
        const high = Math.max(...drawn.map(([, y]) => y)) - Math.min(...drawn.map(([, y]) => y));
        if (wide <= image.cols && high <= image.rows) {
          expect([turned.width, turned.height]).to.deep.equal([box.width, box.height]);
        } else {
          const fit = Math.min(image.cols / wide, image.rows / high);
          if (fit * Math.min(box.width, box.height) < 1) return; // to a side of one pixel, which shrinks no further
          expect(box.width * fit - turned.width).to.be.within(-1e-9, 2);
          expect(box.height * fit - turned.height).to.be.within(-1e-9, 2);
        }
      }),
      { numRuns: 500 },
    );
  });

  it("turn counterclockwise, as in torchvision, and lie evenly between the borders", () => {
    const image = { rows: 100, cols: 100 };
    const map = windowMap({ box: { top: 10, left: 20, height: 30, width: 40 }, angle: 90 });
    // The upper left pixel of the crop is the upper right one of the box turned about its center.
    expect(map).to.deep.equal({ left: 54, top: 5, cos: 0, sin: 1 });
    const leftmost = turnInside({ top: 0, left: 0, height: 40, width: 40 }, 45, image);
    const rightmost = turnInside({ top: 60, left: 60, height: 40, width: 40 }, 45, image);
    expect(Math.min(...corners(leftmost, 45).map(([x]) => x))).to.be.closeTo(0, 1e-9);
    expect(Math.max(...corners(rightmost, 45).map(([x]) => x))).to.be.closeTo(100, 1e-9);
  });
});

/** The sum of all pixels, each weighted by its distance along both axes. */
function tentSum({ rows, cols, pixels }: Image, u: number, v: number, channel: number): number {
  const held = (at: number, last: number) => Math.min(Math.max(at, 0), last);
  let sum = 0;
  for (let row = 0; row < rows; row++)
    for (let col = 0; col < cols; col++) {
      const across = Math.max(0, 1 - Math.abs(held(u, cols - 1) - col));
      const down = Math.max(0, 1 - Math.abs(held(v, rows - 1) - row));
      sum += across * down * pixels[(row * cols + col) * 3 + channel]!;
    }
  return sum;
}
