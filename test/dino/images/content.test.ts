import { expect } from "chai";
import fc from "fast-check";
import { contentMeasure, drawWithContent } from "../../../dino/images/content.js";
import type { Box, Image, Size } from "../../../dino/images/pixels.js";
import { rng } from "../../../dino/math/random.js";

const whole = ({ rows, cols }: Size): Box => ({ top: 0, left: 0, height: rows, width: cols });

/** Gray paper with noise of 8 levels, and a rectangle of another color. */
function sheet({ rows, cols }: Size, ink: Box, color: readonly [number, number, number]): Image {
  const random = rng({ seed: 6, purpose: "sheet" });
  const pixels = Uint8Array.from({ length: rows * cols * 3 }, (_, i) => {
    const [row, col] = [Math.floor(i / 3 / cols), Math.floor(i / 3) % cols];
    const inside = row >= ink.top && row < ink.top + ink.height && col >= ink.left && col < ink.left + ink.width;
    return inside ? color[i % 3]! : 200 + random.integer(9);
  });
  return { rows, cols, pixels };
}

describe("content of windows", () => {
  it("equals a float64 reference, turned or not", () => {
    const part = fc.integer({ min: 1, max: 999 }).map((n) => n / 1000);
    fc.assert(
      fc.property(
        fc.tuple(part, part, part, part),
        fc.integer({ min: -179, max: 179 }).map((degrees) => (degrees === 0 ? 0 : degrees + 0.123)),
        (where, angle) => {
          const size = { rows: 40, cols: 64 };
          const image = sheet(size, { top: 9, left: 20, height: 17, width: 25 }, [200, 60, 200]);
          const [height, width] = [1 + Math.floor(where[0] * 39), 1 + Math.floor(where[1] * 63)];
          const box = { height, width, top: where[2] * (40 - height), left: where[3] * (64 - width) };
          const radians = (angle * Math.PI) / 180;
          let [inside, content] = [0, 0];
          for (let row = 0; row < 40; row++)
            for (let col = 0; col < 64; col++) {
              // the pixel's place in the window, by turning it back
              const [x, y] = [col + 0.5 - box.left - width / 2, row + 0.5 - box.top - height / 2];
              const distance = Math.hypot(x, y);
              const turned = Math.atan2(y, x) - radians;
              if (Math.abs(distance * Math.cos(turned)) > width / 2) continue;
              if (Math.abs(distance * Math.sin(turned)) > height / 2) continue;
              inside++;
              if (row >= 9 && row < 26 && col >= 20 && col < 45) content++;
            }
          fc.pre(inside > 0);
          const almost = 2 / inside; // pixels on an edge, which rounding puts on either side
          expect(contentMeasure(image)({ box, angle })).to.be.closeTo(content / inside, angle === 0 ? almost : 1e-9);
        },
      ),
    );
  });

  it("is that of large images, but for one pixel of the shrunken image around what is in them", () => {
    const size = { rows: 480, cols: 640 };
    const image = sheet(size, { top: 100, left: 200, height: 240, width: 320 }, [30, 30, 30]);
    const measure = contentMeasure(image);
    expect(measure({ box: whole(size), angle: 0 })).to.be.within(0.25, 0.29);
    expect(measure({ box: { top: 0, left: 0, height: 90, width: 640 }, angle: 0 })).to.equal(0);
    expect(measure({ box: { top: 130, left: 230, height: 100, width: 100 }, angle: 33 })).to.equal(1);
  });

  it("takes for background the color of most of the border", () => {
    const stripe = { top: 12, left: 0, height: 6, width: 30 };
    const measure = contentMeasure(sheet({ rows: 30, cols: 30 }, stripe, [90, 20, 40]));
    expect(measure({ box: stripe, angle: 0 })).to.equal(1);
    expect(measure({ box: { ...stripe, top: 0 }, angle: 0 })).to.equal(0);
  });

  it("tells faint colors from noise, and takes the pixel below a window smaller than one", () => {
    const size = { rows: 30, cols: 30 };
    const ink = { top: 10, left: 10, height: 10, width: 10 };
    expect(contentMeasure(sheet(size, ink, [204, 204, 190]))({ box: ink, angle: 0 })).to.equal(0);
    expect(contentMeasure(sheet(size, ink, [204, 204, 180]))({ box: ink, angle: 0 })).to.equal(1);
    const large = contentMeasure(sheet({ rows: 640, cols: 640 }, { ...ink, height: 200, width: 200 }, [0, 0, 0]));
    expect(large({ box: { top: 100, left: 100, height: 1, width: 1 }, angle: 0 })).to.equal(1);
    expect(large({ box: { top: 400, left: 100, height: 1, width: 1 }, angle: 0 })).to.equal(0);
    expect(
      contentMeasure(sheet({ rows: 1, cols: 1 }, ink, [0, 0, 0]))({ box: whole({ rows: 1, cols: 1 }), angle: 0 }),
    ).to.equal(0);
  });

  it("decides which draw is taken: the first with enough, or the fullest of eleven", () => {
    const contents = [0.1, 0.3, 0.2, 0.5, 0.4, 0, 0, 0, 0, 0, 0.45, 1];
    const drawn = (least: number) => {
      const draw = (attempt: number) => ({ box: { ...whole({ rows: 1, cols: 1 }), left: attempt }, angle: 0 });
      return drawWithContent(draw, least, ({ box }) => contents[box.left]!).box.left;
    };
    expect([0.1, 0.15, 0.35, 0.9].map(drawn)).to.deep.equal([0, 1, 3, 3]);
  });
});
