/** Files that hold images, written for tests by others' code or by hand, and damaged. */
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { ByteWriter, type ColumnSource, parquetWrite } from "hyparquet-writer";
import sharp from "sharp";
import { pack } from "tar-stream";
import { isFailure } from "../../../../dino/images/image-location.js";
import type { ImageSet } from "../../../../dino/images/image-set.js";
import type { Image } from "../../../../dino/images/pixels.js";
import { rng } from "../../../../dino/math/random.js";
import { fuzzRuns } from "../../../support/fuzz.js";

/** Noise of a size of its own. */
export function noise(index: number): Image {
  const random = rng({ seed: 1, index, purpose: "noise" });
  const rows = 9 + random.integer(9);
  const cols = 9 + random.integer(9);
  return { rows, cols, pixels: Uint8Array.from({ length: rows * cols * 3 }, () => random.integer(256)) };
}

export async function pngOf({ rows, cols, pixels }: Image): Promise<Buffer> {
  return sharp(pixels, { raw: { width: cols, height: rows, channels: 3 } })
    .png()
    .toBuffer();
}

/** The first pictures of noise, as PNG files. */
export function pngs(count: number): Promise<readonly Buffer[]> {
  return Promise.all(Array.from({ length: count }, (_, index) => pngOf(noise(index))));
}

export async function writeTar(path: string, files: readonly (readonly [string, Buffer | string])[]): Promise<void> {
  const tar = pack();
  const file = createWriteStream(path);
  tar.pipe(file);
  for (const [name, content] of files) tar.entry({ name, mtime: new Date(0) }, content);
  tar.finalize();
  await once(file, "close");
}

interface ParquetOptions extends Pick<
  Parameters<typeof parquetWrite>[0],
  "codec" | "pageSize" | "rowGroupSize" | "compressors"
> {
  readonly labels?: readonly (number | bigint | string | boolean | null)[];
  /** Names of the labels, as Hugging Face writes them. */
  readonly names?: readonly string[];
  /** Bytes in a column of their own instead of `image{bytes, path}`. */
  readonly plain?: boolean;
}

export async function writeParquet(
  path: string,
  images: readonly (Buffer | null)[],
  { labels, names, plain, ...options }: ParquetOptions = {},
): Promise<void> {
  const features = { label: { _type: "ClassLabel", names }, image: { _type: "Image" } };
  const writer = new ByteWriter();
  const rows = plain ? images : images.map((bytes, i) => ({ bytes, path: `${i}.png` }));
  const columnData: ColumnSource[] = [{ name: "image", data: [...rows] }];
  if (labels) columnData.push({ name: "label", data: [...labels] });
  const types = { string: "BYTE_ARRAY", number: "DOUBLE", boolean: "BOOLEAN", bigint: "INT64" } as const;
  const kind = typeof labels?.find((value) => value !== null) as keyof typeof types | "undefined";
  const label = { name: "label", type: kind === "undefined" ? "INT32" : types[kind] } as const;
  await parquetWrite({
    writer,
    columnData,
    schema: [
      { name: "root", num_children: labels ? 2 : 1 },
      ...(plain
        ? [{ name: "image", type: "BYTE_ARRAY", repetition_type: "OPTIONAL" } as const]
        : [
            { name: "image", num_children: 2, repetition_type: "OPTIONAL" } as const,
            { name: "bytes", type: "BYTE_ARRAY", repetition_type: "OPTIONAL" } as const,
            { name: "path", type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" } as const,
          ]),
      ...(labels ? [{ ...label, repetition_type: "OPTIONAL" } as const] : []),
    ],
    ...(names && { kvMetadata: [{ key: "huggingface", value: JSON.stringify({ info: { features } }) }] }),
    ...options,
  });
  await writeFile(path, new Uint8Array(writer.getBuffer()));
}

/** An IDX file of bytes. */
export function idx(dims: readonly number[], bytes: Uint8Array): Buffer {
  const head = Buffer.alloc(4 + 4 * dims.length);
  head.writeUInt32BE(0x0800 + dims.length);
  for (const [i, dim] of dims.entries()) head.writeUInt32BE(dim, 4 + 4 * i);
  return Buffer.concat([head, bytes]);
}

/** The images of a set, decoded; throws for one that cannot be. */
export async function imagesOf(set: ImageSet): Promise<readonly Image[]> {
  return Promise.all(
    Array.from({ length: set.count }, async (_, index) => {
      const image = await set.decode(index);
      if (isFailure(image)) throw new Error(`${image.path}: ${image.reason}`);
      return { rows: image.rows, cols: image.cols, pixels: Uint8Array.from(image.pixels) };
    }),
  );
}

/** The first red values of the first `count` images of a set; throws for one that cannot be decoded. */
export async function redOf(set: ImageSet, count = set.count): Promise<readonly number[]> {
  return Promise.all(
    Array.from({ length: count }, async (_, index) => {
      const image = await set.decode(index);
      if (isFailure(image)) throw new Error(`${image.path}: ${image.reason}`);
      return image.pixels[0]!;
    }),
  );
}

/** Runs with a folder that is removed at the end. */
export async function inFolder<T>(run: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "sources-"));
  try {
    return await run(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** What may happen to a file: bytes that change, and an end that is missing. */
const damages = fc.record({
  changes: fc.array(fc.tuple(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), fc.nat(255)), {
    maxLength: 4,
  }),
  kept: fc.oneof(fc.constant(1), fc.double({ min: 0, max: 1, noNaN: true })),
});

/**
 * A damaged file gives an error that names it, or a set each of whose images is decoded or fails with a reason, and nothing else.
 * `name` is what failures of images name, the file if left out.
 */
export async function survivesDamage(
  file: string,
  whole: Buffer,
  open: (path: string) => Promise<ImageSet>,
  {
    compressed = false,
    runs = 200,
    name = file,
  }: { readonly compressed?: boolean; readonly runs?: number; readonly name?: string } = {},
): Promise<void> {
  await fc.assert(
    fc.asyncProperty(damages, async ({ changes, kept }) => {
      const bytes = Buffer.from(whole);
      for (const [at, value] of changes) bytes[Math.floor(at * bytes.length)] = value;
      const cut = bytes.subarray(0, Math.ceil(kept * bytes.length));
      await writeFile(file, compressed ? gzipSync(cut) : cut);
      let set: ImageSet;
      try {
        set = await open(file);
      } catch (error) {
        return (error as Error).message.includes(file);
      }
      for (let index = 0; index < Math.min(set.count, 50); index++) {
        try {
          const image = await set.decode(index);
          if (isFailure(image) ? image.reason === "" || !image.path.includes(name) : image.pixels.length === 0)
            return false;
        } catch (error) {
          return (error as Error).message.includes("could be decoded");
        }
      }
      return true;
    }),
    { numRuns: fuzzRuns(runs), seed: 1 },
  );
}
