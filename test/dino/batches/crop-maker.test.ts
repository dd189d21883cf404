import { expect } from "chai";
import { cropPosition } from "../../../dino/batches/crop-layout.js";
import { createCropMaker } from "../../../dino/batches/crop-maker.js";
import {
  applyCropU8,
  type AugmentOptions,
  type CropKind,
  drawCrop,
  drawCrops,
  officialAugmentation,
} from "../../../dino/images/augment.js";
import { type Image, packedWords, packPixels } from "../../../dino/images/pixels.js";
import { rng } from "../../../dino/math/random.js";
import { download, input, sizeOf } from "../../../engine/index.js";
import { testDevice } from "../../support/device.js";

describe("crops made on the device", () => {
  it("lie where the layout says, the same whatever the number of parts", async () => {
    const device = await testDevice();
    const augment = { ...officialAugmentation, globalSize: { rows: 8, cols: 8 }, localCrops: 0 };
    const picture = { rows: 12, cols: 10, pixels: new Uint8Array(3 * 12 * 10) };
    const [images, crops, size] = [6, 2, 3 * 8 * 8];
    const random = rng({ seed: 2, purpose: "crop maker test" });
    const pixels = Uint32Array.from({ length: images * 120 }, () => random.integer(2 ** 24));
    const pictures = Array.from({ length: images }, (_, index) => ({
      rows: picture.rows,
      cols: picture.cols,
      crops: drawCrops(augment, { seed: 1, epoch: 0, index }, picture),
    }));
    const made = async (parts: number) => {
      using out = input(device, [crops * images, 3, 8, 8]);
      const { mean, std } = augment;
      using maker = await createCropMaker(device, {
        pictures: images,
        parts,
        pixelsPerPicture: 120,
        groups: [{ crops, out }],
        mean,
        std,
      });
      maker.write(pixels, pictures);
      await maker.run();
      const all = await download(out);
      expect(all).to.have.length(sizeOf(out.shape));
      return (crop: number, image: number) => {
        const start = size * cropPosition({ crops, images, parts }, crop, image);
        return all.slice(start, start + size);
      };
    };
    const whole = await made(1);
    expect(whole(0, 0)).to.not.deep.equal(whole(0, 1));
    for (const parts of [2, 3, 6]) {
      const inParts = await made(parts);
      for (let crop = 0; crop < crops; crop++) {
        for (let image = 0; image < images; image++) {
          expect(inParts(crop, image), `crop ${crop} of ${image} in ${parts} parts`).to.deep.equal(whole(crop, image));
        }
      }
    }
  });

  const still = {
    jitterProbability: 0,
    grayscaleProbability: 0,
    solarizeProbability: { global1: 0, global2: 0, local: 0 },
  };
  const unblurred = { blurProbability: { global1: 0, global2: 0, local: 0 } };
  for (const [name, options] of [
    ["flipped vertically", { flipVerticalProbability: 1 }],
    ["turned by quarters", { quarterTurnProbability: 1 }],
    ["turned by any angle", { rotation: 180 }],
    ["turned and flipped", { flipVerticalProbability: 0.5, quarterTurnProbability: 0.75, rotation: 30 }],
  ] as const) {
    it(`equal those made on the CPU: ${name}`, async () => {
      const augment = { ...officialAugmentation, ...still, ...unblurred, ...options };
      for (const size of [
        { rows: 12, cols: 12 },
        { rows: 9, cols: 20 },
      ]) {
        await compareWithCpu({ ...augment, globalSize: size, globalScale: [0.3, 1] }, "global1");
      }
    });
  }

  for (const channels of [1, 2, 5, 13]) {
    it(`equal those made on the CPU: ${channels} channels`, async () => {
      const augment = {
        ...officialAugmentation,
        ...still,
        ...unblurred,
        isRgb: false,
        saturation: 0,
        hue: 0,
        mean: Array.from({ length: channels }, () => 0),
        std: Array.from({ length: channels }, () => 1 / 255),
        globalScale: [0.3, 1],
        globalSize: { rows: 9, cols: 14 },
      } as const;
      await compareWithCpu(augment, "global1");
      await compareWithCpu({ ...augment, jitterProbability: 1, rotation: 20 }, "global1");
    });
  }
});

/** Makes crops of oblong images on both; the tolerance is that of resizing in `crop-maker.test.ts` of the golden tests. */
async function compareWithCpu(augment: AugmentOptions, kind: CropKind): Promise<void> {
  const channels = augment.mean.length;
  const images = Array.from({ length: 8 }, (_, i) => smoothImage(i, channels));
  const pixelsPerPicture = Math.max(...images.map(({ rows, cols }) => rows * cols));
  const words = packedWords(channels) * pixelsPerPicture;
  const pixels = new Uint32Array(images.length * words);
  const pictures = images.map((image, index) => {
    packPixels(image, pixels, index * words, pixelsPerPicture);
    const { rows, cols } = image;
    return { rows, cols, crops: [drawCrop(augment, kind, { seed: 3, index, purpose: "compared" }, image)] };
  });
  const { rows, cols } = augment.globalSize;
  const device = await testDevice();
  using out = input(device, [images.length, channels, rows, cols]);
  using maker = await createCropMaker(device, {
    pictures: images.length,
    pixelsPerPicture,
    groups: [{ crops: 1, out }],
    isRgb: augment.isRgb,
    mean: augment.mean.map(() => 0),
    std: augment.mean.map(() => 1 / 255),
  });
  maker.write(pixels, pictures);
  await maker.run();
  const all = await download(out);
  const size = rows * cols;
  for (const [index, image] of images.entries()) {
    const expected = applyCropU8(image, pictures[index]!.crops[0]!).pixels;
    const off = Array.from(expected, (level, i) =>
      Math.abs(level - all[(index * channels + (i % channels)) * size + Math.floor(i / channels)]!),
    );
    expect(Math.max(...off), `greatest deviation, image ${index}`).to.be.at.most(3.001);
    expect(off.reduce((a, b) => a + b) / off.length, `mean deviation, image ${index}`).to.be.at.most(0.401);
  }
}

/** An image without symmetry whose neighbouring pixels differ by up to a third of the range. */
function smoothImage(index: number, channels: number): Image {
  const random = rng({ seed: 4, index, purpose: "picture" });
  const [rows, cols] = [15 + random.integer(20), 15 + random.integer(20)];
  const wave = (x: number, y: number, c: number) => Math.sin(0.3 * x + 0.17 * y * y * 0.1 + c) * Math.cos(0.4 * y - c);
  const pixels = Uint8Array.from({ length: rows * cols * channels }, (_, i) => {
    const [x, y] = [Math.floor(i / channels) % cols, Math.floor(i / channels / cols)];
    return 127 + 90 * wave(x, y, i % channels) + random.integer(36);
  });
  return { rows, cols, pixels };
}
