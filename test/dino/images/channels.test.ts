/** Images of other channels than red, green and blue. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import sharp from "sharp";
import { resolveConfig } from "../../../dino/config/resolve.js";
import {
  applyCropU8,
  type AugmentOptions,
  checkAugmentOptions,
  drawCrop,
  officialAugmentation,
} from "../../../dino/images/augment.js";
import { gaussianBlur } from "../../../dino/images/blur.js";
import { contentMeasure } from "../../../dino/images/content.js";
import { onBackground, toChannels } from "../../../dino/images/formats/samples.js";
import { type Decoding, FIRST_CHANNELS, type ShownChannels } from "../../../dino/images/image-location.js";
import { memoryImages } from "../../../dino/images/image-set.js";
import {
  adjustBrightness,
  adjustContrast,
  copyImage,
  flip,
  flipVertical,
  type Image,
  normalize,
  normalizeTable,
  resizedCenterCrop,
  resizedCrop,
  solarize,
} from "../../../dino/images/pixels.js";
import { decodeImage } from "../../../dino/images/sources/decode.js";
import { fullSubset } from "../../../dino/images/split.js";
import { imageStatistics } from "../../../dino/images/statistics.js";
import { cutWindow } from "../../../dino/images/turned-window.js";
import { rng } from "../../../dino/math/random.js";

function noise(rows: number, cols: number, channels: number): Image {
  const random = rng({ seed: 6, index: channels, purpose: "noise" });
  return { rows, cols, pixels: Uint8Array.from({ length: rows * cols * channels }, () => random.integer(256)) };
}

/** One channel as a gray image of three. */
function grayOf({ rows, cols, pixels }: Image, channel: number, channels: number): Image {
  const plane = Array.from({ length: rows * cols }, (_, i) => pixels[i * channels + channel]!);
  return { rows, cols, pixels: Uint8Array.from(plane.flatMap((value) => [value, value, value])) };
}

const box = { top: 2, left: 3, height: 11, width: 14 };
const inPlace =
  (change: (image: Image) => void) =>
  (image: Image): Image => {
    const changed = copyImage(image);
    change(changed);
    return changed;
  };

const operations: Readonly<Record<string, (image: Image) => Image>> = {
  "bicubic crops": (image) => resizedCrop(image, box, { rows: 9, cols: 20 }),
  "bilinear crops": (image) => resizedCrop(image, box, { rows: 30, cols: 5 }, "bilinear"),
  "lanczos crops of the same width": (image) => resizedCrop(image, box, { rows: 4, cols: 14 }, "lanczos"),
  "center crops": (image) => resizedCenterCrop(image, 12, { rows: 10, cols: 8 }),
  "turned windows": (image) => cutWindow(image, { box: { top: 4, left: 5, height: 6, width: 7 }, angle: 33 }),
  flips: inPlace(flip),
  "vertical flips": inPlace(flipVertical),
  blurs: inPlace((image) => gaussianBlur(image, 1.7)),
  solarization: inPlace((image) => solarize(image, 128)),
};

describe("channels other than red, green and blue", () => {
  for (const [name, operate] of Object.entries(operations)) {
    it(`come out of ${name} each as if it were alone`, () => {
      for (const channels of [1, 2, 5]) {
        const image = noise(17, 23, channels);
        const whole = operate(image);
        for (let channel = 0; channel < channels; channel++) {
          const alone = operate(grayOf(image, channel, channels));
          expect(grayOf(whole, channel, channels), `channel ${channel} of ${channels}`).to.deep.equal(alone);
        }
      }
    });
  }

  it("change in brightness and contrast as a gray image does, and leave the other channels alone", () => {
    const image = noise(9, 8, 4);
    for (const adjust of [adjustBrightness, adjustContrast]) {
      const changed = copyImage(image);
      adjust(changed, 1.3, 2);
      const alone = grayOf(image, 2, 4);
      adjust(alone, 1.3);
      expect(grayOf(changed, 2, 4)).to.deep.equal(alone);
      expect(alone).to.not.deep.equal(grayOf(image, 2, 4));
      for (const other of [0, 1, 3]) expect(grayOf(changed, other, 4)).to.deep.equal(grayOf(image, other, 4));
    }
  });

  it("are normalised by their own mean and standard deviation, in planes", () => {
    const image = { rows: 1, cols: 2, pixels: Uint8Array.of(0, 51, 102, 255, 153, 204) };
    const table = normalizeTable({ mean: [0, 0.2, 0.5], std: [1, 2, 0.5] });
    const rounded = Array.from(normalize(image, table), (value) => Number(value.toFixed(5)));
    expect(rounded).to.deep.equal([0, 1, 0, 0.2, -0.2, 0.6]);
  });

  it("have their own statistics", async () => {
    const images = [{ rows: 1, cols: 2, pixels: Uint8Array.of(0, 51, 51, 51) }];
    const { mean, std } = await imageStatistics(fullSubset(memoryImages({ images })), 10);
    expect(mean.map((value) => Number(value.toFixed(6)))).to.deep.equal([0.1, 0.2]);
    expect(std.map((value) => Number(value.toFixed(6)))).to.deep.equal([0.1, 0]);
  });

  it("each count as content", () => {
    const image = { rows: 20, cols: 20, pixels: new Uint8Array(20 * 20 * 5) };
    for (let i = 0; i < 100; i++) image.pixels[5 * (5 * 20 + i) + 4] = 200; // five rows of the last channel
    const contentOf = contentMeasure(image);
    expect(contentOf({ box: { top: 0, left: 0, height: 20, width: 20 }, angle: 0 })).to.equal(0.25);
  });

  it("are drawn changes of their own", () => {
    const augment: AugmentOptions = {
      ...officialAugmentation,
      ...{ isRgb: false, saturation: 0, hue: 0, grayscaleProbability: 0, jitterProbability: 1 },
      ...{ mean: [0.1, 0.2, 0.3, 0.4], std: [1, 1, 1, 1], globalSize: { rows: 8, cols: 8 } },
    };
    checkAugmentOptions(augment);
    const image = noise(12, 12, 4);
    const crops = Array.from({ length: 200 }, (_, index) =>
      drawCrop(augment, "global1", { seed: 1, index, purpose: "channels" }, image),
    );
    for (const { jitter, grayscale } of crops) {
      expect(jitter.map(({ channel }) => channel)).to.deep.equal([0, 0, 1, 1, 2, 2, 3, 3]);
      expect(new Set(jitter.map(({ factor }) => factor)).size).to.equal(8);
      for (const { factor } of jitter) expect(factor).to.be.within(0.6, 1.4);
      expect(grayscale).to.equal(false);
    }
    const firsts = crops.filter(({ jitter }) => jitter[2]!.adjust === "contrast").length / crops.length;
    expect(firsts, "share of crops whose second channel is changed in contrast first").to.be.within(0.4, 0.6);
    expect(applyCropU8(image, crops[0]!).pixels).to.have.length(8 * 8 * 4);
    const flat = { ...augment, brightness: 0, contrast: 0 };
    expect(drawCrop(flat, "global1", { seed: 1, index: 0, purpose: "channels" }, image).jitter).to.deep.equal([]);
  });

  it("go without changes of color, and with as many means as there are channels", () => {
    const five = { ...officialAugmentation, isRgb: false, mean: [0, 0, 0, 0, 0], std: [1, 1, 1, 1, 1] };
    const plain = { ...five, saturation: 0, hue: 0, grayscaleProbability: 0 };
    checkAugmentOptions(plain);
    expect(() => checkAugmentOptions(five)).to.throw("saturation: expected 0 for channels other than red, green");
    expect(() => checkAugmentOptions({ ...plain, std: [1, 1, 1] })).to.throw("std: expected 5 numbers above 0");
    expect(() => checkAugmentOptions({ ...plain, isRgb: true })).to.throw("mean: expected three numbers");
  });

  it("are drawn on a background where alpha says so", async () => {
    const folder = await mkdtemp(join(tmpdir(), "dino-background-"));
    const file = (name: string) => join(folder, name);
    const rgba = Buffer.from([10, 20, 30, 255, 200, 100, 50, 128, 7, 8, 9, 0]);
    const image = sharp(rgba, { raw: { width: 3, height: 1, channels: 4 } });
    await image.clone().png().toFile(file("a.png"));
    await image.clone().tiff({ compression: "lzw" }).toFile(file("a.tif"));
    const decoded = async (name: string, decoding: Decoding) => {
      const found = await decodeImage({ name, bytes: { kind: "file", path: file(name) } }, decoding);
      return "reason" in found ? found.reason : Array.from(found.pixels);
    };
    for (const name of ["a.png", "a.tif"]) {
      expect(await decoded(name, {}), name).to.deep.equal([10, 20, 30, 200, 100, 50, 7, 8, 9]);
      for (const options of [{}, { range: [0, 255] }, { channels: FIRST_CHANNELS }] as const) {
        const onWhite = await decoded(name, { ...options, background: "white" });
        expect(onWhite, name).to.deep.equal([10, 20, 30, 227, 177, 152, 255, 255, 255]);
      }
      const onGray = await decoded(name, { background: "gray" });
      expect(onGray, name).to.deep.equal([10, 20, 30, 164, 113, 88, 128, 128, 128]);
      expect(await decoded(name, { background: "white", channels: 4 }), name).to.deep.equal(Array.from(rgba));
      expect(await decoded(name, { background: "white", channels: 1 }), name).to.deep.equal([18, 189, 255]);
    }
    await rm(folder, { recursive: true });
    const grayWithAlpha = { rows: 1, cols: 1, channels: 2, pixels: Uint8Array.of(100, 51) };
    expect([...onBackground(grayWithAlpha, "black").pixels]).to.deep.equal([20]);
    expect(() => resolveConfig({ background: "white", channels: 4 })).to.throw(
      "--background white is for gray and RGB",
    );
  });

  it("are converted where that has a meaning, and refused elsewhere", () => {
    const of = (channels: number, ...pixels: number[]) => ({
      rows: 1,
      cols: 1,
      channels,
      pixels: Uint8Array.from(pixels),
    });
    const converted = (samples: ReturnType<typeof of>, wanted: number | ShownChannels) => [
      ...toChannels(samples, wanted).pixels,
    ];
    expect(converted(of(1, 7), 3)).to.deep.equal([7, 7, 7]);
    expect(converted(of(4, 1, 2, 3, 9), 3)).to.deep.equal([1, 2, 3]);
    expect(converted(of(3, 7, 7, 7), 1)).to.deep.equal([7]);
    expect(converted(of(4, 255, 0, 0, 9), 1)).to.deep.equal([76]);
    expect(converted(of(2, 5, 9), 1)).to.deep.equal([5]);
    expect(converted(of(5, 1, 2, 3, 4, 5), 5)).to.deep.equal([1, 2, 3, 4, 5]);
    expect(converted(of(5, 1, 2, 3, 4, 5), FIRST_CHANNELS)).to.deep.equal([1, 2, 3]);
    expect(converted(of(2, 1, 2), FIRST_CHANNELS)).to.deep.equal([1, 1, 1]);
    expect(converted(of(5, 1, 2, 3, 4, 5), [4, 0, 3])).to.deep.equal([5, 1, 4]);
    expect(converted(of(3, 1, 2, 3), [4, 0, 3]), "has fewer").to.deep.equal([1, 2, 3]);
    expect(converted(of(3, 1, 2, 3), [2, 1, 0])).to.deep.equal([3, 2, 1]);
    expect(() => converted(of(5, 1, 2, 3, 4, 5), 1)).to.throw("expected 1 channels, got 5");
    expect(() => converted(of(3, 1, 2, 3), 5)).to.throw("expected 5 channels, got 3");
  });
});
