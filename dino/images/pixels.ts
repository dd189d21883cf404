/**
 * 8-bit image operations, bit-identical to Pillow 9.4 and torchvision 0.14 on the CPU. Resizing and cropping create a
 * new image; all other operations work in place.
 */

/** Rows (height) and columns (width), in pixels. */
export interface Size {
  readonly rows: number;
  readonly cols: number;
}

/** An image with 8 bits per channel: red, green and blue, unless training or a model takes others. */
export interface Image extends Size {
  /** [rows, cols, channels] */
  readonly pixels: Uint8Array;
}

/** Returns the number of channels of an image. */
export function channelsOf({ rows, cols, pixels }: Image): number {
  return pixels.length / (rows * cols);
}

/** Maximum number of pixels to decode: twice the number at which PIL warns, where PIL refuses. They take 512 MiB. */
export const MAX_PIXELS = 178_956_970;

/** Maximum number of channels of an image. */
export const MAX_CHANNELS = 256;

/** A window of an image, in pixels from its upper left corner. */
export interface Box {
  readonly top: number;
  readonly left: number;
  readonly height: number;
  readonly width: number;
}

/** Resampling filter; "bicubic" has the coefficient -0.5, unlike torch's -0.75. */
export type Filter = "bicubic" | "bilinear" | "lanczos";

/** Copies an image. */
export function copyImage({ rows, cols, pixels }: Image): Image {
  return { rows, cols, pixels: pixels.slice() };
}

/**
 * Crops and resizes an image: [rows, cols, channels] -> [size.rows, size.cols, channels]. Pixels outside the box have no influence.
 * Throws if the box exceeds the image. Source: Pillow's Resample.c; torchvision's resized_crop.
 */
export function resizedCrop(image: Image, box: Box, size: Size, filter: Filter = "bicubic"): Image {
  checkBox("resizedCrop", image, box);
  const narrowed = resampleCols(image, box, size.cols, filter);
  return resampleRows(narrowed, size.rows, filter);
}

/** Resizes an image, ignoring its aspect ratio: [rows, cols, channels] -> [size.rows, size.cols, channels]. */
export function resize(image: Image, size: Size, filter: Filter = "bicubic"): Image {
  return resizedCrop(image, { top: 0, left: 0, height: image.rows, width: image.cols }, size, filter);
}

/** Returns the size of an image whose shorter side is resized to `pixels`; the longer side is rounded down. */
export function shortSideSize({ rows, cols }: Size, pixels: number): Size {
  const long = Math.floor((pixels * Math.max(rows, cols)) / Math.min(rows, cols));
  return rows < cols ? { rows: pixels, cols: long } : { rows: long, cols: pixels };
}

/**
 * Returns the size of an image shrunk so that its longer side has at most `side` pixels, with the aspect ratio kept as
 * well as integer sizes allow, like Pillow's `thumbnail`. Smaller images keep their size.
 */
export function sizeWithin({ rows, cols }: Size, side: number): Size {
  if (Math.max(rows, cols) <= side) return { rows, cols };
  const shape = Math.min(rows, cols) / Math.max(rows, cols);
  const [below, above] = [Math.floor(side * shape), Math.ceil(side * shape)];
  // Pillow compares cols / rows, whichever of the two is the shorter.
  const miss = (short: number): number =>
    short === 0 ? 0 : rows >= cols ? Math.abs(cols / rows - short / side) : Math.abs(cols / rows - side / short);
  const short = Math.max(1, miss(above) < miss(below) ? above : below);
  return rows >= cols ? { rows: side, cols: short } : { rows: short, cols: side };
}

/** Crops the center. Throws if the crop is larger than the image. Source: torchvision's CenterCrop. */
export function centerCrop(image: Image, size: Size): Image {
  return resizedCrop(image, centerBox(image, size), size);
}

/**
 * Resizes the shorter side to `pixels` and crops the center: equals `resize` to `shortSideSize` and `centerCrop`, but
 * computes only the pixels that the crop keeps, however long the image is. Throws if the crop is larger than the resized image.
 */
export function resizedCenterCrop(image: Image, pixels: number, size: Size, filter: Filter = "bicubic"): Image {
  const whole = shortSideSize(image, pixels);
  const { top, left, height, width } = centerBox(whole, size);
  const all = { top: 0, left: 0, height: image.rows, width: image.cols };
  const narrowed = resampleCols(image, all, whole.cols, filter, { start: left, end: left + width });
  return resampleRows(narrowed, whole.rows, filter, { start: top, end: top + height });
}

function centerBox(image: Size, size: Size): Box {
  if (size.rows > image.rows || size.cols > image.cols) {
    throw new Error(
      `centerCrop: expected an image of at least [${size.rows}, ${size.cols}], got [${image.rows}, ${image.cols}]; resize it to more first`,
    );
  }
  const top = roundHalfEven((image.rows - size.rows) / 2);
  const left = roundHalfEven((image.cols - size.cols) / 2);
  return { top, left, height: size.rows, width: size.cols };
}

/** Flips an image horizontally. */
export function flip(image: Image): void {
  const { rows, cols, pixels } = image;
  const channels = channelsOf(image);
  for (let row = 0; row < rows; row++) {
    let left = row * cols * channels;
    let right = left + (cols - 1) * channels;
    for (; left < right; left += channels, right -= channels) {
      for (let channel = 0; channel < channels; channel++) {
        const kept = pixels[left + channel]!;
        pixels[left + channel] = pixels[right + channel]!;
        pixels[right + channel] = kept;
      }
    }
  }
}

/** Flips an image vertically. */
export function flipVertical({ rows, pixels }: Image): void {
  const stride = pixels.length / rows;
  for (let upper = 0, lower = (rows - 1) * stride; upper < lower; upper += stride, lower -= stride) {
    const kept = pixels.slice(upper, upper + stride);
    pixels.copyWithin(upper, lower, lower + stride);
    pixels.set(kept, lower);
  }
}

/** Blends all channels, or one, with black: factor 0 is black, 1 changes nothing. */
export function adjustBrightness(image: Image, factor: number, channel?: number): void {
  if (factor !== 1) lookUp(image, blendTable(0, factor), channel);
}

/**
 * Blends all channels with the mean luminance, or one with its mean, each rounded: factor 0 leaves no contrast, 1 changes
 * nothing.
 */
export function adjustContrast(image: Image, factor: number, channel?: number): void {
  if (factor === 1) return;
  const { rows, cols, pixels } = image;
  let sum = 0;
  if (channel === undefined) {
    for (let i = 0; i < pixels.length; i += 3) sum += luminance(pixels[i]!, pixels[i + 1]!, pixels[i + 2]!);
  } else {
    const channels = channelsOf(image);
    for (let i = channel; i < pixels.length; i += channels) sum += pixels[i]!;
  }
  lookUp(image, blendTable(Math.floor(sum / (rows * cols) + 0.5), factor), channel);
}

/** Blends each pixel with its luminance: factor 0 is grayscale, 1 changes nothing. */
export function adjustSaturation({ pixels }: Image, factor: number): void {
  if (factor === 1) return;
  const alpha = Math.fround(factor);
  for (let i = 0; i < pixels.length; i += 3) {
    const r = pixels[i]!;
    const g = pixels[i + 1]!;
    const b = pixels[i + 2]!;
    const gray = luminance(r, g, b);
    pixels[i] = blend(gray, r, alpha);
    pixels[i + 1] = blend(gray, g, alpha);
    pixels[i + 2] = blend(gray, b, alpha);
  }
}

/**
 * Shifts the hue by `factor` turns of the color circle, -0.5 to 0.5, through 8-bit HSV: a factor of 0 is not exactly
 * the identity. Source: Pillow's rgb2hsv and hsv2rgb in Convert.c.
 */
export function adjustHue({ pixels }: Image, factor: number): void {
  const turn = Math.trunc(factor * 255);
  for (let i = 0; i < pixels.length; i += 3) {
    const r = pixels[i]!;
    const g = pixels[i + 1]!;
    const b = pixels[i + 2]!;
    const high = r > g ? (r > b ? r : b) : g > b ? g : b;
    const low = r < g ? (r < b ? r : b) : g < b ? g : b;
    if (high === low) continue;

    const range = high - low;
    const saturation = Math.trunc(Math.fround(range / high) * 255);
    if (saturation === 0) {
      pixels[i] = pixels[i + 1] = pixels[i + 2] = high;
      continue;
    }
    const fromRed = Math.fround((high - r) / range);
    const fromGreen = Math.fround((high - g) / range);
    const fromBlue = Math.fround((high - b) / range);
    const sextant = Math.fround(
      r === high ? fromBlue - fromGreen : g === high ? 2 + fromRed - fromBlue : 4 + fromGreen - fromRed,
    );
    const turns = sextant / 6 + 1;
    const hue = (Math.trunc(Math.fround(turns >= 1 ? turns - 1 : turns) * 255) + turn) & 255;

    const sector = Math.trunc((hue * 6) / 255);
    const rest = Math.fround((hue * 6) / 255 - sector);
    const share = Math.fround(saturation / 255);
    const p = Math.trunc(high * (1 - share) + 0.5);
    const q = Math.trunc(high * (1 - Math.fround(share * rest)) + 0.5);
    const t = Math.trunc(high * (1 - share * (1 - rest)) + 0.5);
    pixels[i] = sector === 1 ? q : sector === 2 || sector === 3 ? p : sector === 4 ? t : high;
    pixels[i + 1] = sector === 0 || sector === 6 ? t : sector === 3 ? q : sector >= 4 ? p : high;
    pixels[i + 2] = sector === 2 ? t : sector === 5 ? q : sector === 3 || sector === 4 ? high : p;
  }
}

/** Sets all three channels to the luminance. */
export function grayscale({ pixels }: Image): void {
  for (let i = 0; i < pixels.length; i += 3) {
    pixels[i] = pixels[i + 1] = pixels[i + 2] = luminance(pixels[i]!, pixels[i + 1]!, pixels[i + 2]!);
  }
}

/** Inverts channel values at or above the threshold. */
export function solarize(image: Image, threshold: number): void {
  const table = new Uint8Array(256);
  for (let value = 0; value < 256; value++) table[value] = value < threshold ? value : 255 - value;
  lookUp(image, table);
}

/** Number of channels in a 32-bit word of `packPixels`. */
const PACKED = 3;

/** Returns the number of words per pixel of `packPixels`. */
export function packedWords(channels: number): number {
  return Math.ceil(channels / PACKED);
}

/**
 * Packs [rows, cols, channels] bytes into 32-bit words of three channels each, the first in the lowest bits: [words of a pixel,
 * stride], of which rows * cols are set, in `out` from `start` on.
 */
export function packPixels(image: Image, out: Uint32Array, start: number, stride: number): void {
  const { rows, cols, pixels } = image;
  const channels = channelsOf(image);
  for (let channel = 0; channel < channels; channel++) {
    const at = start + Math.floor(channel / PACKED) * stride;
    const shift = 8 * (channel % PACKED);
    if (shift === 0) out.fill(0, at, at + rows * cols);
    for (let i = channel, to = at; i < pixels.length; i += channels, to++) out[to]! |= pixels[i]! << shift;
  }
}

/** Mean and standard deviation per channel of pixel values divided by 255. */
export interface Normalization {
  /** [channels] */
  readonly mean: readonly number[];
  /** [channels] */
  readonly std: readonly number[];
}

/**
 * Returns the normalized value of every (channel, 8-bit value): [channels, 256], each (value / 255 - mean) / std, rounded to
 * f32 as torch does.
 */
export function normalizeTable({ mean, std }: Normalization): Float32Array {
  return Float32Array.from({ length: mean.length * 256 }, (_, i) => {
    const channel = i >> 8;
    const centered = Math.fround(Math.fround((i & 255) / 255) - Math.fround(mean[channel]!));
    return centered / Math.fround(std[channel]!);
  });
}

/** Normalizes an image to planes: [rows, cols, channels] -> [channels, rows, cols], in `out` from `offset` on. */
export function normalize(
  image: Image,
  table: Float32Array,
  out: Float32Array = new Float32Array(image.pixels.length),
  offset = 0,
): Float32Array {
  const { rows, cols, pixels } = image;
  const channels = channelsOf(image);
  const plane = rows * cols;
  for (let channel = 0; channel < channels; channel++) {
    let at = offset + channel * plane;
    for (let i = channel; i < pixels.length; i += channels, at++) out[at] = table[256 * channel + pixels[i]!]!;
  }
  return out;
}

/** Rounds to the nearest integer, halves to even, as Python does. */
export function roundHalfEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

function checkBox(who: string, image: Image, { top, left, height, width }: Box): void {
  const inside =
    top >= 0 && left >= 0 && height > 0 && width > 0 && top + height <= image.rows && left + width <= image.cols;
  if (!inside) {
    throw new Error(
      `${who}: expected a box within [${image.rows}, ${image.cols}], got top ${top}, left ${left}, height ${height}, width ${width}`,
    );
  }
}

const fractionBits = 22;
const half = 1 << (fractionBits - 1);

/** Output pixels from `start` to before `end`. */
interface Span {
  readonly start: number;
  readonly end: number;
}

/** Resizes the columns of a box and keeps a span: [rows, cols, channels] -> [box.height, span, channels]. */
function resampleCols(image: Image, box: Box, whole: number, filter: Filter, span = { start: 0, end: whole }): Image {
  const { pixels } = image;
  const { top, left, height, width } = box;
  const channels = channelsOf(image);
  const cols = span.end - span.start;
  const out = new Uint8Array(height * cols * channels);
  if (whole === width) {
    for (let y = 0; y < height; y++) {
      const start = ((top + y) * image.cols + left + span.start) * channels;
      out.set(pixels.subarray(start, start + cols * channels), y * cols * channels);
    }
    return { rows: height, cols, pixels: out };
  }
  const weights = filterWeights(width, whole, filter, span);
  const resampleRow = channels === 3 ? resampleRowOfColors : resampleRowOf(channels);
  for (let y = 0; y < height; y++) {
    const start = ((top + y) * image.cols + left) * channels;
    resampleRow(pixels, start, weights, out, y * cols * channels);
  }
  return { rows: height, cols, pixels: out };
}

/** Resizes a row that begins at `start` in `pixels` to one that begins at `o` in `out`. */
type ResampleRow = (pixels: Uint8Array, start: number, weights: FilterWeights, out: Uint8Array, o: number) => void;

function resampleRowOf(channels: number): ResampleRow {
  return (pixels, start, { first, count, weights, most }, out, o) => {
    for (let x = 0; x < first.length; x++) {
      const begin = x * most;
      const end = begin + count[x]!;
      for (let channel = 0; channel < channels; channel++) {
        let sum = half;
        for (let k = begin, p = start + first[x]! * channels + channel; k < end; k++, p += channels) {
          sum = (sum + Math.imul(pixels[p]!, weights[k]!)) | 0;
        }
        out[o + x * channels + channel] = clip8(sum >> fractionBits);
      }
    }
  };
}

/** The same for three channels, 1.6 times as fast. */
const resampleRowOfColors: ResampleRow = (pixels, start, { first, count, weights, most }, out, begin) => {
  for (let x = 0, o = begin; x < first.length; x++, o += 3) {
    const end = x * most + count[x]!;
    let r = half;
    let g = half;
    let b = half;
    let p = start + first[x]! * 3;
    for (let k = x * most; k < end; k++, p += 3) {
      const weight = weights[k]!;
      r = (r + Math.imul(pixels[p]!, weight)) | 0;
      g = (g + Math.imul(pixels[p + 1]!, weight)) | 0;
      b = (b + Math.imul(pixels[p + 2]!, weight)) | 0;
    }
    out[o] = clip8(r >> fractionBits);
    out[o + 1] = clip8(g >> fractionBits);
    out[o + 2] = clip8(b >> fractionBits);
  }
};

/** Resizes the rows of an image and keeps a span: [image.rows, cols, channels] -> [span, cols, channels]. */
function resampleRows(image: Image, whole: number, filter: Filter, span = { start: 0, end: whole }): Image {
  const { cols, pixels } = image;
  const stride = cols * channelsOf(image);
  const rows = span.end - span.start;
  if (whole === image.rows) {
    return rows === whole ? image : { rows, cols, pixels: pixels.slice(span.start * stride, span.end * stride) };
  }
  const out = new Uint8Array(rows * stride);
  const { first, count, weights, most } = filterWeights(image.rows, whole, filter, span);
  for (let y = 0, o = 0; y < rows; y++) {
    const begin = y * most;
    const end = begin + count[y]!;
    const start = first[y]! * stride;
    for (let x = 0; x < stride; x++, o++) {
      let sum = half;
      for (let k = begin, p = start + x; k < end; k++, p += stride) {
        sum = (sum + Math.imul(pixels[p]!, weights[k]!)) | 0;
      }
      out[o] = clip8(sum >> fractionBits);
    }
  }
  return { rows, cols, pixels: out };
}

/**
 * Filter weights of a span of the `to` output pixels: first input pixel, number of input pixels, and weights [span, most] in 22-bit
 * fixed point.
 */
interface FilterWeights {
  readonly first: Int32Array;
  readonly count: Int32Array;
  readonly weights: Int32Array;
  readonly most: number;
}

function filterWeights(from: number, to: number, filter: Filter, { start, end }: Span): FilterWeights {
  const { weigh, reach } = filters[filter];
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  const support = reach * stretch;
  const most = Math.ceil(support) * 2 + 1;
  const length = end - start;
  const first = new Int32Array(length);
  const count = new Int32Array(length);
  const weights = new Int32Array(length * most);
  const exact = new Float64Array(most);
  for (let i = 0; i < length; i++) {
    const center = (start + i + 0.5) * scale;
    const begin = Math.max(Math.trunc(center - support + 0.5), 0);
    const n = Math.min(Math.trunc(center + support + 0.5), from) - begin;
    let sum = 0;
    for (let k = 0; k < n; k++) {
      exact[k] = weigh((k + begin - center + 0.5) * (1 / stretch));
      sum += exact[k]!;
    }
    for (let k = 0; k < n; k++) {
      const share = sum === 0 ? exact[k]! : exact[k]! / sum;
      weights[i * most + k] = Math.trunc(share * 2 ** fractionBits + (share < 0 ? -0.5 : 0.5));
    }
    first[i] = begin;
    count[i] = n;
  }
  return { first, count, weights, most };
}

/** Filter functions of the distance and their supports, both in pixels of the smaller image. */
const filters = {
  bicubic: { weigh: bicubic, reach: 2 },
  bilinear: { weigh: bilinear, reach: 1 },
  lanczos: { weigh: lanczos, reach: 3 },
} as const satisfies Record<Filter, unknown>;

function bicubic(distance: number): number {
  const a = -0.5;
  const x = Math.abs(distance);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

function bilinear(distance: number): number {
  return Math.max(1 - Math.abs(distance), 0);
}

/** The Lanczos kernel with three lobes. */
function lanczos(distance: number): number {
  return distance >= -3 && distance < 3 ? sinc(distance) * sinc(distance / 3) : 0;
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

/** Clamps to 0..255, then truncates. */
function clip8(value: number): number {
  return value <= 0 ? 0 : value >= 255 ? 255 : value | 0;
}

/** ITU-R 601-2 luma of 8-bit values, in 16-bit fixed point. */
export function luminance(r: number, g: number, b: number): number {
  return (19595 * r + 38470 * g + 7471 * b + 32768) >> 16;
}

/** Interpolates from `base` to `value` by `alpha` (f32, may exceed 1), in f32, then truncates to 8 bits. */
function blend(base: number, value: number, alpha: number): number {
  return clip8(Math.fround(base + Math.fround(alpha * (value - base))));
}

/** Tabulates blending with the constant `base` for each 8-bit value. */
function blendTable(base: number, factor: number): Uint8Array {
  const alpha = Math.fround(factor);
  const table = new Uint8Array(256);
  for (let value = 0; value < 256; value++) table[value] = blend(base, value, alpha);
  return table;
}

/** Replaces the values of all channels, or of one. */
function lookUp(image: Image, table: Uint8Array, channel?: number): void {
  const { pixels } = image;
  const step = channel === undefined ? 1 : channelsOf(image);
  for (let i = channel ?? 0; i < pixels.length; i += step) pixels[i] = table[pixels[i]!]!;
}
