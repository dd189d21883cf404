/** The golden augmentation, for every pipeline that is compared with it. */
import type { CropParameters, Jitter } from "../../dino/images/augment.js";
import type { Box, Image, Normalization, Size } from "../../dino/images/pixels.js";
import { golden } from "./golden.js";

/** One line of augment.json: what is done to the picture, and the tensor that holds the result. */
export type Operation = { readonly out: string } & (
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

/** The file, and the picture that all operations start from. */
export const cases = golden.json<{ readonly image: string; readonly ops: readonly Operation[] }>("augment");
export const stored = golden.tensors("augment");
const [rows, cols] = stored.shape(cases.image) as [number, number, number];
export const image: Image = { rows, cols, pixels: stored.u8(cases.image) };

/** A whole chain of operations as the parameters of one crop. */
export function chainParameters(chain: Extract<Operation, { readonly op: "chain" }>): CropParameters {
  const [top, left, height, width, size] = chain.box;
  return {
    box: { top, left, height, width },
    angle: 0,
    size: square(size),
    flip: chain.flip,
    flipVertical: false,
    jitter: chain.jitter.map(([adjust, factor]) => ({ adjust, factor })),
    grayscale: chain.gray,
    blurRadius: chain.blur,
    solarizeThreshold: chain.sol,
  };
}

export function square(side: number): Size {
  return { rows: side, cols: side };
}
