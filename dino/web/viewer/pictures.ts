/** Converts pictures of browsers to images: red, green and blue, and alpha where some is transparent, eight bits each. */
import type { Image } from "../../images/pixels.js";
import { type InputImage, isForNetwork } from "./input-image.js";
import type { Painting } from "./maps.js";

/**
 * Reads a picture file, or leaves it to the thread of the viewer. Throws, naming it and what was expected, if the browser cannot
 * decode it.
 */
export async function readPicture(file: Blob, name: string, expected: string): Promise<InputImage> {
  if (await isForNetwork(file)) return { name, image: file };
  const bitmap = await createImageBitmap(file).catch(() => undefined);
  if (bitmap === undefined) throw new Error(`${name}: expected ${expected}`);
  const image = pixelsOf(bitmap, bitmap.width, bitmap.height);
  bitmap.close();
  return { name, image };
}

/** Returns the current frame of a video or camera, its shorter side shrunk to `shortSide`. */
export function frameOf(video: HTMLVideoElement, shortSide: number): Image {
  const { videoWidth, videoHeight } = video;
  const scale = Math.min(1, shortSide / Math.min(videoWidth, videoHeight));
  return pixelsOf(video, Math.round(scale * videoWidth), Math.round(scale * videoHeight));
}

function pixelsOf(source: CanvasImageSource, cols: number, rows: number): Image {
  const context = new OffscreenCanvas(cols, rows).getContext("2d", { willReadFrequently: true })!;
  context.drawImage(source, 0, 0, cols, rows);
  const { data } = context.getImageData(0, 0, cols, rows);
  if (isTransparent(data)) return { rows, cols, pixels: new Uint8Array(data.buffer) };
  const pixels = new Uint8Array(rows * cols * 3);
  for (let i = 0, at = 0; at < pixels.length; i += 4) {
    for (let channel = 0; channel < 3; channel++) pixels[at++] = data[i + channel]!;
  }
  return { rows, cols, pixels };
}

function isTransparent(rgba: Uint8ClampedArray): boolean {
  for (let i = 3; i < rgba.length; i += 4) if (rgba[i]! < 255) return true;
  return false;
}

/** Draws a painting at its own resolution. */
export function paint(canvas: HTMLCanvasElement, { rows, cols, rgba }: Painting): void {
  if (canvas.width !== cols) canvas.width = cols;
  if (canvas.height !== rows) canvas.height = rows;
  canvas.getContext("2d")!.putImageData(new ImageData(rgba, cols, rows), 0, 0);
}
