import { expect } from "chai";
import fc from "fast-check";
import {
  applyCrop,
  applyCropU8,
  checkAugmentOptions,
  drawCrop,
  drawCrops,
  evalCrop,
  imageNet,
  officialAugmentation,
  officialProbeCrop,
  probeCrop,
  type AugmentOptions,
  type CropKind,
  type CropParameters,
} from "../../../dino/images/augment.js";
import { gaussianBlur } from "../../../dino/images/blur.js";
import {
  adjustContrast,
  centerCrop,
  copyImage,
  flip,
  normalize,
  normalizeTable,
  resize,
  resizedCrop,
  shortSideSize,
  roundHalfEven,
  solarize,
  type Image,
} from "../../../dino/images/pixels.js";
import { rng } from "../../../dino/math/random.js";

const draws = 8000;

/** Many crops of a 300 x 400 image, one stream each. */
function sample(kind: CropKind, options: AugmentOptions = officialAugmentation): CropParameters[] {
  return Array.from({ length: draws }, (_, index) =>
    drawCrop(options, kind, { seed: 5, index, purpose: kind }, { rows: 300, cols: 400 }),
  );
}

const share = (all: readonly CropParameters[], holds: (each: CropParameters) => boolean): number =>
  all.filter(holds).length / all.length;
const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

function noise(rows: number, cols: number, seed = 1): Image {
  const random = rng({ seed, purpose: "noise" });
  return { rows, cols, pixels: Uint8Array.from({ length: rows * cols * 3 }, () => random.integer(256)) };
}

const anyImage = fc
  .record({ rows: fc.integer({ min: 1, max: 40 }), cols: fc.integer({ min: 1, max: 40 }), seed: fc.nat() })
  .map(({ rows, cols, seed }) => noise(rows, cols, seed));

describe("augment: drawing", () => {
  it("draws each kind's stages as often as the official code", () => {
    const expected = { global1: [1, 0], global2: [0.1, 0.2], local: [0.5, 0] } as const;
    for (const kind of ["global1", "global2", "local"] as const) {
      const all = sample(kind);
      expect(
        share(all, (each) => each.flip),
        kind,
      ).to.be.closeTo(0.5, 0.02);
      expect(
        share(all, (each) => each.jitter.length === 4),
        kind,
      ).to.be.closeTo(0.8, 0.02);
      expect(
        share(all, (each) => each.grayscale),
        kind,
      ).to.be.closeTo(0.2, 0.02);
      expect(
        share(all, (each) => each.blurRadius !== null),
        kind,
      ).to.be.closeTo(expected[kind][0], 0.02);
      expect(
        share(all, (each) => each.solarizeThreshold === 128),
        kind,
      ).to.be.closeTo(expected[kind][1], 0.02);
    }
  });

  it("draws areas and shapes from their ranges, boxes inside the image", () => {
    for (const [kind, low, high] of [
      ["global1", 0.4, 1],
      ["local", 0.05, 0.4],
    ] as const) {
      const boxes = sample(kind).map((each) => each.box);
      const areas = boxes.map(({ height, width }) => (height * width) / (300 * 400));
      const shapes = boxes.map(({ height, width }) => width / height);
      for (const area of areas) expect(area).to.be.within(low * 0.98, high * 1.02);
      for (const shape of shapes) expect(shape).to.be.within(0.72, 1.36);
      for (const { top, left, height, width } of boxes) {
        expect(top >= 0 && left >= 0 && top + height <= 300 && left + width <= 400).to.equal(true);
      }
      if (kind === "local") {
        expect(mean(areas)).to.be.closeTo((low + high) / 2, 0.01);
        expect(mean(shapes.map(Math.log))).to.be.closeTo(0, 0.01);
      }
    }
  });

  it("draws strengths from their ranges and stages in any order", () => {
    const all = sample("global1");
    const expected = {
      brightness: [0.6, 1.4],
      contrast: [0.6, 1.4],
      saturation: [0.8, 1.2],
      hue: [-0.1, 0.1],
    } as const;
    for (const [adjust, [low, high]] of Object.entries(expected)) {
      const factors = all
        .flatMap((each) => each.jitter.filter((one) => one.adjust === adjust))
        .map((one) => one.factor);
      for (const factor of factors) expect(factor).to.be.within(low, high);
      expect(mean(factors), adjust).to.be.closeTo((low + high) / 2, (high - low) * 0.02);
    }
    const orders = new Map<string, number>();
    for (const { jitter } of all) {
      const order = jitter.map((one) => one.adjust).join();
      orders.set(order, (orders.get(order) ?? 0) + 1);
    }
    orders.delete("");
    expect(orders.size).to.equal(24);
    for (const times of orders.values()) expect(times).to.be.closeTo((draws * 0.8) / 24, 75);
    const radii = all.map((each) => each.blurRadius ?? NaN);
    for (const radius of radii) expect(radius).to.be.within(0.1, 2);
    expect(mean(radii)).to.be.closeTo(1.05, 0.02);
  });

  it("takes every probability, strength and size from the options", () => {
    const off: AugmentOptions = {
      ...officialAugmentation,
      globalSize: { rows: 20, cols: 31 },
      flipProbability: 1,
      jitterProbability: 1,
      saturation: 0,
      hue: 0,
      grayscaleProbability: 1,
      blurProbability: { global1: 0, global2: 0, local: 0 },
      solarizeProbability: { global1: 1, global2: 1, local: 1 },
      solarizeThreshold: 77,
    };
    const all = sample("global1", off);
    expect(share(all, (each) => each.flip && each.grayscale && each.blurRadius === null)).to.equal(1);
    expect(share(all, (each) => each.solarizeThreshold === 77)).to.equal(1);
    expect(new Set(all.flatMap((each) => each.jitter.map((one) => one.adjust)))).to.deep.equal(
      new Set(["brightness", "contrast"]),
    );
    expect(all[0]!.size).to.deep.equal({ rows: 20, cols: 31 });
  });

  it("falls back to a central crop where no drawn box fits", () => {
    const of = (rows: number, cols: number) =>
      drawCrop(officialAugmentation, "global1", { seed: 1, purpose: "thin" }, { rows, cols }).box;
    expect(of(100, 1000)).to.deep.equal({ top: 0, left: 433, height: 100, width: 133 });
    expect(of(1000, 100)).to.deep.equal({ top: 433, left: 0, height: 133, width: 100 });
    expect(of(1, 1)).to.deep.equal({ top: 0, left: 0, height: 1, width: 1 });
  });

  it("depends on the key alone, and each crop only on its own number", () => {
    const key = { seed: 9, epoch: 2, index: 17 };
    const size = noise(50, 60);
    const all = drawCrops(officialAugmentation, key, size);
    expect(all).to.have.lengthOf(10);
    expect(drawCrops(officialAugmentation, key, size)).to.deep.equal(all);
    expect(drawCrops({ ...officialAugmentation, localCrops: 3 }, key, size)).to.deep.equal(all.slice(0, 5));
    expect(new Set(all.map((each) => JSON.stringify(each.box))).size).to.be.greaterThan(5);
    expect(drawCrops(officialAugmentation, { ...key, epoch: 3 }, size)).to.not.deep.equal(all);
    expect(JSON.parse(JSON.stringify(all))).to.deep.equal(all);
  });

  it("turns and flips vertically as often and as far as the options say, without affecting other draws", () => {
    const off = sample("global1");
    expect(share(off, ({ angle, flipVertical }) => angle === 0 && !flipVertical)).to.equal(1);
    const vertical = sample("global1", { ...officialAugmentation, flipVerticalProbability: 0.3 });
    expect(share(vertical, ({ flipVertical }) => flipVertical)).to.be.closeTo(0.3, 0.02);
    const quarters = sample("global1", { ...officialAugmentation, quarterTurnProbability: 0.6 });
    for (const angle of [90, 180, 270])
      expect(
        share(quarters, (each) => each.angle === angle),
        `${angle}`,
      ).to.be.closeTo(0.2, 0.02);
    expect(share(quarters, ({ angle }) => angle === 0)).to.be.closeTo(0.4, 0.02);
    const rotated = sample("global1", { ...officialAugmentation, rotation: 20 });
    const angles = rotated.map(({ angle }) => angle);
    for (const angle of angles) expect(angle).to.be.within(-20, 20);
    expect(mean(angles)).to.be.closeTo(0, 0.5);
    expect(mean(angles.map(Math.abs))).to.be.closeTo(10, 0.3);

    const all = { flipVerticalProbability: 0.3, quarterTurnProbability: 0.6, rotation: 20 };
    const together = sample("global1", { ...officialAugmentation, ...all });
    const others = (each: CropParameters) => [each.size, each.flip, each.jitter, each.grayscale, each.blurRadius];
    for (const [i, each] of together.entries()) {
      // a quarter turn of an oblong image changes which boxes fit, and with them the number of attempts
      if (quarters[i]!.angle % 180 === 0) expect(others(each)).to.deep.equal(others(off[i]!));
      expect(each.flipVertical).to.equal(vertical[i]!.flipVertical);
      expect(each.angle).to.be.closeTo(quarters[i]!.angle + rotated[i]!.angle, 1e-9);
    }
    for (const [i, { box, angle }] of quarters.entries())
      if (angle === 180)
        expect(box).to.deep.equal({
          ...off[i]!.box,
          top: 300 - off[i]!.box.top - off[i]!.box.height,
          left: 400 - off[i]!.box.left - off[i]!.box.width,
        });
  });

  it("draws crops with too little content again, and leaves the others as they are", () => {
    const image = { rows: 60, cols: 80, pixels: new Uint8Array(60 * 80 * 3).fill(255) };
    for (let row = 10; row < 40; row++) image.pixels.fill(0, (row * 80 + 5) * 3, (row * 80 + 45) * 3);
    const inked = ({ box: { top, left, height, width } }: CropParameters) => {
      const high = Math.max(0, Math.min(40, top + height) - Math.max(10, top));
      return (high * Math.max(0, Math.min(45, left + width) - Math.max(5, left))) / (height * width);
    };
    const drawn = (minContent: number) =>
      Array.from({ length: 200 }, (_, index) =>
        drawCrops({ ...officialAugmentation, minContent }, { seed: 4, epoch: 0, index }, image),
      ).flat();
    const [before, after] = [drawn(0), drawn(0.15)];
    expect(share(before, (each) => inked(each) < 0.13)).to.be.above(0.15);
    expect(share(after, (each) => inked(each) < 0.13)).to.be.below(0.02);
    for (const [i, each] of before.entries()) if (inked(each) > 0.17) expect(after[i]).to.deep.equal(each);
  });

  it("refuses options nothing could be drawn with, by name", () => {
    checkAugmentOptions(officialAugmentation);
    const refused: readonly Partial<AugmentOptions>[] = [
      { globalSize: { rows: 0, cols: 5 } },
      { localScale: [0.5, 0.4] },
      { flipProbability: 1.5 },
      { blurProbability: { global1: 1, global2: -1, local: 0 } },
      { flipVerticalProbability: 2 },
      { quarterTurnProbability: -1 },
      { rotation: 181 },
      { minContent: 1.1 },
      { hue: 0.6 },
      { localCrops: 1.5 },
      { std: [1, 0, 1] },
    ];
    for (const wrong of refused) {
      const name = Object.keys(wrong)[0]!;
      expect(() => checkAugmentOptions({ ...officialAugmentation, ...wrong })).to.throw(`augment ${name}: expected`);
    }
  });
});

describe("augment: applying", () => {
  it("gives [3, rows, cols], normalised plane by plane", () => {
    fc.assert(
      fc.property(anyImage, fc.nat(), (image, seed) => {
        const options = { ...officialAugmentation, globalSize: { rows: 6, cols: 9 }, localSize: { rows: 5, cols: 4 } };
        for (const parameters of drawCrops(options, { seed, epoch: 0, index: 0 }, image)) {
          const before = copyImage(image);
          const crop = applyCropU8(image, parameters);
          const planes = applyCrop(image, parameters);
          expect([crop.rows, crop.cols]).to.deep.equal([parameters.size.rows, parameters.size.cols]);
          expect(planes.length).to.equal(3 * crop.rows * crop.cols);
          for (let i = 0; i < planes.length; i++) {
            const channel = Math.floor(i / (crop.rows * crop.cols));
            const value = crop.pixels[(i % (crop.rows * crop.cols)) * 3 + channel]! / 255;
            expect(planes[i]).to.be.closeTo((value - imageNet.mean[channel]!) / imageNet.std[channel]!, 1e-6);
          }
          expect(image).to.deep.equal(before);
        }
      }),
      { numRuns: 25 },
    );
  });

  it("flips vertically what is turned by 180 degrees and mirrored, and turns crops of any size", () => {
    fc.assert(
      fc.property(anyImage, (image) => {
        const box = { top: 0, left: 0, height: image.rows, width: image.cols };
        const plain = { size: { rows: image.rows, cols: image.cols }, jitter: [], grayscale: false };
        const asItIs = { ...plain, box, angle: 0, blurRadius: null, solarizeThreshold: null };
        const flipped = applyCropU8(image, { ...asItIs, flip: false, flipVertical: true });
        const turned = applyCropU8(image, { ...asItIs, flip: true, flipVertical: false, angle: 180 });
        expect(flipped).to.deep.equal(turned);
        const stride = 3 * image.cols;
        expect(flipped.pixels.slice(0, stride)).to.deep.equal(image.pixels.slice(image.pixels.length - stride));
      }),
    );
  });

  it("flips and solarizes back to where it began, and resizes to its own size without a change", () => {
    fc.assert(
      fc.property(anyImage, (image) => {
        const twice = copyImage(image);
        flip(twice);
        flip(twice);
        solarize(twice, 0);
        solarize(twice, 0);
        expect(twice).to.deep.equal(image);
        expect(resize(image, image)).to.deep.equal(image);
      }),
    );
  });

  it("keeps one colour one colour through resizing and blurring", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 255 }),
        fc.integer({ min: 1, max: 20 }),
        fc.double({ min: 0, max: 30, noNaN: true }),
        (value, side, radius) => {
          const image = { rows: 7, cols: 11, pixels: new Uint8Array(7 * 11 * 3).fill(value) };
          gaussianBlur(image, radius);
          const resized = resizedCrop(image, { top: 1, left: 2, height: 5, width: 8 }, { rows: side, cols: 13 });
          expect(new Set(resized.pixels)).to.deep.equal(new Set([value]));
        },
      ),
    );
  });

  it("blurs the same along rows and columns", () => {
    const image = noise(13, 13);
    const turned = transpose(image);
    const [a, b] = [copyImage(image), copyImage(turned)];
    gaussianBlur(a, 1.7);
    gaussianBlur(b, 1.7);
    const apart = transpose(a).pixels.map((value, i) => Math.abs(value - b.pixels[i]!));
    expect(Math.max(...apart)).to.be.at.most(2);
    expect(a.pixels).to.not.deep.equal(image.pixels);
  });

  it("turns to one gray at contrast 0", () => {
    const image = noise(9, 9);
    adjustContrast(image, 0);
    expect(new Set(image.pixels).size).to.equal(1);
  });

  it("evaluates on the middle of the short side's resize, oblong too, and says if the crop does not fit", () => {
    expect(shortSideSize(noise(48, 64), 40)).to.include({ rows: 40, cols: 53 });
    expect(shortSideSize(noise(64, 48), 40)).to.include({ rows: 53, cols: 40 });
    const options = { resize: 20, crop: { rows: 18, cols: 24 }, ...imageNet };
    expect(evalCrop(noise(30, 40), options)).to.have.lengthOf(3 * 18 * 24);
    expect(() => centerCrop(noise(10, 20), { rows: 12, cols: 12 })).to.throw(
      "centerCrop: expected an image of at least [12, 12], got [10, 20]",
    );
  });

  it("shows a linear classifier the whole of a square image, bilinear, mirrored or not, where nothing is left to chance", () => {
    const image = noise(20, 20);
    const size = { rows: 12, cols: 12 };
    const whole = resize(image, size, "bilinear");
    const mirrored = copyImage(whole);
    flip(mirrored);
    for (const [flipProbability, expected] of [[0, whole] as const, [1, mirrored] as const]) {
      const shown = probeCrop(
        image,
        { ...imageNet, size, scale: [1, 1], flipProbability },
        rng({ seed: 0, purpose: "t" }),
      );
      expect(shown).to.deep.equal(normalize(expected, normalizeTable(imageNet)));
    }
  });

  it("shows a linear classifier other crops of one size for other draws", () => {
    const options = { ...imageNet, ...officialProbeCrop, size: { rows: 8, cols: 6 } };
    const shown = [1, 2].map((seed) => probeCrop(noise(30, 50), options, rng({ seed, purpose: "t" })));
    expect(shown.map(({ length }) => length)).to.deep.equal([144, 144]);
    expect(shown[0]).not.to.deep.equal(shown[1]);
  });

  it("refuses a box outside the image", () => {
    const box = { top: 0, left: 5, height: 4, width: 6 };
    expect(() => resizedCrop(noise(10, 10), box, { rows: 4, cols: 4 })).to.throw(
      "resizedCrop: expected a box within [10, 10], got top 0, left 5",
    );
  });

  it("rounds halves to even, as Python does", () => {
    expect([0.5, 1.5, 2.5, -0.5, 2.4, 2.6].map(roundHalfEven).map((x) => x + 0)).to.deep.equal([0, 2, 2, 0, 2, 3]);
  });
});

function transpose({ rows, cols, pixels }: Image): Image {
  const out = new Uint8Array(pixels.length);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      for (let channel = 0; channel < 3; channel++) {
        out[(col * rows + row) * 3 + channel] = pixels[(row * cols + col) * 3 + channel]!;
      }
    }
  }
  return { rows: cols, cols: rows, pixels: out };
}
