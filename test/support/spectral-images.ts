/** Images of five channels. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { tiff } from "../dino/images/formats/written-formats.js";

/** Names of the channels. */
export const spectralChannels = ["blue", "green", "red", "nir", "swir"] as const;

/** Writes a folder of classes, field and water, with this many TIFF files of 12 bits in 16 each. */
export async function drawSpectralFolder(folder: string, count: number): Promise<void> {
  for (const [label, name] of ["field", "water"].entries()) {
    await mkdir(join(folder, name), { recursive: true });
    for (let i = 0; i < count; i++) await writeFile(join(folder, name, `${i}.tif`), spectral(label === 1, i));
  }
}

/** An image of a class; the classes differ in their fourth channel. */
function spectral(isWater: boolean, i: number): Buffer {
  const [rows, cols, channels] = [18, 20, 5];
  const values = Uint16Array.from({ length: rows * cols * channels }, (_, at) => {
    const [pixel, channel] = [Math.floor(at / channels), at % channels];
    const wave = 300 * Math.sin(pixel * 0.7 + 0.05 * i + channel);
    return 1000 + 200 * channel + wave + (channel === 3 && isWater ? 1500 : 0);
  });
  return tiff([{ rows, cols, channels, bits: 16, samples: new Uint8Array(values.buffer) }]);
}
