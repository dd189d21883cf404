import { expect } from "chai";
import { applyCrop, applyCropU8, evalCrop, imageNet } from "../../dino/images/augment.js";
import { gaussianBlur } from "../../dino/images/blur.js";
import {
  adjustBrightness,
  adjustContrast,
  adjustHue,
  adjustSaturation,
  centerCrop,
  copyImage,
  flip,
  grayscale,
  normalize,
  normalizeTable,
  resize,
  resizedCrop,
  shortSideSize,
  solarize,
  type Image,
} from "../../dino/images/pixels.js";
import { cases, chainParameters, image, type Operation, square, stored } from "./augment-cases.js";

describe("golden: augment", () => {
  for (const each of cases.ops) {
    it(`${each.out} (${each.op})`, () => check(each));
  }
});

function check(each: Operation): void {
  const work = copyImage(image);
  switch (each.op) {
    case "resized_crop_bicubic":
      sameBytes(each.out, resizedCrop(image, each, square(each.size)));
      break;
    case "hflip":
      flip(work);
      sameBytes(each.out, work);
      break;
    case "grayscale":
      grayscale(work);
      sameBytes(each.out, work);
      break;
    case "brightness":
      adjustBrightness(work, each.factor);
      sameBytes(each.out, work);
      break;
    case "contrast":
      adjustContrast(work, each.factor);
      sameBytes(each.out, work);
      break;
    case "saturation":
      adjustSaturation(work, each.factor);
      sameBytes(each.out, work);
      break;
    case "hue":
      adjustHue(work, each.factor);
      sameBytes(each.out, work);
      break;
    case "gaussian_blur":
      gaussianBlur(work, each.radius);
      sameBytes(each.out, work);
      break;
    case "solarize":
      solarize(work, each.threshold);
      sameBytes(each.out, work);
      break;
    case "normalize":
      close(each.out, normalize(image, normalizeTable(each)));
      break;
    case "chain": {
      const parameters = chainParameters(each);
      sameBytes(each.out.replace("normalized", "u8"), applyCropU8(image, parameters));
      expect(image.pixels, "the image itself").to.deep.equal(stored.u8(cases.image));
      close(each.out, applyCrop(image, parameters));
      break;
    }
    case "eval": {
      const crop = square(each.center_crop);
      const resized = resize(image, shortSideSize(image, each.resize_short_side));
      sameBytes("eval_resize.u8", resized);
      sameBytes("eval.u8", centerCrop(resized, crop));
      close(each.out, evalCrop(image, { resize: each.resize_short_side, crop, ...imageNet }));
      break;
    }
    case "resize_bilinear":
      sameBytes(each.out, resize(image, each, "bilinear"));
      break;
    default:
      each satisfies never;
      throw new Error("augment.json holds an operation this test does not know");
  }
}

function sameBytes(name: string, actual: Image): void {
  expect([actual.rows, actual.cols, 3], `${name} shape`).to.deep.equal(stored.shape(name));
  expect(actual.pixels, name).to.deep.equal(stored.u8(name));
}

function close(name: string, actual: Float32Array): void {
  const expected = stored.f32(name);
  expect(actual.length, name).to.equal(expected.length);
  const worst = expected.reduce((most, value, i) => Math.max(most, Math.abs(value - actual[i]!)), 0);
  expect(worst, name).to.be.at.most(5e-7);
}
