import { createCropMaker } from "../../dino/batches/crop-maker.js";
import { drawCrops, officialAugmentation } from "../../dino/images/augment.js";
import type { Device } from "../../engine/core/device.js";
import { input } from "../../engine/index.js";

/** Size of a typical ImageNet image. */
const PICTURE = { rows: 375, cols: 500 };

export interface Crops extends Disposable {
  /** Uploads the pixels of a batch and makes all its crops. */
  run(): Promise<void>;
}

/** Records two crops of 224 pixels and eight of 96 from each of `batch` noise images, with the official augmentation. */
export async function recordCrops(device: Device, batch: number): Promise<Crops> {
  const { globalSize, localSize, localCrops, mean, std } = officialAugmentation;
  const crops = (count: number, { rows, cols }: typeof globalSize) => input(device, [count * batch, 3, rows, cols]);
  const globals = crops(2, globalSize);
  const locals = crops(localCrops, localSize);
  const pixelsPerPicture = PICTURE.rows * PICTURE.cols;
  const maker = await createCropMaker(device, {
    pictures: batch,
    pixelsPerPicture,
    mean,
    std,
    groups: [
      { crops: 2, out: globals },
      { crops: localCrops, out: locals },
    ],
  });
  const pixels = new Uint32Array(batch * pixelsPerPicture).map((_, i) => Math.imul(i, 0x9e3779b1) & 0xffffff);
  const image = { ...PICTURE, pixels: new Uint8Array(3 * pixelsPerPicture) };
  const pictures = Array.from({ length: batch }, (_, index) => ({
    ...PICTURE,
    crops: drawCrops(officialAugmentation, { seed: 1, epoch: 0, index }, image),
  }));
  return {
    async run() {
      maker.write(pixels, pictures);
      await maker.run();
    },
    [Symbol.dispose]() {
      for (const x of [maker, globals, locals]) x[Symbol.dispose]();
    },
  };
}
