/** PNG encoding by pngjs, which cannot write palettes; label maps use fast-png. */
import { PNG } from "pngjs";
import type { Picture } from "./drawing.js";

/** Encodes a picture as PNG. */
export function encodePng({ width, height, rgb }: Picture): Uint8Array {
  const png = new PNG({ width, height });
  png.data = Buffer.from(rgb.buffer, rgb.byteOffset, rgb.byteLength);
  return PNG.sync.write(png, { inputColorType: 2, inputHasAlpha: false, colorType: 2 });
}
