/** Cropping on the device: from decoded pixels to normalized crops in five dispatches per size, four for other channels than colors. */
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
import { type Normalization, packedWords, type Size } from "../images/pixels.js";
import { windowMap } from "../images/turned-window.js";
import { type CropLayout, cropPosition } from "./crop-layout.js";

const resizing = kernel("crop-resize", {
  reads: ["pixels", "parameters"],
  writes: ["levels"],
  constants: ["PIXELS", "CHANNELS", "ROWS", "COLS"],
});
const averaging = kernel("crop-means", { reads: ["levels", "parameters"], writes: ["means"], constants: ["PIXELS"] });
const colouring = kernel("crop-colours", {
  reads: ["parameters", "means"],
  writes: [],
  updates: ["levels"],
  constants: ["PIXELS"],
});
const channelChanging = kernel("crop-channels", {
  reads: ["changes"],
  writes: [],
  updates: ["levels"],
  constants: ["PIXELS"],
});
const blurring = kernel("crop-blur", {
  reads: ["levels", "parameters", "mean", "spread"],
  writes: ["out"],
  constants: ["CHANNELS", "ROWS", "COLS", "LAST"],
});

/** Number of values per crop; their order is that of `crop-parameters.wgsl`. */
const PARAMETERS = 22;
/** Number of values per channel of a crop; their order is that of `crop-channels.wgsl`. */
const CHANGES = 3;
const ADJUSTMENTS = ["brightness", "contrast", "saturation", "hue"] as const satisfies readonly Jitter["adjust"][];
/** Threshold above every value, so that none is inverted. */
const NO_SOLARIZING = 256;

/** Crops of one size, made by the same dispatches. */
export interface CropGroup {
  /** Crops per image. */
  readonly crops: number;
  /** Output of the normalized crops, [crops * pictures, channels, rows, cols], each at its `cropPosition`. */
  readonly out: Tensor;
}

export interface CropMakerOptions extends Normalization {
  /** Whether the channels are red, green and blue, as in `AugmentOptions`; true if left out. */
  readonly isRgb?: boolean;
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
   * Uploads a batch: pixels packed by `packPixels` (pixels.ts), [pictures, words of a pixel, pixelsPerPicture], and for each image its
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
  const { pictures, parts = 1, pixelsPerPicture, groups, isRgb = true, mean, std } = options;
  const channels = mean.length;
  const words = packedWords(channels);
  const pixels = input(device, [pictures, words, pixelsPerPicture], { dtype: "u32", label: "pictures" });
  const inputs = groups.map(({ crops }) => {
    const rows = crops * pictures;
    const parameters = input(device, [rows, PARAMETERS], { label: "crop parameters" });
    return isRgb
      ? { parameters }
      : { parameters, changes: input(device, [rows, channels, CHANGES], { label: "changes of channels" }) };
  });
  const program = await record(device, () => {
    const normalization = {
      mean: constant([channels], mean, { label: "mean" }),
      std: constant([channels], std, { label: "std" }),
    };
    groups.forEach(({ out }, i) => makeCrops({ pixels, ...inputs[i]!, ...normalization }, out));
    return {};
  });
  return {
    write(packed, described) {
      if (packed.length !== sizeOf(pixels.shape) || described.length !== pictures) {
        throw new Error(
          `crops: expected ${pictures} pictures of ${pixelsPerPicture} pixels, got ${described.length} and ${packed.length} words in all`,
        );
      }
      pixels.write(packed);
      let first = 0;
      groups.forEach(({ crops }, i) => {
        const layout = { crops, images: pictures, parts };
        const { parameters, changes } = inputs[i]!;
        parameters.write(packParameters(described, first, layout));
        changes?.write(packChanges(described, first, layout, channels));
        first += crops;
      });
    },
    run: () => program.run(),
    dispatches: program.dispatches,
    [Symbol.dispose]() {
      for (const x of [program, pixels]) x[Symbol.dispose]();
      for (const { parameters, changes } of inputs) {
        parameters[Symbol.dispose]();
        changes?.[Symbol.dispose]();
      }
    },
  };
}

interface Sources {
  readonly pixels: Input;
  readonly parameters: Tensor;
  /** Of channels that are not colors. */
  readonly changes?: Tensor;
  readonly mean: Tensor;
  readonly std: Tensor;
}

function makeCrops({ pixels, parameters, changes, mean, std }: Sources, out: Tensor): void {
  const [crops, CHANNELS, ROWS, COLS] = out.shape as readonly [number, number, number, number];
  const size: Size = { rows: ROWS, cols: COLS };
  const each = { PIXELS: size.rows * size.cols };
  const all = sizeOf(out.shape);
  const levels = transient(out.shape);
  const blurred = transient(out.shape);
  const [, words, PIXELS] = pixels.shape as readonly [number, number, number];
  const sizes = { CHANNELS, ROWS, COLS };
  resizing({ pixels, parameters, levels }, { PIXELS, ...sizes }, elementGrid(crops * words * each.PIXELS));
  if (changes) channelChanging({ changes, levels }, each, grid(crops * CHANNELS));
  else {
    const means = transient([crops]);
    averaging({ levels, parameters, means }, each, grid(crops));
    colouring({ parameters, means, levels }, each, elementGrid(all / 3));
  }
  blurring({ levels, parameters, mean, spread: std, out: blurred }, { ...sizes, LAST: 0 }, elementGrid(all));
  blurring({ levels: blurred, parameters, mean, spread: std, out }, { ...sizes, LAST: 1 }, elementGrid(all));
}

/**
 * Packs the changes of each channel of `layout.crops` crops per image, as `packParameters` does: [crops * pictures, channels,
 * CHANGES].
 */
function packChanges(
  pictures: readonly CroppedPicture[],
  first: number,
  layout: CropLayout,
  channels: number,
): Float32Array {
  const packed = new Float32Array(layout.crops * layout.images * channels * CHANGES);
  for (let crop = 0; crop < layout.crops; crop++) {
    pictures.forEach(({ crops }, slot) => {
      const { jitter } = crops[first + crop]!;
      for (let channel = 0; channel < channels; channel++) {
        const own = jitter.filter((change) => change.channel === channel);
        const factorOf = (adjust: Jitter["adjust"]) => own.find((change) => change.adjust === adjust)?.factor ?? 1;
        packed.set(
          [own[0]?.adjust === "contrast" ? 1 : 0, factorOf("brightness"), factorOf("contrast")],
          (cropPosition(layout, crop, slot) * channels + channel) * CHANGES,
        );
      }
    });
  }
  return packed;
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
