/** Measures how much of a window shows content rather than the background of its image. */
import { channelsOf, type Image, resize, sizeWithin } from "./pixels.js";
import { direction, type Window } from "./turned-window.js";

/** Longer side at which content is measured, in pixels. */
const SIDE = 64;
/** Largest difference of a channel from the background, in levels of 255; noise of scans and JPEG stays below. */
const TOLERANCE = 16;
/** Number of draws after the first. */
const REDRAWS = 10;

/**
 * Draws windows of an image until one has the share `least` of content, 11 times at most; then takes the one with the
 * most. `draw` gets the number of the attempt, from 0.
 */
export function drawWithContent<Drawn extends Window>(
  draw: (attempt: number) => Drawn,
  least: number,
  contentOf: (window: Window) => number,
): Drawn {
  let fullest = draw(0);
  let most = contentOf(fullest);
  for (let attempt = 1; attempt <= REDRAWS && most < least; attempt++) {
    const next = draw(attempt);
    const content = contentOf(next);
    if (content > most) [fullest, most] = [next, content];
  }
  return fullest;
}

/**
 * Returns a function from a window of the image to its share of content, 0 to 1: the pixels, in the image shrunk to 64,
 * that differ in a channel by more than 16 levels from the background, the median color of the image's border. A window
 * between the pixels takes that of its center.
 */
export function contentMeasure(image: Image): (window: Window) => number {
  const small = resize(image, sizeWithin(image, SIDE), "bilinear");
  const isContent = differing(small, borderMedian(small));
  const [scaleX, scaleY] = [image.cols / small.cols, image.rows / small.rows];
  return ({ box, angle }) => {
    const { cos, sin } = direction(angle);
    const [centerX, centerY] = [box.left + box.width / 2, box.top + box.height / 2];
    let inside = 0;
    let content = 0;
    for (let row = 0, at = 0; row < small.rows; row++) {
      const y = (row + 0.5) * scaleY - centerY;
      for (let col = 0; col < small.cols; col++, at++) {
        const x = (col + 0.5) * scaleX - centerX;
        const isInside = 2 * Math.abs(x * cos + y * sin) <= box.width && 2 * Math.abs(y * cos - x * sin) <= box.height;
        if (!isInside) continue;
        inside++;
        content += isContent[at]!;
      }
    }
    if (inside > 0) return content / inside;
    const [row, col] = [Math.floor(centerY / scaleY), Math.floor(centerX / scaleX)];
    return isContent[row * small.cols + col]!;
  };
}

/** Returns the median per channel of the outermost pixels. */
function borderMedian(image: Image): readonly number[] {
  const { rows, cols, pixels } = image;
  const channels = channelsOf(image);
  return Array.from({ length: channels }, (_, channel) => {
    const levels: number[] = [];
    for (let row = 0; row < rows; row++) {
      const step = row === 0 || row === rows - 1 ? 1 : Math.max(1, cols - 1);
      for (let col = 0; col < cols; col += step) levels.push(pixels[(row * cols + col) * channels + channel]!);
    }
    return levels.sort((a, b) => a - b)[Math.floor(levels.length / 2)]!;
  });
}

/** Marks the pixels that differ from a color with 1. */
function differing({ rows, cols, pixels }: Image, color: readonly number[]): Uint8Array {
  return Uint8Array.from({ length: rows * cols }, (_, at) =>
    color.some((level, channel) => Math.abs(pixels[color.length * at + channel]! - level) > TOLERANCE) ? 1 : 0,
  );
}
