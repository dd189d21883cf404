/** Cropping on the device: from decoded pixels to normalized crops in five dispatches per size. */
import {
  constant,
  type Device,
  elementGrid,
  grid,
  input,
  type Input,
  kernel,
  record,
  sizeOf,
  type Tensor,
  transient,
} from "../../engine/index.js";
import type { CropParameters, Jitter } from "../images/augment.js";
import type { Normalization, Size } from "../images/pixels.js";
import { windowMap } from "../images/turned-window.js";
import { type CropLayout, cropPosition } from "./crop-layout.js";

const resizing = kernel("crop-resize", {
  reads: ["pixels", "parameters"],
  writes: ["levels"],
  constants: ["PIXELS", "ROWS", "COLS"],
});
const averaging = kernel("crop-means", { reads: ["levels", "parameters"], writes: ["means"], constants: ["PIXELS"] });
const colouring = kernel("crop-colours", {
  reads: ["parameters", "means"],
  writes: [],
  updates: ["levels"],
  constants: ["PIXELS"],
});
const blurring = kernel("crop-blur", {
  reads: ["levels", "parameters", "mean", "spread"],
  writes: ["out"],
  constants: ["ROWS", "COLS", "LAST"],
});

/** Number of values per crop; their order is that of `crop-parameters.wgsl`. */
const PARAMETERS = 22;
const ADJUSTMENTS = ["brightness", "contrast", "saturation", "hue"] as const satisfies readonly Jitter["adjust"][];
/** Threshold above every value, so that none is inverted. */
const NO_SOLARIZING = 256;

/** Crops of one size, made by the same dispatches. */
export interface CropGroup {
  /** Crops per image. */
  readonly crops: number;
  /** Output of the normalized crops, [crops * pictures, 3, rows, cols], each at its `cropPosition`. */
  readonly out: Tensor;
}

export interface CropMakerOptions extends Normalization {
  /** Images per batch. */
  readonly pictures: number;
  /** Number of equal parts into which the crops of a batch are arranged: 1 if left out. */
  readonly parts?: number;
  /** Maximum pixels per image. */
  readonly pixelsPerPicture: number;
  readonly groups: readonly CropGroup[];
}

/** Makes the crops of a batch on the device. Dispose of it to free its memory. */
export interface CropMaker extends Disposable {
  /**
   * Uploads a batch: pixels packed by `packPixels` (pixels.ts), [pictures, pixelsPerPicture], and for each image its
   * size and crop parameters, those of the first group first. Throws for wrong sizes.
   */
  write(pixels: Uint32Array, pictures: readonly CroppedPicture[]): void;
  /** Makes the crops in the groups' tensors, for any later submission. */
  run(): Promise<void>;
  readonly dispatches: number;
}

export interface CroppedPicture extends Size {
  readonly crops: readonly CropParameters[];
}

/**
 * Records the transforms of main_dino.py, 8 bits after each stage, but with a true Gaussian blur where Pillow uses
 * three box blurs. `applyCrop` is the exact reference.
 */
export async function createCropMaker(device: Device, options: CropMakerOptions): Promise<CropMaker> {
  const { pictures, parts = 1, pixelsPerPicture, groups, mean, std } = options;
  const pixels = input(device, [pictures, pixelsPerPicture], { dtype: "u32", label: "pictures" });
  const parameters = groups.map(({ crops }) =>
    input(device, [crops * pictures, PARAMETERS], { label: "crop parameters" }),
  );
  const program = await record(device, () => {
    const channels = { mean: constant([3], mean, { label: "mean" }), std: constant([3], std, { label: "std" }) };
    groups.forEach(({ out }, i) => makeCrops({ pixels, parameters: parameters[i]!, ...channels }, out));
    return {};
  });
  return {
    write(words, described) {
      if (words.length !== sizeOf(pixels.shape) || described.length !== pictures) {
        throw new Error(
          `crops: expected ${pictures} pictures of ${pixelsPerPicture} pixels, got ${described.length} and ${words.length} pixels in all`,
        );
      }
      pixels.write(words);
      let first = 0;
      groups.forEach(({ crops }, i) => {
        const layout = { crops, images: pictures, parts };
        parameters[i]!.write(packParameters(described, first, layout));
        first += crops;
      });
    },
    run: () => program.run(),
    dispatches: program.dispatches,
    [Symbol.dispose]() {
      for (const x of [program, pixels, ...parameters]) x[Symbol.dispose]();
    },
  };
}

interface Sources {
  readonly pixels: Input;
  readonly parameters: Tensor;
  readonly mean: Tensor;
  readonly std: Tensor;
}

function makeCrops({ pixels, parameters, mean, std }: Sources, out: Tensor): void {
  const [crops, , ROWS, COLS] = out.shape as readonly [number, number, number, number];
  const size: Size = { rows: ROWS, cols: COLS };
  const each = { PIXELS: size.rows * size.cols };
  const all = sizeOf(out.shape);
  const levels = transient(out.shape);
  const means = transient([crops]);
  const blurred = transient(out.shape);
  const [, PIXELS] = pixels.shape as readonly [number, number];
  resizing({ pixels, parameters, levels }, { PIXELS, ROWS, COLS }, elementGrid(all / 3));
  averaging({ levels, parameters, means }, each, grid(crops));
  colouring({ parameters, means, levels }, each, elementGrid(all / 3));
  blurring({ levels, parameters, mean, spread: std, out: blurred }, { ROWS, COLS, LAST: 0 }, elementGrid(all));
  blurring({ levels: blurred, parameters, mean, spread: std, out }, { ROWS, COLS, LAST: 1 }, elementGrid(all));
}

/**
 * Packs the parameters of `layout.crops` crops per image, from crop `first` on, in the order of the layout: [crops *
 * pictures, PARAMETERS].
 */
function packParameters(pictures: readonly CroppedPicture[], first: number, layout: CropLayout): Float32Array {
  const packed = new Float32Array(layout.crops * layout.images * PARAMETERS);
  for (let crop = 0; crop < layout.crops; crop++) {
    pictures.forEach(({ rows, cols, crops }, slot) => {
      const drawn = crops[first + crop]!;
      const { box, flip, flipVertical, jitter, grayscale, blurRadius, solarizeThreshold } = drawn;
      const { left, top, cos, sin } = windowMap(drawn);
      const change = (n: number) => (jitter[n] ? 1 + ADJUSTMENTS.indexOf(jitter[n].adjust) : 0);
      const factor = (n: number) => jitter[n]?.factor ?? 0;
      packed.set(
        [
          ...[slot, rows, cols, top, left, box.height, box.width, cos, sin],
          ...[flip ? 1 : 0, flipVertical ? 1 : 0],
          ...[0, 1, 2, 3].map(change),
          ...[0, 1, 2, 3].map(factor),
          ...[grayscale ? 1 : 0, blurRadius ?? 0, solarizeThreshold ?? NO_SOLARIZING],
        ],
        cropPosition(layout, crop, slot) * PARAMETERS,
      );
    });
  }
  return packed;
}
