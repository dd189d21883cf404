/**
 * Reader of IDX files, the format of MNIST: gray images of one size, with labels in a separate file, optionally
 * gzipped.
 */
import { createReadStream, existsSync } from "node:fs";
import { basename } from "node:path";
import { createGunzip } from "node:zlib";
import { openFile, readRange } from "../../files/files.js";
import type { Decoding } from "../image-location.js";
import type { ImageSet } from "../image-set.js";
import { imageSet } from "./folder-images.js";
import { sortClasses } from "./labels.js";
import type { Labels } from "./labels.js";

/** Returns whether a file name is that of IDX images. */
export function isIdxName(name: string): boolean {
  return /images[-.]idx3-ubyte(\.gz)?$/.test(name);
}

const BYTES = 8; // the type of unsigned bytes
/** Maximum compression ratio of deflate. */
const MOST_COMPRESSED = 1032;

/** Opens an IDX file of images. Throws for any other file, and if its length does not match its header. */
export async function openIdx(path: string, decoding: Decoding = {}): Promise<ImageSet> {
  const { dims, bytes, start } = await openArray(path, 3);
  const [count, rows, cols] = dims as readonly [number, number, number];
  const size = rows * cols;
  if (size === 0) throw new Error(`${path}: expected images, got ${rows} x ${cols} pixels each`);
  return imageSet({
    title: path,
    decoding,
    count,
    largest: size,
    shards: [0],
    ...(await labelsBeside(path, count)),
    name: (index) => `${index}`,
    location: (index) => ({
      name: `${path}/${index}`,
      raw: { rows, cols, layout: "pixels" },
      bytes: bytes
        ? { kind: "memory", memory: bytes, start: start + index * size, size }
        : { kind: "range", path, start: start + index * size, size },
    }),
  });
}

async function labelsBeside(path: string, count: number): Promise<Labels> {
  const stem = path.replace(/images([-.])idx3-ubyte(\.gz)?$/, "labels$1idx1-ubyte");
  const found = [stem, `${stem}.gz`].find((file) => file !== path && existsSync(file));
  if (found === undefined) return { whyUnlabelled: `there is no ${basename(stem)} beside the images` };
  const { dims, bytes, start } = await openArray(found, 1);
  if (dims[0] !== count) throw new Error(`${found}: expected ${count} labels, one for each image, got ${dims[0]!}`);
  const numbers = bytes ? bytes.subarray(start) : await readRange(found, start, count);
  const used = [...new Set(numbers)].sort((a, b) => a - b);
  const place = new Map(used.map((number, i) => [number, i]));
  return sortClasses(
    used.map((number) => `${number}`),
    Int32Array.from(numbers, (number) => place.get(number)!),
  );
}

/** A multi-dimensional array of bytes. */
interface IdxArray {
  readonly dims: readonly number[];
  /** Offset in the file, or in `bytes` if the file is compressed. */
  readonly start: number;
  readonly bytes: Uint8Array<SharedArrayBuffer> | undefined;
}

async function openArray(path: string, dimensions: number): Promise<IdxArray> {
  await using file = await openFile(path);
  const start = 4 + 4 * dimensions;
  if (!path.endsWith(".gz")) {
    const dims = parseHead(path, await file.read(0, Math.min(start, file.size)), dimensions);
    const expected = start + product(dims);
    if (file.size !== expected) throw new Error(`${path}: expected ${expected} bytes, as it says, got ${file.size}`);
    return { dims, start, bytes: undefined };
  }
  let head = Buffer.alloc(0);
  let found: { readonly dims: readonly number[]; readonly bytes: Uint8Array<SharedArrayBuffer> } | undefined;
  let filled = 0;
  const damaged = (what: string) => new Error(`${path}: expected an IDX file, compressed, but ${what}`);
  try {
    for await (const part of createReadStream(path).pipe(createGunzip())) {
      let chunk = part as Buffer;
      if (!found) {
        head = Buffer.concat([head, chunk]);
        if (head.length < start) continue;
        const dims = parseHead(path, head, dimensions);
        if (product(dims) > MOST_COMPRESSED * file.size) throw damaged("it is far shorter than it says");
        found = { dims, bytes: new Uint8Array(new SharedArrayBuffer(product(dims))) };
        chunk = head.subarray(start);
      }
      if (filled + chunk.length > found.bytes.length) throw damaged("it is longer than it says");
      found.bytes.set(chunk, filled);
      filled += chunk.length;
    }
  } catch (error) {
    const { message } = error as Error;
    throw message.startsWith(path) ? error : damaged(message);
  }
  if (!found || filled < found.bytes.length) throw damaged("it is shorter than it says");
  return { ...found, start: 0 };
}

function parseHead(path: string, head: Uint8Array, dimensions: number): readonly number[] {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const magic = BYTES * 256 + dimensions;
  if (head.length < 4 + 4 * dimensions || view.getUint32(0) !== magic)
    throw new Error(`${path}: expected an IDX file of bytes in ${dimensions} dimensions; its first bytes are others`);
  return Array.from({ length: dimensions }, (_, i) => view.getUint32(4 + 4 * i));
}

function product(dims: readonly number[]): number {
  return dims.reduce((all, dim) => all * dim, 1);
}
