/**
 * Reader of the binary files of CIFAR-10 and CIFAR-100: records of one or two label bytes followed by 32 x 32 pixels in
 * planes.
 */
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { openFile } from "../../files/files.js";
import type { Decoding } from "../image-location.js";
import type { ImageSet } from "../image-set.js";
import { imageSet } from "./folder-images.js";
import { sortClasses } from "./labels.js";

const SIDE = 32;
const PIXELS = 3 * SIDE * SIDE;

/** The two formats: number of label bytes per record, of which the last is used, and the file with class names. */
const forms = [
  { classes: 10, labels: 1, names: "batches.meta.txt" },
  { classes: 100, labels: 2, names: "fine_label_names.txt" },
] as const;

/** Records read at a time. */
const RECORDS = 256;

/** Opens a CIFAR file. Throws for any other file. */
export async function openCifar(path: string, decoding: Decoding = {}): Promise<ImageSet> {
  await using file = await openFile(path);
  for (const { classes, labels: bytes, names } of forms) {
    const record = bytes + PIXELS;
    if (file.size === 0 || file.size % record !== 0) continue;
    const count = file.size / record;
    const labels = new Int32Array(count);
    for (let first = 0; first < count; first += RECORDS) {
      const some = Math.min(RECORDS, count - first);
      const records = await file.read(first * record, some * record);
      for (let i = 0; i < some; i++) labels[first + i] = records[i * record + bytes - 1]!;
    }
    if (labels.some((label) => label >= classes)) continue;
    const called = await classNames(join(dirname(path), names), classes);
    return imageSet({
      title: path,
      decoding,
      count,
      largest: SIDE * SIDE,
      shards: [0],
      ...sortClasses(called, labels),
      name: (index) => `${index}`,
      location: (index) => ({
        name: `${path}/${index}`,
        bytes: { kind: "range", path, start: index * record + bytes, size: PIXELS },
        raw: { rows: SIDE, cols: SIDE, layout: "planes" },
      }),
    });
  }
  throw new Error(
    `${path}: expected a CIFAR file, records of ${1 + PIXELS} or ${2 + PIXELS} bytes that begin with a label, got ${file.size} bytes of something else`,
  );
}

/** Reads class names from the file beside the images, or returns numbers. */
async function classNames(path: string, count: number): Promise<readonly string[]> {
  const text = await readFile(path, "utf8").catch(() => "");
  const names = text.split(/\r?\n/).filter((line) => line !== "");
  return names.length === count ? names : Array.from({ length: count }, (_, number) => `${number}`);
}
