import { expect } from "chai";
import { createCropMaker } from "../../dino/batches/crop-maker.js";
import type { CropParameters } from "../../dino/images/augment.js";
import { packPixels } from "../../dino/images/pixels.js";
import { download, input } from "../../engine/index.js";
import { testDevice } from "../support/device.js";
import { cases, chainParameters, image, type Operation, square, stored } from "./augment-cases.js";

/** Greatest and mean deviation in levels of 255 from Pillow: what the golden files suggest for pipelines of float numbers. */
const TOLERANCE = {
  resize: { most: 3, mean: 0.4 },
  colour: { most: 1.5, mean: 0.55 },
  hue: { most: Infinity, mean: 1.2 },
  blur: { most: Infinity, mean: 1 },
  /** Contrast and hue after a resize differ where that does, blur with everything. */
  chain: { most: Infinity, mean: 1.5 },
  exact: { most: 0, mean: 0 },
} as const;

const { rows, cols } = image;

const asItIs: CropParameters = {
  box: { top: 0, left: 0, height: rows, width: cols },
  angle: 0,
  size: { rows, cols },
  flip: false,
  flipVertical: false,
  jitter: [],
  grayscale: false,
  blurRadius: null,
  solarizeThreshold: null,
};

/** Returns an operation as a crop, its expected output and its tolerance; undefined for operations that are no crops. */
function asCrop(
  each: Operation,
): { readonly crop: CropParameters; readonly out: string; readonly within: keyof typeof TOLERANCE } | undefined {
  const { out } = each;
  switch (each.op) {
    case "resized_crop_bicubic": {
      const { top, left, height, width, size } = each;
      const crop = { ...asItIs, box: { top, left, height, width }, size: square(size) };
      return { crop, out, within: "resize" };
    }
    case "hflip":
      return { crop: { ...asItIs, flip: true }, out, within: "exact" };
    case "grayscale":
      return { crop: { ...asItIs, grayscale: true }, out, within: "exact" };
    case "brightness":
    case "contrast":
    case "saturation":
    case "hue": {
      const crop = { ...asItIs, jitter: [{ adjust: each.op, factor: each.factor }] };
      return { crop, out, within: each.op === "hue" ? "hue" : "colour" };
    }
    case "gaussian_blur":
      return { crop: { ...asItIs, blurRadius: each.radius }, out, within: "blur" };
    case "solarize":
      return { crop: { ...asItIs, solarizeThreshold: each.threshold }, out, within: "exact" };
    case "chain":
      return { crop: chainParameters(each), out: out.replace("normalized", "u8"), within: "chain" };
    case "normalize":
    case "eval":
    case "resize_bilinear":
      return undefined;
    default:
      return each satisfies never;
  }
}

describe("golden: crops made on the device", () => {
  for (const each of cases.ops) {
    const compared = asCrop(each);
    if (!compared) continue;
    const { crop, out, within } = compared;
    it(`${out} (${each.op})`, async () => {
      // the picture lies in the second of two slots, with pixels to spare, and its crop in the second of two places
      const pixelsPerPicture = rows * cols + 5;
      const device = await testDevice();
      using levels = input(device, [2, 3, crop.size.rows, crop.size.cols]);
      using maker = await createCropMaker(device, {
        pictures: 2,
        pixelsPerPicture,
        groups: [{ crops: 1, out: levels }],
        mean: [0, 0, 0],
        std: [1 / 255, 1 / 255, 1 / 255],
      });
      const pixels = new Uint32Array(2 * pixelsPerPicture);
      packPixels(image, pixels, pixelsPerPicture, pixelsPerPicture);
      const black = { ...asItIs, size: crop.size };
      maker.write(pixels, [
        { rows, cols, crops: [black] },
        { rows, cols, crops: [crop] },
      ]);
      await maker.run();
      const all = await download(levels);
      const size = crop.size.rows * crop.size.cols;
      const expected = stored.u8(out);
      const off = Array.from(expected, (level, i) =>
        Math.abs(level - all[3 * size + (i % 3) * size + Math.floor(i / 3)]!),
      );
      const rounding = 1e-3; // of level / 255 * 255
      expect(Math.max(...off), "greatest deviation").to.be.at.most(TOLERANCE[within].most + rounding);
      expect(off.reduce((a, b) => a + b) / off.length, "mean deviation").to.be.at.most(
        TOLERANCE[within].mean + rounding,
      );
    });
  }
});
