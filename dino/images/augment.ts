/**
 * The random views of DINO: two global crops and several local crops of each image, randomly turned, flipped,
 * color-jittered, blurred and solarized. Drawing the parameters of a crop and applying them are separate, so that parameters can be
 * stored, compared, or applied elsewhere.
 */
import { rng, type RandomKey, type Rng } from "../math/random.js";
import { gaussianBlur } from "./blur.js";
import { contentMeasure, drawWithContent } from "./content.js";
import {
  adjustBrightness,
  adjustContrast,
  adjustHue,
  adjustSaturation,
  flip,
  flipVertical,
  grayscale,
  normalize,
  normalizeTable,
  resize,
  resizedCenterCrop,
  resizedCrop,
  roundHalfEven,
  solarize,
  type Box,
  type Image,
  type Normalization,
  type Size,
} from "./pixels.js";
import { cutWindow, turnBack, turnedSize, turnInside, type Window } from "./turned-window.js";

/** The three recipes of the official code: they differ in size, scale, blur and solarization. */
export type CropKind = "global1" | "global2" | "local";

/** Parameters of the distribution of crops. Probabilities are 0 to 1; sizes need not be square. */
export interface AugmentOptions extends Normalization {
  /**
   * Whether the channels are red, green and blue. If not, each channel is changed in brightness and contrast on its own, and
   * saturation, hue and grayscale have to be 0.
   */
  readonly isRgb: boolean;
  readonly globalSize: Size;
  readonly localSize: Size;
  /** Local crops per image, besides the two global crops. */
  readonly localCrops: number;
  /** Area of global crops relative to the image: [lowest, highest]. */
  readonly globalScale: readonly [number, number];
  /** Area of local crops relative to the image: [lowest, highest]. */
  readonly localScale: readonly [number, number];
  /** Aspect ratio (width / height) of a crop before resizing: [lowest, highest], drawn log-uniformly. */
  readonly ratio: readonly [number, number];
  /** A crop with a lower share of content, as `contentMeasure` measures it, is drawn again; 0 takes every crop. */
  readonly minContent: number;
  readonly flipProbability: number;
  readonly flipVerticalProbability: number;
  /** Probability of a turn by 90, 180 or 270 degrees, each as likely. */
  readonly quarterTurnProbability: number;
  /** The angle is drawn from -rotation to rotation, in degrees, and added to the quarter turns; at most 180. */
  readonly rotation: number;
  readonly jitterProbability: number;
  /** The factor is drawn from 1 - strength (at least 0) to 1 + strength; 0 disables the adjustment, here and below. */
  readonly brightness: number;
  readonly contrast: number;
  readonly saturation: number;
  /** The hue shift is drawn from -hue to hue, in turns of the color circle; at most 0.5. */
  readonly hue: number;
  readonly grayscaleProbability: number;
  readonly blurProbability: Readonly<Record<CropKind, number>>;
  /** Standard deviation of the blur in pixels of the crop: [lowest, highest]. */
  readonly blurRadius: readonly [number, number];
  readonly solarizeProbability: Readonly<Record<CropKind, number>>;
  /** Solarization inverts 8-bit values from this one on. */
  readonly solarizeThreshold: number;
}

/** Mean and standard deviation of ImageNet. */
export const imageNet: Normalization = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

/** DataAugmentationDINO of the official main_dino.py with its default arguments. */
export const officialAugmentation: AugmentOptions = {
  isRgb: true,
  globalSize: { rows: 224, cols: 224 },
  localSize: { rows: 96, cols: 96 },
  localCrops: 8,
  globalScale: [0.4, 1],
  localScale: [0.05, 0.4],
  ratio: [3 / 4, 4 / 3],
  minContent: 0,
  flipProbability: 0.5,
  flipVerticalProbability: 0,
  quarterTurnProbability: 0,
  rotation: 0,
  jitterProbability: 0.8,
  brightness: 0.4,
  contrast: 0.4,
  saturation: 0.2,
  hue: 0.1,
  grayscaleProbability: 0.2,
  blurProbability: { global1: 1, global2: 0.1, local: 0.5 },
  blurRadius: [0.1, 2],
  solarizeProbability: { global1: 0, global2: 0.2, local: 0 },
  solarizeThreshold: 128,
  ...imageNet,
};

/** One color adjustment. For hue, the factor is the shift; for the others, 1 changes nothing. */
export interface Jitter {
  readonly adjust: "brightness" | "contrast" | "saturation" | "hue";
  readonly factor: number;
  /** The channel that is changed, in brightness or contrast; all if left out. */
  readonly channel?: number;
}

/** Parameters of one crop, in the order of application. Plain data that survives JSON. */
export interface CropParameters extends Window {
  /** The window cut out of the image is resized to this size, bicubic. */
  readonly size: Size;
  readonly flip: boolean;
  readonly flipVertical: boolean;
  /** Color adjustments, in order. */
  readonly jitter: readonly Jitter[];
  readonly grayscale: boolean;
  /** Standard deviation of the blur in pixels of the crop; null for none. */
  readonly blurRadius: number | null;
  readonly solarizeThreshold: number | null;
}

/**
 * Draws the parameters of all crops of an image: global 1, global 2, then the local crops. Each crop has its own random
 * stream, so that the number of local crops does not affect other draws, and so has each further attempt at a crop with
 * too little content.
 */
export function drawCrops(
  options: AugmentOptions,
  key: Pick<RandomKey, "seed" | "epoch" | "index">,
  image: Image,
): CropParameters[] {
  const contentOf = options.minContent > 0 ? contentMeasure(image) : () => 1;
  return Array.from({ length: 2 + options.localCrops }, (_, crop) => {
    const kind = crop === 0 ? "global1" : crop === 1 ? "global2" : "local";
    const draw = (attempt: number): CropParameters => {
      const purpose = attempt === 0 ? `crop ${crop}` : `crop ${crop}, attempt ${attempt}`;
      return drawCrop(options, kind, { ...key, purpose }, image);
    };
    return drawWithContent(draw, options.minContent, contentOf);
  });
}

/**
 * Draws the parameters of one crop from the distributions of the official code and torchvision 0.14. Turns and vertical
 * flips, which the official code lacks, have a random stream of their own, so that they do not affect other draws.
 */
export function drawCrop(options: AugmentOptions, kind: CropKind, key: RandomKey, image: Size): CropParameters {
  const random = rng(key);
  const turns = drawTurns(options, rng({ ...key, purpose: `${key.purpose}, turned` }));
  const [scale, size] =
    kind === "local" ? [options.localScale, options.localSize] : [options.globalScale, options.globalSize];
  return {
    ...drawWindow(scale, options.ratio, turns, random, image),
    size,
    flip: random.uniform() < options.flipProbability,
    flipVertical: turns.flipVertical,
    jitter: random.uniform() < options.jitterProbability ? drawJitter(options, random) : [],
    grayscale: random.uniform() < options.grayscaleProbability,
    blurRadius: random.uniform() < options.blurProbability[kind] ? random.uniformIn(...options.blurRadius) : null,
    solarizeThreshold: random.uniform() < options.solarizeProbability[kind] ? options.solarizeThreshold : null,
  };
}

interface Turns {
  readonly flipVertical: boolean;
  readonly quarters: number;
  /** In degrees, besides the quarters. */
  readonly rotation: number;
}

/** Draws the same numbers whatever the options, so that none affects the others. */
function drawTurns(options: AugmentOptions, random: Rng): Turns {
  const [vertical, turned, quarters] = [random.uniform(), random.uniform(), 1 + random.integer(3)];
  return {
    flipVertical: vertical < options.flipVerticalProbability,
    quarters: turned < options.quarterTurnProbability ? quarters : 0,
    rotation: options.rotation === 0 ? 0 : random.uniformIn(-options.rotation, options.rotation),
  };
}

/** Draws a window of the image turned by quarters, and turns it by the rest of the angle. */
function drawWindow(
  scale: readonly [number, number],
  ratio: readonly [number, number],
  { quarters, rotation }: Turns,
  random: Rng,
  image: Size,
): Window {
  const turned = turnedSize(image, quarters);
  const box = drawBox(scale, ratio, random, turned);
  const inside = rotation === 0 ? box : turnInside(box, rotation, turned);
  return {
    box: quarters === 0 ? inside : turnBack(inside, quarters, image),
    angle: 90 * quarters + rotation,
  };
}

/**
 * Draws a window of random area and aspect ratio; if ten attempts do not fit, returns the largest central window of an
 * allowed ratio. Source: torchvision's RandomResizedCrop.
 */
function drawBox(
  scale: readonly [number, number],
  ratio: readonly [number, number],
  random: Rng,
  { rows, cols }: Size,
): Box {
  for (let attempt = 0; attempt < 10; attempt++) {
    const area = rows * cols * random.uniformIn(...scale);
    const shape = Math.exp(random.uniformIn(Math.log(ratio[0]), Math.log(ratio[1])));
    const width = roundHalfEven(Math.sqrt(area * shape));
    const height = roundHalfEven(Math.sqrt(area / shape));
    if (width > 0 && width <= cols && height > 0 && height <= rows) {
      return { top: random.integer(rows - height + 1), left: random.integer(cols - width + 1), height, width };
    }
  }
  const height = cols / rows < ratio[0] ? Math.min(roundHalfEven(cols / ratio[0]), rows) : rows;
  const width = cols / rows > ratio[1] ? Math.min(roundHalfEven(rows * ratio[1]), cols) : cols;
  return { top: Math.floor((rows - height) / 2), left: Math.floor((cols - width) / 2), height, width };
}

/** Draws the four adjustments in random order, without those of strength 0. Source: torchvision's ColorJitter. */
function drawJitter(options: AugmentOptions, random: Rng): Jitter[] {
  const { isRgb, brightness, contrast, saturation, hue } = options;
  if (!isRgb) return drawChannelJitter(options, random);
  const around = factorAround(random);
  const order = random.permutation(4);
  const all = [
    { adjust: "brightness", strength: brightness, factor: around(brightness) },
    { adjust: "contrast", strength: contrast, factor: around(contrast) },
    { adjust: "saturation", strength: saturation, factor: around(saturation) },
    { adjust: "hue", strength: hue, factor: random.uniformIn(-hue, hue) },
  ] as const;
  return Array.from(order, (i) => all[i]!)
    .filter(({ strength }) => strength > 0)
    .map(({ adjust, factor }) => ({ adjust, factor }));
}

/** Draws brightness and contrast of each channel, in random order, without those of strength 0. */
function drawChannelJitter({ brightness, contrast, mean }: AugmentOptions, random: Rng): Jitter[] {
  const around = factorAround(random);
  return mean.flatMap((_, channel) => {
    const all = [
      { adjust: "brightness", strength: brightness, factor: around(brightness) },
      { adjust: "contrast", strength: contrast, factor: around(contrast) },
    ] as const;
    const ordered = random.integer(2) === 0 ? all : all.toReversed();
    return ordered.filter(({ strength }) => strength > 0).map(({ adjust, factor }) => ({ adjust, factor, channel }));
  });
}

function factorAround(random: Rng): (strength: number) => number {
  return (strength) => random.uniformIn(Math.max(0, 1 - strength), 1 + strength);
}

/**
 * Makes one crop without normalizing it: [image.rows, image.cols, channels] -> [size.rows, size.cols, channels], 8 bits
 * after every stage.
 */
export function applyCropU8(image: Image, parameters: CropParameters): Image {
  const { box, angle, size } = parameters;
  const crop = angle === 0 ? resizedCrop(image, box, size) : resize(cutWindow(image, parameters), size);
  if (parameters.flip) flip(crop);
  if (parameters.flipVertical) flipVertical(crop);
  for (const { adjust, factor, channel } of parameters.jitter) adjusters[adjust](crop, factor, channel);
  if (parameters.grayscale) grayscale(crop);
  if (parameters.blurRadius !== null) gaussianBlur(crop, parameters.blurRadius);
  if (parameters.solarizeThreshold !== null) solarize(crop, parameters.solarizeThreshold);
  return crop;
}

/** Makes one normalized crop: [image.rows, image.cols, channels] -> [channels, size.rows, size.cols]. */
export function applyCrop(
  image: Image,
  parameters: CropParameters,
  normalization: Normalization = imageNet,
): Float32Array {
  return normalize(applyCropU8(image, parameters), normalizeTable(normalization));
}

/** Parameters of the training crops of linear evaluation. */
export interface ProbeCropOptions extends Normalization {
  readonly size: Size;
  /** Area of the crop as a share of the image: [lowest, highest]. */
  readonly scale: readonly [number, number];
  readonly flipProbability: number;
}

/** torchvision's defaults, which eval_linear.py uses. */
export const officialProbeCrop = { scale: [0.08, 1], ratio: [3 / 4, 4 / 3], flipProbability: 0.5 } as const;

/**
 * Makes a training crop of linear evaluation: RandomResizedCrop (bilinear, unlike the crops of DINO) and
 * RandomHorizontalFlip of eval_linear.py, normalized; -> [channels, size.rows, size.cols].
 */
export function probeCrop(
  image: Image,
  { size, scale, flipProbability, ...normalization }: ProbeCropOptions,
  random: Rng,
): Float32Array {
  const crop = resizedCrop(image, drawBox(scale, officialProbeCrop.ratio, random, image), size, "bilinear");
  if (random.uniform() < flipProbability) flip(crop);
  return normalize(crop, normalizeTable(normalization));
}

/**
 * Makes the view used for evaluation: resizes the shorter side to `resize` pixels, cuts out the central `crop` and
 * normalizes; -> [channels, crop.rows, crop.cols]. The official eval_knn.py uses 256 and 224 x 224. Throws if the crop does
 * not fit.
 */
export function evalCrop(
  image: Image,
  { resize: shortSide, crop, ...normalization }: { readonly resize: number; readonly crop: Size } & Normalization,
): Float32Array {
  return normalize(resizedCenterCrop(image, shortSide, crop), normalizeTable(normalization));
}

const adjusters = {
  brightness: adjustBrightness,
  contrast: adjustContrast,
  saturation: adjustSaturation,
  hue: adjustHue,
} satisfies Record<Jitter["adjust"], (image: Image, factor: number, channel?: number) => void>;

/** Throws for the first invalid option, naming it. */
export function checkAugmentOptions(options: AugmentOptions): void {
  const expect = (holds: boolean, name: keyof AugmentOptions, expected: string): void => {
    if (!holds) throw new Error(`augment ${name}: expected ${expected}, got ${JSON.stringify(options[name])}`);
  };
  const isSize = ({ rows, cols }: Size): boolean =>
    Number.isInteger(rows) && Number.isInteger(cols) && rows > 0 && cols > 0;
  const isRange = ([low, high]: readonly [number, number]): boolean => low > 0 && low <= high && high < Infinity;
  const isProbability = (p: number): boolean => p >= 0 && p <= 1;

  for (const name of ["globalSize", "localSize"] as const) expect(isSize(options[name]), name, "whole rows and cols");
  for (const name of ["globalScale", "localScale", "ratio", "blurRadius"] as const) {
    expect(isRange(options[name]), name, "[lowest, highest] above 0");
  }
  const probabilities = [
    ...(["flipProbability", "flipVerticalProbability", "quarterTurnProbability"] as const),
    ...(["jitterProbability", "grayscaleProbability"] as const),
  ];
  for (const name of probabilities) {
    expect(isProbability(options[name]), name, "0 to 1");
  }
  for (const name of ["blurProbability", "solarizeProbability"] as const) {
    expect(Object.values(options[name]).every(isProbability), name, "0 to 1 for each kind of crop");
  }
  for (const name of ["brightness", "contrast", "saturation"] as const) expect(options[name] >= 0, name, "0 or more");
  expect(isProbability(options.minContent), "minContent", "0 to 1");
  expect(options.rotation >= 0 && options.rotation <= 180, "rotation", "0 to 180");
  expect(options.hue >= 0 && options.hue <= 0.5, "hue", "0 to 0.5");
  expect(Number.isInteger(options.localCrops) && options.localCrops >= 0, "localCrops", "0, 1, 2, ...");
  const { isRgb, mean, std } = options;
  expect(mean.length >= 1 && (!isRgb || mean.length === 3), "mean", isRgb ? "three numbers" : "a number per channel");
  expect(std.length === mean.length && std.every((value) => value > 0), "std", `${mean.length} numbers above 0`);
  if (!isRgb) {
    for (const name of ["saturation", "hue", "grayscaleProbability"] as const)
      expect(options[name] === 0, name, "0 for channels other than red, green and blue");
  }
}
