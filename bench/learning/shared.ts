/** Export of our images, initial values and crops as plain bytes, for other programs. */
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { epochOrders } from "../../dino/batches/order.js";
import { augmentOptions } from "../../dino/config/derive.js";
import type { Config } from "../../dino/config/settings.js";
import { checkSplits } from "../../dino/evaluation/labelled.js";
import { writeJson } from "../../dino/files/files.js";
import { applyCropU8, drawCrops } from "../../dino/images/augment.js";
import { isFailure } from "../../dino/images/image-location.js";
import type { Image } from "../../dino/images/pixels.js";
import type { Splits, Subset } from "../../dino/images/split.js";
import { networkConfig } from "../../dino/model/configure.js";
import { bufferSpecs, networkSpecs } from "../../dino/model/network.js";
import { lengthOf } from "../../dino/training/schedule.js";
import { asSafetensors } from "../../dino/weights/checkpoint-bytes.js";
import { encodeSafetensors } from "../../engine/index.js";

/** Contents of `images.json`, beside the pixels. */
export interface ImagesFile {
  readonly channels: 3;
  readonly classes: readonly string[];
  readonly train: SplitFile;
  readonly test: SplitFile;
}

interface SplitFile {
  /** [rows, cols] of each image. */
  readonly sizes: readonly (readonly [number, number])[];
  /** Indices into `classes`. */
  readonly labels: readonly number[];
}

/**
 * Writes train.u8 and test.u8, the decoded pixels [rows, cols, 3] of all images one after another, and images.json.
 * Throws for images without classes, and for images that cannot be decoded.
 */
export async function exportImages(splits: Splits, folder: string): Promise<void> {
  const numbers = checkSplits(splits);
  await mkdir(folder, { recursive: true });
  const train = await exportSplit(splits.train, join(folder, "train.u8"));
  const test = await exportSplit(splits.test, join(folder, "test.u8"));
  const file: ImagesFile = {
    channels: 3,
    classes: splits.train.images.classes,
    train,
    test: { ...test, labels: test.labels.map((label) => numbers[label]!) },
  };
  await writeJson(join(folder, "images.json"), file);
}

async function exportSplit({ images, indices }: Subset, path: string): Promise<SplitFile> {
  const sizes: (readonly [number, number])[] = [];
  async function* pixels() {
    for (const index of indices) {
      const image = await decoded(images, index);
      sizes.push([image.rows, image.cols]);
      yield image.pixels;
    }
  }
  await pipeline(pixels, createWriteStream(path));
  return { sizes, labels: Array.from(indices, (index) => images.labels![index]!) };
}

async function decoded(images: Subset["images"], index: number): Promise<Image> {
  const image = await images.decode(index);
  if (isFailure(image)) throw new Error(`${image.path}: ${image.reason}; both codes have to train on the same images`);
  return image;
}

/** Writes initial values, in the format of a checkpoint of the student. */
export async function exportStart(
  config: Config,
  values: ReadonlyMap<string, Float32Array>,
  path: string,
): Promise<void> {
  const network = networkConfig(config);
  const specs = [...networkSpecs(network), ...bufferSpecs(network)];
  const tensors = specs.map(({ name, shape }) => {
    const found = values.get(name);
    if (!found) throw new Error(`start values: ${name} is missing`);
    return [`student.${name}`, { shape, values: found }] as const;
  });
  await writeFile(path, encodeSafetensors(asSafetensors(new Map(tensors))));
}

/** Writes the crops of a run before normalization: bytes [steps, batch, crops, rows, cols, 3]. */
export async function exportCrops(config: Config, { images, indices }: Subset, path: string): Promise<void> {
  const { seed, batch, shuffleBuffer } = config;
  const { iterationsPerEpoch, steps } = lengthOf(config, indices.length);
  const orders = epochOrders({ images, indices, seed, shuffleBuffer });
  const augment = augmentOptions(config);
  const file = createWriteStream(path);
  for (let step = 0; step < steps; step++) {
    const epoch = Math.floor(step / iterationsPerEpoch);
    const { positions: places } = orders(epoch, (step % iterationsPerEpoch) * batch).next(batch);
    for (const place of places) {
      const index = indices[place]!;
      const image = await decoded(images, index);
      for (const parameters of drawCrops(augment, { seed, epoch, index }, image)) {
        if (!file.write(applyCropU8(image, parameters).pixels)) await once(file, "drain");
      }
    }
  }
  file.end();
  await once(file, "finish");
}
