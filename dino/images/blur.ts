/** Gaussian blur, bit-identical to Pillow 9.4. */
import { channelsOf, type Image } from "./pixels.js";

/**
 * Blurs like Pillow's GaussianBlur: three box passes along each row, then three along each column, with edges repeated.
 * `radius` is the standard deviation in pixels. Source: Pillow's BoxBlur.c.
 */
export function gaussianBlur(image: Image, radius: number): void {
  const box = boxWeights(radius);
  if (box === undefined) return;
  const { rows, cols, pixels } = image;
  const spare = new Uint8Array(pixels.length);
  const channels = channelsOf(image);
  const stride = cols * channels;
  const alongRows = { length: cols, step: channels, groups: rows, groupStep: stride, lanes: channels };
  const alongCols = { length: rows, step: stride, groups: 1, groupStep: 0, lanes: stride };
  for (const lines of [alongRows, alongCols]) {
    boxPass(pixels, spare, lines, box);
    boxPass(spare, pixels, lines, box);
    boxPass(pixels, spare, lines, box);
    pixels.set(spare);
  }
}

/** A box of 2 * reach + 1 whole pixels and a fraction of one more on both sides; weights in 24-bit fixed point. */
interface BoxWeights {
  readonly reach: number;
  readonly inner: number;
  readonly outer: number;
}

/**
 * Returns the box whose three passes best approximate a Gaussian; undefined for a radius of 0. Source: Gwosdek et al.
 * 2011, eq. 7, 11, 14.
 */
function boxWeights(radius: number): BoxWeights | undefined {
  const f32 = Math.fround;
  const variance = f32(f32(f32(radius) * f32(radius)) / 3);
  const length = f32(Math.sqrt(12 * variance + 1));
  const whole = Math.floor((length - 1) / 2);
  const above = f32((2 * whole + 1) * f32(whole * (whole + 1) - f32(3 * variance)));
  const below = f32(6 * f32(variance - (whole + 1) * (whole + 1)));
  const boxRadius = f32(whole + f32(above / below));
  if (boxRadius === 0) return undefined;
  const reach = Math.trunc(boxRadius);
  const inner = Math.trunc(f32(2 ** 24 / f32(boxRadius * 2 + 1)));
  return { reach, inner, outer: Math.trunc((2 ** 24 - (reach * 2 + 1) * inner) / 2) };
}

/** Lines of `length` values with stride `step`; each of `groups` groups has `lanes` adjacent lines. */
interface Lines {
  readonly length: number;
  readonly step: number;
  readonly groups: number;
  readonly groupStep: number;
  readonly lanes: number;
}

/** Runs one box pass along every line; values beyond an end repeat the end. */
function boxPass(from: Uint8Array, to: Uint8Array, lines: Lines, { reach, inner, outer }: BoxWeights): void {
  const { length, step, groups, groupStep, lanes } = lines;
  const last = length - 1;
  for (let group = 0; group < groups; group++) {
    for (let lane = 0; lane < lanes; lane++) {
      const line = group * groupStep + lane;
      let left = from[line]!;
      let sum = left * (reach + 1);
      for (let x = 1; x <= reach; x++) sum += from[line + Math.min(x, last) * step]!;
      for (let x = 0; x < length; x++) {
        const right = from[line + Math.min(x + reach + 1, last) * step]!;
        to[line + x * step] = (Math.imul(sum, inner) + Math.imul(left + right, outer) + (1 << 23)) >>> 24;
        left = from[line + Math.max(x - reach, 0) * step]!;
        sum += right - left;
      }
    }
  }
}
