/** Drawing of maps over patches: the position of a pixel in a map, and the colour of the image under it. */
import { type Color, heatColor, luminance, mix } from "./drawing.js";

/** The area that a map is stretched over, in pixels. */
export interface Extent {
  readonly width: number;
  readonly height: number;
}

/** Returns a function from pixel (u, v) of a box to the index of its patch, row-major. */
export function patchIn(box: Extent, rows: number, cols: number): (u: number, v: number) => number {
  return (u, v) => Math.floor((v * rows) / box.height) * cols + Math.floor((u * cols) / box.width);
}

/**
 * Returns a function from pixel (u, v) of a box to the value of the map, interpolated linearly between patch centers.
 */
export function smoothIn(
  box: Extent,
  heat: Float32Array,
  rows: number,
  cols: number,
): (u: number, v: number) => number {
  const between = (position: number, length: number): readonly [number, number, number] => {
    const inside = Math.min(Math.max(position, 0), length - 1);
    const low = Math.min(Math.floor(inside), Math.max(0, length - 2));
    return [low, Math.min(low + 1, length - 1), inside - low];
  };
  return (u, v) => {
    const [x0, x1, right] = between(((u + 0.5) * cols) / box.width - 0.5, cols);
    const [y0, y1, down] = between(((v + 0.5) * rows) / box.height - 0.5, rows);
    const upper = heat[y0 * cols + x0]! * (1 - right) + heat[y0 * cols + x1]! * right;
    const lower = heat[y1 * cols + x0]! * (1 - right) + heat[y1 * cols + x1]! * right;
    return upper * (1 - down) + lower * down;
  };
}

/** Blends the image in grey with the colour of a map's value, 0 to 1; larger values cover more of the image. */
export function overlayColor(color: Color, heat: number): Color {
  return mix(grey(color), heatColor(heat), 0.3 + 0.5 * heat);
}

/** Dims the image outside of a mask. */
export function dimColor(color: Color): Color {
  return mix(grey(color), [10, 12, 16], 0.72);
}

export function grey(color: Color): Color {
  const light = luminance(color);
  return [light, light, light];
}
