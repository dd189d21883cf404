import type { Size } from "../images/pixels.js";

/**
 * Shrinks planes by a factor of 1 or less: [planes, rows, cols] -> [planes, floor(rows * factor), floor(cols *
 * factor)]. Interpolates between the four neighbours of (i + 0.5) / factor - 0.5 without antialiasing, as torch's
 * interpolate does with mode="bilinear", align_corners=False.
 */
export function shrinkBilinear(planes: Float32Array, { rows, cols }: Size, factor: number): Float32Array {
  const down = neighbours(rows, factor);
  const across = neighbours(cols, factor);
  const count = planes.length / (rows * cols);
  const out = new Float32Array(count * down.length * across.length);
  let at = 0;
  for (let plane = 0; plane < count; plane++) {
    for (const [top, bottom, below] of down) {
      const upper = (plane * rows + top) * cols;
      const lower = (plane * rows + bottom) * cols;
      for (const [left, right, beyond] of across) {
        const above = planes[upper + left]! * (1 - beyond) + planes[upper + right]! * beyond;
        const beneath = planes[lower + left]! * (1 - beyond) + planes[lower + right]! * beyond;
        out[at++] = above * (1 - below) + beneath * below;
      }
    }
  }
  return out;
}

/** Returns the two neighbours of every output along an axis, and the weight of the second. */
function neighbours(length: number, factor: number): (readonly [number, number, number])[] {
  return Array.from({ length: Math.floor(length * factor) }, (_, i) => {
    const position = Math.max(0, (i + 0.5) / factor - 0.5);
    const first = Math.min(Math.floor(position), length - 1);
    return [first, Math.min(first + 1, length - 1), position - first];
  });
}
