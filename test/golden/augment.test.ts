import { expect } from "chai";
import { applyCrop, applyCropU8, evalCrop, imageNet, type CropParameters, type Jitter } from "../../dino/augment.js";
import {
  adjustBrightness,
  adjustContrast,
  adjustHue,
  adjustSaturation,
  centerCrop,
  copyImage,
  flip,
  gaussianBlur,
  grayscale,
  normalize,
  normalizeTable,
  resize,
  resizedCrop,
  resizeShortSide,
  solarize,
  type Box,
  type Image,
  type Normalization,
} from "../../dino/pixels.js";
import { golden } from "./golden.js";

type Operation = { readonly out: string } & (
  | ({ readonly op: "resized_crop_bicubic"; readonly size: number } & Box)
  | { readonly op: "hflip" | "grayscale" }
  | { readonly op: "brightness" | "contrast" | "saturation" | "hue"; readonly factor: number }
  | { readonly op: "gaussian_blur"; readonly radius: number }
  | { readonly op: "solarize"; readonly threshold: number }
  | ({ readonly op: "normalize" } & Normalization)
  | {
      readonly op: "chain";
      readonly box: readonly [number, number, number, number, number];
      readonly flip: boolean;
      readonly jitter: readonly (readonly [Jitter["adjust"], number])[];
      readonly gray: boolean;
      readonly blur: number | null;
      readonly sol: number | null;
    }
  | { readonly op: "eval"; readonly resize_short_side: number; readonly center_crop: number }
  | { readonly op: "resize_bilinear"; readonly rows: number; readonly cols: number }
);

const cases = golden.json<{ readonly image: string; readonly ops: readonly Operation[] }>("augment");
const stored = golden.tensors("augment");
const [rows, cols] = stored.shape(cases.image) as [number, number, number];
const image: Image = { rows, cols, pixels: stored.u8(cases.image) };

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
      const [top, left, height, width, size] = each.box;
      const parameters: CropParameters = {
        box: { top, left, height, width },
        size: square(size),
        flip: each.flip,
        jitter: each.jitter.map(([adjust, factor]) => ({ adjust, factor })),
        grayscale: each.gray,
        blurRadius: each.blur,
        solarizeThreshold: each.sol,
      };
      sameBytes(each.out.replace("normalized", "u8"), applyCropU8(image, parameters));
      expect(image.pixels, "the image itself").to.deep.equal(stored.u8(cases.image));
      close(each.out, applyCrop(image, parameters));
      break;
    }
    case "eval": {
      const crop = square(each.center_crop);
      const resized = resizeShortSide(image, each.resize_short_side);
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

function square(side: number): { rows: number; cols: number } {
  return { rows: side, cols: side };
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
