/** Cost of listing, ordering and resuming with a billion images in shards, extrapolated from smaller sets. */
import { link, mkdir, mkdtemp, open, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Header } from "tar";
import { openBatches } from "../dino/batches/batches.js";
import type { Cropper } from "../dino/batches/image-crops.js";
import { epochOrders } from "../dino/batches/order.js";
import { officialAugmentation } from "../dino/images/augment.js";
import type { ImageSet } from "../dino/images/image-set.js";
import { imageSet } from "../dino/images/sources/folder-images.js";
import { openData } from "../dino/images/sources/open.js";
import { splitImages } from "../dino/images/split.js";
import { figure } from "./figures/format.js";

/** Number of images to extrapolate to. */
const BILLION = 1e9;
const IMAGES_PER_SHARD = 10_000;
const SHARDS = BILLION / IMAGES_PER_SHARD;
/** Typical size of an ImageNet image. */
const BYTES_PER_IMAGE = 110_000;

/** Cost of one shard. */
export interface ShardCost {
  readonly images: number;
  /** CPU seconds to list it for the first time, and to read its cached list. */
  readonly listS: number;
  readonly keptS: number;
  /** Bytes read from its file by the first listing; undefined if the system does not report them. */
  readonly readBytes: number | undefined;
  /** Bytes of the cached list. */
  readonly listBytes: number;
  /** Bytes of memory while the set is open. */
  readonly memoryBytes: number;
}

/** Cost of ordering a number of images in shards, in CPU seconds. */
export interface OrderCost {
  readonly images: number;
  /** Splitting off held-out images: none, and a tenth. */
  readonly splitS: number;
  readonly splitTenthS: number;
  /** Ordering an epoch: all images shuffled at once, and file after file with a shuffle buffer. */
  readonly allS: number;
  readonly bufferS: number;
  /** Resuming in the middle of an epoch until the first batch is ready, without listing and decoding. */
  readonly resumeS: number;
  /** Bytes of arrays of such a run, besides the lists. */
  readonly memoryBytes: number;
}

export interface Billion {
  readonly shard: ShardCost;
  readonly orders: readonly OrderCost[];
}

const SHUFFLE_BUFFER = 10_000;
const BATCH = 64;

/** Measures shards, and ordering for increasing numbers of images. */
export async function measureBillion(
  sizes: readonly number[],
  { shards = 16, imagesPerShard = IMAGES_PER_SHARD } = {},
): Promise<Billion> {
  const shard = await measureShards(shards, imagesPerShard);
  const orders: OrderCost[] = [];
  for (const images of sizes) orders.push(await measureOrder(images));
  return { shard, orders };
}

/** Returns the result of `work` and its CPU seconds, which do not depend on other load. */
async function timed<T>(work: () => T | Promise<T>): Promise<{ readonly seconds: number; readonly result: T }> {
  const before = process.cpuUsage();
  const result = await work();
  const { user, system } = process.cpuUsage(before);
  return { seconds: (user + system) / 1e6, result };
}

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

/** Returns the bytes in use after garbage collection: of arrays, and in total. */
async function heldBytes(): Promise<{ readonly arrays: number; readonly all: number }> {
  for (let i = 0; i < 3; i++) {
    collectGarbage();
    await sleep(20); // array memory is freed on another thread
  }
  const { arrayBuffers, heapUsed } = process.memoryUsage();
  return { arrays: arrayBuffers, all: arrayBuffers + heapUsed };
}

async function measureShards(shards: number, images: number): Promise<ShardCost> {
  const folder = await mkdtemp(join(tmpdir(), "dino-billion-"));
  const cacheBefore = process.env.XDG_CACHE_HOME;
  process.env.XDG_CACHE_HOME = join(folder, "cache");
  try {
    const data = join(folder, "shards");
    await writeShards(data, shards, images);
    const expectCount = ({ count }: ImageSet) => {
      if (count !== shards * images) throw new Error(`bench: expected ${shards * images} images, got ${count}`);
    };
    const readBefore = await bytesRead();
    const first = await timed(() => openData(data));
    const readAfter = await bytesRead();
    expectCount(first.result);
    const { all: before } = await heldBytes();
    const again = await timed(() => openData(data));
    const memoryBytes = (await heldBytes()).all - before;
    expectCount(again.result);
    const lists = join(process.env.XDG_CACHE_HOME, "dino-webgpu", "lists");
    const names = await readdir(lists).catch(() => []);
    const listBytes = (await Promise.all(names.map((name) => stat(join(lists, name))))).map(({ size }) => size);
    return {
      images,
      listS: first.seconds / shards,
      keptS: again.seconds / shards,
      readBytes: readBefore === undefined ? undefined : (readAfter! - readBefore) / shards,
      listBytes: listBytes.reduce((sum, size) => sum + size, 0) / shards,
      memoryBytes: memoryBytes / shards,
    };
  } finally {
    if (cacheBefore === undefined) delete process.env.XDG_CACHE_HOME;
    else process.env.XDG_CACHE_HOME = cacheBefore;
    await rm(folder, { recursive: true });
  }
}

/** Writes tar files with headers and, in place of image data, holes; all are hard links to one file. */
async function writeShards(folder: string, shards: number, images: number): Promise<void> {
  await mkdir(folder);
  const path = (shard: number) => join(folder, `${`${shard}`.padStart(6, "0")}.tar`);
  const BLOCK = 512;
  const step = BLOCK + Math.ceil(BYTES_PER_IMAGE / BLOCK) * BLOCK;
  await using file = await open(path(0), "w");
  const header = Buffer.alloc(BLOCK);
  for (let i = 0; i < images; i++) {
    const name = `${`${i}`.padStart(9, "0")}.jpg`;
    new Header({ path: name, size: BYTES_PER_IMAGE, type: "File", mode: 0o644 }).encode(header);
    await file.write(header, 0, BLOCK, i * step);
  }
  await file.truncate(images * step + 2 * BLOCK);
  for (let shard = 1; shard < shards; shard++) await link(path(0), path(shard));
}

/** Returns the bytes that this process has read so far, cached or not; undefined if the system does not report them. */
async function bytesRead(): Promise<number | undefined> {
  const ioStatistics = await readFile("/proc/self/io", "utf8").catch(() => "");
  const number = /^rchar: (\d+)$/m.exec(ioStatistics)?.[1];
  return number === undefined ? undefined : Number(number);
}

async function measureOrder(count: number): Promise<OrderCost> {
  const shards = Array.from({ length: Math.ceil(count / IMAGES_PER_SHARD) }, (_, i) => i * IMAGES_PER_SHARD);
  const location = () => {
    throw new Error("bench: these images have no files");
  };
  const images = imageSet({ title: "paper", count, shards, largest: 1, name: (index) => `${index}`, location });
  const { arrays: before } = await heldBytes();
  const split = await timed(() => splitImages(count, { heldOut: 0, seed: 0 }));
  const { train: indices } = split.result;
  const splitTenth = await timed(() => splitImages(count, { heldOut: 0.1, seed: 0 }).test.length);
  const order = (shuffleBuffer: number) =>
    timed(() => epochOrders({ images, indices, seed: 0, shuffleBuffer })(0).next(count).positions.length);
  const all = await order(0);
  const buffer = await order(SHUFFLE_BUFFER);
  const iteration = Math.floor(count / BATCH / 2);
  const resume = await timed(async () => {
    const batches = openBatches(
      {
        images,
        indices,
        batch: BATCH,
        seed: 0,
        shuffleBuffer: SHUFFLE_BUFFER,
        augment: officialAugmentation,
        onDevice: true,
        start: { epoch: 1, iteration },
      },
      blankCrops,
    );
    await batches.next();
    return batches;
  });
  const memoryBytes = (await heldBytes()).arrays - before;
  await resume.result.close();
  return {
    images: count,
    splitS: split.seconds,
    splitTenthS: splitTenth.seconds,
    allS: all.seconds,
    bufferS: buffer.seconds,
    resumeS: resume.seconds,
    memoryBytes,
  };
}

/** Returns a cropper that makes empty crops. */
function blankCrops(): Cropper {
  return {
    imagesPerTask: BATCH,
    crop: (_, items) =>
      Promise.resolve({
        crops: new Float32Array(0),
        pixels: new Uint32Array(items.length),
        pictures: items.map(() => ({ rows: 1, cols: 1, crops: [] })),
        failures: [],
      }),
    close: () => Promise.resolve(),
  };
}

/** Formats the measurements, and their linear extrapolation to a billion images from the largest set. */
export function billionTable({ shard, orders }: Billion): string {
  const largest = orders.at(-1)!;
  const times = BILLION / largest.images;
  const gb = (bytes: number) => `${figure(bytes / 1e9)} GB`;
  const perShard: readonly (readonly [string, string, string])[] = [
    ["listing, the first time", `${figure(shard.listS)} s`, `${figure((shard.listS * SHARDS) / 3600)} h`],
    ...(shard.readBytes === undefined
      ? []
      : [["bytes read for that", gb(shard.readBytes), gb(shard.readBytes * SHARDS)] as const]),
    ["listing from what is kept", `${figure(1000 * shard.keptS)} ms`, `${figure((shard.keptS * SHARDS) / 60)} min`],
    ["lists on disk", `${figure(shard.listBytes / 1e3)} kB`, gb(shard.listBytes * SHARDS)],
    ["lists in memory", `${figure(shard.memoryBytes / 1e3)} kB`, gb(shard.memoryBytes * SHARDS)],
  ];
  const seconds = (name: string, secondsOf: (cost: OrderCost) => number) =>
    [name, ...orders.map((cost) => `${figure(secondsOf(cost))} s`), `${figure(secondsOf(largest) * times)} s`] as const;
  const row = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const rule = (columns: number) => row(["---", ...Array.from({ length: columns }, () => "---:")]);
  return [
    row(["on every rank", `a shard of ${shard.images}`, `${SHARDS} shards`]),
    rule(2),
    ...perShard.map(row),
    "",
    row(["on every rank", ...orders.map(({ images }) => `${images} images`), `${BILLION}`]),
    rule(orders.length + 1),
    ...[
      seconds("images to train on, none held out", ({ splitS }) => splitS),
      seconds("images to train on, a tenth held out", ({ splitTenthS }) => splitTenthS),
      seconds("order of an epoch, all shuffled", ({ allS }) => allS),
      seconds(`order of an epoch, \`--shuffle-buffer ${SHUFFLE_BUFFER}\``, ({ bufferS }) => bufferS),
      seconds("resuming in the middle of an epoch, with that", ({ resumeS }) => resumeS),
      ["arrays in memory then", ...orders.map(({ memoryBytes }) => gb(memoryBytes)), gb(largest.memoryBytes * times)],
    ].map(row),
  ].join("\n");
}
