/** Windows turned by any angle, cut out of images. */
import { type Box, channelsOf, type Image, type Size } from "./pixels.js";

/** A box of an image, turned about its center. */
export interface Window {
  /** In pixels; fractions where the window is turned. */
  readonly box: Box;
  /** Degrees by which the contents turn counterclockwise, as in torchvision. */
  readonly angle: number;
}

/**
 * Maps pixel (x, y) of a window to a position in the image: [left + x * cos - y * sin, top + x * sin + y * cos], in
 * pixels from the center of the first.
 */
export interface WindowMap {
  readonly left: number;
  readonly top: number;
  readonly cos: number;
  readonly sin: number;
}

/** Returns the map of a window; without an angle, `left` and `top` are those of its box. */
export function windowMap({ box, angle }: Window): WindowMap {
  const { cos, sin } = direction(angle);
  const [x, y] = [(1 - box.width) / 2, (1 - box.height) / 2]; // the first pixel, from the center of the window
  return {
    left: box.left + (box.width - 1) / 2 + x * cos - y * sin,
    top: box.top + (box.height - 1) / 2 + x * sin + y * cos,
    cos,
    sin,
  };
}

/** Returns cosine and sine of an angle in degrees, exact for multiples of 90. */
export function direction(angle: number): { readonly cos: number; readonly sin: number } {
  const quarters = angle / 90;
  if (Number.isInteger(quarters)) {
    const turns = ((quarters % 4) + 4) % 4;
    return { cos: [1, 0, -1, 0][turns]!, sin: [0, 1, 0, -1][turns]! };
  }
  const radians = (angle * Math.PI) / 180;
  return { cos: Math.cos(radians), sin: Math.sin(radians) };
}

/**
 * Turns a box of an image by `degrees` about its center such that no corner leaves the image: it is moved, with the
 * same share of the free space on either side, and a box that fits nowhere is shrunk.
 */
export function turnInside(box: Box, degrees: number, image: Size): Box {
  const { cos, sin } = direction(degrees);
  const [c, s] = [Math.abs(cos), Math.abs(sin)];
  const extents = (width: number, height: number) => [width * c + height * s, width * s + height * c] as const;
  const [widest, highest] = extents(box.width, box.height);
  const fit = Math.min(1, image.cols / widest, image.rows / highest);
  let width = Math.max(1, Math.floor(box.width * fit));
  let height = Math.max(1, Math.floor(box.height * fit));
  let [across, down] = extents(width, height);
  while (Math.max(width, height) > 1 && (across > image.cols || down > image.rows)) {
    if (width > height)
      width--; // one side cannot become shorter than a pixel
    else height--;
    [across, down] = extents(width, height);
  }
  const share = (start: number, free: number): number => (free > 0 ? start / free : 0.5);
  const centerX = across / 2 + share(box.left, image.cols - box.width) * (image.cols - across);
  const centerY = down / 2 + share(box.top, image.rows - box.height) * (image.rows - down);
  return { top: centerY - height / 2, left: centerX - width / 2, height, width };
}

/** Returns the size of an image after `turns` quarter turns. */
export function turnedSize({ rows, cols }: Size, turns: number): Size {
  return turns % 2 === 0 ? { rows, cols } : { rows: cols, cols: rows };
}

/** Returns where a box of an image that was turned counterclockwise by quarters lies in the image as it was. */
export function turnBack(box: Box, turns: number, image: Size): Box {
  const { cos, sin } = direction(90 * turns);
  const turned = turnedSize(image, turns);
  const x = box.left + (box.width - turned.cols) / 2; // the center of the box, from that of the image
  const y = box.top + (box.height - turned.rows) / 2;
  const left = (image.cols - box.width) / 2 + x * cos - y * sin;
  const top = (image.rows - box.height) / 2 + x * sin + y * cos;
  return { top, left, height: box.height, width: box.width };
}

/**
 * Cuts a window out of an image at the image's resolution: [image.rows, image.cols, channels] -> [box.height, box.width,
 * channels], bilinear and rounded to 8 bits; exact for quarter turns. Positions outside of the image take its nearest pixel.
 */
export function cutWindow(image: Image, window: Window): Image {
  const { height: rows, width: cols } = window.box;
  const { left, top, cos, sin } = windowMap(window);
  const channels = channelsOf(image);
  const pixels = new Uint8Array(rows * cols * channels);
  const [lastCol, lastRow] = [image.cols - 1, image.rows - 1];
  for (let y = 0, o = 0; y < rows; y++) {
    for (let x = 0; x < cols; x++, o += channels) {
      const u = Math.min(Math.max(left + x * cos - y * sin, 0), lastCol);
      const v = Math.min(Math.max(top + x * sin + y * cos, 0), lastRow);
      const [col, row] = [Math.floor(u), Math.floor(v)];
      const [right, below] = [u - col, v - row];
      const upper = (row * image.cols + col) * channels;
      const step = col < lastCol ? channels : 0;
      const lower = row < lastRow ? upper + image.cols * channels : upper;
      for (let channel = 0; channel < channels; channel++) {
        const [a, b] = [image.pixels[upper + channel]!, image.pixels[upper + step + channel]!];
        const [c, d] = [image.pixels[lower + channel]!, image.pixels[lower + step + channel]!];
        const first = a + (b - a) * right;
        pixels[o + channel] = Math.floor(first + (c + (d - c) * right - first) * below + 0.5);
      }
    }
  }
  return { rows, cols, pixels };
}
