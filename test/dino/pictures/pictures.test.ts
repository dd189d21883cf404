import { expect } from "chai";
import { PNG } from "pngjs";
import {
  blankPicture,
  drawText,
  heatColor,
  luminance,
  scalePicture,
  textWidth,
} from "../../../dino/pictures/drawing.js";
import { attentionPicture, featureMapPicture } from "../../../dino/pictures/pictures.js";
import { rng } from "../../../dino/math/random.js";
import { encodePng } from "../../../dino/pictures/png.js";

const random = (length: number, seed: number): Float32Array => {
  const draws = rng({ seed, purpose: "test" });
  return Float32Array.from({ length }, () => draws.uniform());
};
const image = (side: number): ReturnType<typeof blankPicture> => blankPicture(side, side, [90, 120, 150]);

describe("pictures", () => {
  it("are at least 1000 pixels wide, of tiny images and large ones, of one head and many", () => {
    for (const [side, patches, heads] of [
      [8, 1, 1],
      [28, 4, 3],
      [40, 5, 6],
      [480, 30, 12],
    ] as const) {
      const item = { image: image(side), attention: random(heads * patches ** 2, 1) };
      const picture = attentionPicture({ items: [item], heads, rows: patches, cols: patches });
      expect(picture.width, `${side} px`).to.be.within(1000, 3000);
      const count = side > 100 ? 2 : 16;
      const features = random(count * patches ** 2 * 5, 2);
      const images = Array.from({ length: count }, () => image(side));
      const map = featureMapPicture({ images, features, dim: 5, rows: patches, cols: patches });
      expect(map.width, `${side} px`).to.be.within(1000, 3000);
    }
  });

  it("show the largest attention brightest and keep its patch lit", () => {
    const attention = Float32Array.of(0.1, 0.1, 0.1, 0.7);
    const item = { image: image(32), attention };
    const picture = attentionPicture({ items: [item], heads: 1, rows: 2, cols: 2, share: 0.6 });
    const has = ([r, g, b]: readonly [number, number, number]): boolean => {
      for (let i = 0; i < picture.rgb.length; i += 3) {
        if (picture.rgb[i] === r && picture.rgb[i + 1] === g && picture.rgb[i + 2] === b) return true;
      }
      return false;
    };
    expect(has([252, 255, 164]), "the bright end of the heat colours").to.equal(true);
    expect(has([90, 120, 150]), "the image itself").to.equal(true);
    expect(has([255, 214, 64]), "the outline of the mask").to.equal(true);
  });

  it("are the same for the same input, rectangular patches and constant maps included", () => {
    const options = {
      items: [
        { image: blankPicture(24, 16, [1, 2, 3]), attention: new Float32Array(2 * 6).fill(1 / 6), label: "flat" },
      ],
      heads: 2,
      rows: 2,
      cols: 3,
    };
    expect(encodePng(attentionPicture(options))).to.deep.equal(encodePng(attentionPicture(options)));
    const map = {
      images: [blankPicture(24, 16, [1, 2, 3])],
      features: new Float32Array(6 * 2),
      dim: 2,
      rows: 2,
      cols: 3,
    };
    expect(featureMapPicture(map)).to.deep.equal(featureMapPicture(map));
  });

  it("say what does not fit", () => {
    const item = { image: image(30), attention: random(16, 4) };
    const options = { items: [item], heads: 1, rows: 4, cols: 4 };
    expect(() => attentionPicture(options)).to.throw("4 x 4 patches do not divide an image of 30 x 30; crop it");
    expect(() => attentionPicture({ ...options, items: [] })).to.throw("attentionPicture: expected at least one image");
    const short = { image: image(32), attention: random(3, 4) };
    expect(() => attentionPicture({ ...options, items: [short] })).to.throw("expected attention [1, 16], got 3 values");
    const map = { images: [image(32), image(16)], features: random(32, 5), dim: 1, rows: 4, cols: 4 };
    expect(() => featureMapPicture(map)).to.throw("images differ in size: 32 x 32 and 16 x 16");
    expect(() => featureMapPicture({ ...map, dim: 2 })).to.throw("expected features [2 * 16, 2], got 32 values");
  });
});

describe("drawing", () => {
  it("writes PNG files that read back as drawn", () => {
    const rgb = Uint8Array.from({ length: 5 * 3 * 3 }, (_, i) => i * 5);
    const read = PNG.sync.read(Buffer.from(encodePng({ width: 5, height: 3, rgb })));
    expect([read.width, read.height]).to.deep.equal([5, 3]);
    expect([...read.data].filter((_, i) => i % 4 !== 3)).to.deep.equal([...rgb]);
  });

  it("has heat colours that grow brighter from 0 to 1, and clamps beyond", () => {
    const lights = Array.from({ length: 101 }, (_, i) => luminance(heatColor(i / 100)));
    for (let i = 1; i < lights.length; i++) expect(lights[i]).to.be.above(lights[i - 1]!);
    expect(heatColor(-1)).to.deep.equal(heatColor(0));
    expect(heatColor(7)).to.deep.equal(heatColor(1));
    expect(heatColor(NaN)).to.deep.equal(heatColor(0));
  });

  it("draws every printable character differently, within the width it says", () => {
    const seen = new Set<string>();
    for (let code = 0x20; code < 0x7f; code++) {
      const picture = blankPicture(40, 40, [255, 255, 255]);
      const character = String.fromCharCode(code);
      drawText(picture, character, { x: 8, y: 8, color: [0, 0, 0], size: 14 });
      seen.add(Buffer.from(picture.rgb).toString("base64"));
      for (let y = 0; y < 40; y++) {
        for (let x = Math.ceil(10 + textWidth(character, 14)); x < 40; x++)
          expect(picture.rgb[(y * 40 + x) * 3]).to.equal(255);
      }
    }
    expect(seen.size).to.equal(95);
  });

  it("scales by whole numbers: enlarged and shrunk again it is the same", () => {
    const rgb = Uint8Array.from({ length: 4 * 6 * 3 }, (_, i) => (i * 37) % 256);
    const picture = { width: 4, height: 6, rgb };
    expect(scalePicture(scalePicture(picture, { up: 3 }), { down: 3 })).to.deep.equal(picture);
  });
});
