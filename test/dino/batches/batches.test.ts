import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import sharp from "sharp";
import type { Batch, Batches } from "../../../dino/batches/batches.js";
import { openInlineBatches } from "../../../dino/batches/inline-batches.js";
import { openThreadedBatches, type ThreadedBatchOptions } from "../../../dino/batches/threaded-batches.js";
import { applyCrop, drawCrops, officialAugmentation, type AugmentOptions } from "../../../dino/images/augment.js";
import { isFailure } from "../../../dino/images/image-location.js";
import { type ImageSet, memoryImages } from "../../../dino/images/image-set.js";
import { type Image, packPixels } from "../../../dino/images/pixels.js";
import { openImages } from "../../../dino/images/sources/folder-images.js";
import { rng } from "../../../dino/math/random.js";

const augment: AugmentOptions = {
  ...officialAugmentation,
  globalSize: { rows: 10, cols: 8 },
  localSize: { rows: 4, cols: 6 },
  localCrops: 3,
};

function noise(index: number): Image {
  const random = rng({ seed: 1, index, purpose: "noise" });
  const rows = 9 + random.integer(9);
  const cols = 9 + random.integer(9);
  return { rows, cols, pixels: Uint8Array.from({ length: rows * cols * 3 }, () => random.integer(256)) };
}

const memory = memoryImages({ images: Array.from({ length: 23 }, (_, index) => noise(index)) });
const basics = { images: memory, batch: 5, seed: 11, augment, threads: 1 } satisfies ThreadedBatchOptions;

/** The first batches, copied out of the memory they share; without how long each took. */
async function take(count: number, options: ThreadedBatchOptions): Promise<Omit<Batch, "waitedMs" | "ready">[]> {
  return taken(count, openThreadedBatches(options));
}

async function taken(count: number, opened: Batches): Promise<Omit<Batch, "waitedMs" | "ready">[]> {
  await using batches = opened;
  const copies: Omit<Batch, "waitedMs" | "ready">[] = [];
  for (let i = 0; i < count; i++) {
    const { epoch, iteration, globals, locals, pixels, pictures, indices } = await batches.next();
    copies.push({
      epoch,
      iteration,
      globals: globals.slice(),
      locals: locals.slice(),
      pixels: pixels.slice(),
      pictures: [...pictures],
      indices: indices.slice(),
    });
  }
  return copies;
}

async function rejection(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "no error",
    (error: unknown) => (error as Error).message,
  );
}

describe("batches", () => {
  it("gives the same bytes whatever the number of threads and batches ahead", async () => {
    const one = await take(9, basics);
    expect(await take(9, { ...basics, threads: 3 })).to.deep.equal(one);
    expect(await take(9, { ...basics, threads: 2, prefetch: 5 })).to.deep.equal(one);
    expect(await take(1, { ...basics, seed: 12 })).to.not.deep.equal(one.slice(0, 1));
  });

  it("gives the same bytes where no threads are", async () => {
    for (const options of [basics, { ...basics, onDevice: true }]) {
      const threaded = await take(9, options);
      expect(await taken(9, openInlineBatches(options))).to.deep.equal(threaded);
    }
  });

  it("gives each of several devices its share of the same batches", async () => {
    const options = { ...basics, batch: 8, parts: 2 };
    const whole = await take(3, options);
    for (const onDevice of [false, true]) {
      const shares = await Promise.all(
        [0, 1].map((rank) => take(3, { ...options, onDevice, shard: { rank, size: 2 } })),
      );
      for (const [i, { indices, globals }] of whole.entries()) {
        const [first, second] = shares.map((batches) => batches[i]!);
        expect([...first!.indices, ...second!.indices]).to.deep.equal([0, 1, 4, 5, 2, 3, 6, 7].map((n) => indices[n]));
        if (onDevice) continue;
        const crop = globals.length / 16;
        const ofImage = (values: Float32Array, place: number) => values.subarray(place * crop, (place + 1) * crop);
        expect(ofImage(second!.globals, 6)).to.deep.equal(ofImage(globals, 14)); // crop 1 of image 6, in the second part
      }
    }
  });

  it("holds pictures, and what to make of them, where a device makes the crops", async () => {
    const options = { ...basics, onDevice: true };
    const [batch] = await take(1, options);
    expect(await take(1, { ...options, threads: 3 })).to.deep.equal([batch]);
    const [sameImages] = await take(1, basics);
    expect(batch!.indices).to.deep.equal(sameImages!.indices);
    expect([batch!.globals.length, batch!.locals.length]).to.deep.equal([0, 0]);
    const room = batch!.pixels.length / 5;
    for (const [position, index] of batch!.indices.entries()) {
      const image = noise(index);
      const packed = new Uint32Array(room);
      packPixels(image, packed, 0, room);
      expect(batch!.pixels.subarray(position * room, (position + 1) * room)).to.deep.equal(packed);
      const crops = drawCrops(augment, { seed: 11, epoch: 0, index }, image);
      expect(batch!.pictures[position]).to.deep.equal({ rows: image.rows, cols: image.cols, crops });
    }
  });

  it("draws crops with too little content again, made by threads or by a device", async () => {
    const sparse = Array.from({ length: 5 }, (_, index) => {
      const image = noise(index);
      image.pixels.fill(255, 3 * 3 * image.cols); // three rows of noise above nothing
      image.pixels.fill(255, 0, 3 * image.cols);
      return image;
    });
    const full = { ...augment, minContent: 0.3 };
    const options = { ...basics, images: memoryImages({ images: sparse }), augment: full };
    const [batch] = await take(1, options);
    const [prepared] = await take(1, { ...options, onDevice: true });
    const [any] = await take(1, { ...options, augment });
    expect(batch!.locals).to.not.deep.equal(any!.locals);
    for (const [position, index] of batch!.indices.entries()) {
      const image = sparse[index]!;
      const crops = drawCrops(full, { seed: 11, epoch: 0, index }, image);
      expect(prepared!.pictures[position]!.crops).to.deep.equal(crops);
      const start = position * 3 * 80;
      expect(batch!.globals.slice(start, start + 3 * 80)).to.deep.equal(applyCrop(image, crops[0]!));
    }
  });

  it("lays crops out crop-major, each as drawn for its image and epoch", async () => {
    const [, , , , batch] = await take(5, basics);
    expect([batch!.epoch, batch!.iteration]).to.deep.equal([1, 0]);
    expect([batch!.globals.length, batch!.locals.length]).to.deep.equal([2 * 5 * 3 * 80, 3 * 5 * 3 * 24]);
    for (const [position, index] of batch!.indices.entries()) {
      const image = await memory.decode(index);
      if (isFailure(image)) throw new Error(image.reason);
      const all = drawCrops(augment, { seed: 11, epoch: 1, index }, image).map((each) => applyCrop(image, each));
      for (const [crop, expected] of all.entries()) {
        const from = crop < 2 ? batch!.globals : batch!.locals;
        const start = ((crop < 2 ? crop : crop - 2) * 5 + position) * expected.length;
        expect(from.slice(start, start + expected.length), `crop ${crop} of ${index}`).to.deep.equal(expected);
      }
    }
  });

  it("lays the same crops out part by part, crop-major in each part", async () => {
    const options = { ...basics, batch: 6 };
    const [whole, inParts] = [(await take(1, options))[0]!, (await take(1, { ...options, parts: 3 }))[0]!];
    for (const [name, crops, size] of [
      ["globals", 2, 3 * 80],
      ["locals", 3, 3 * 24],
    ] as const) {
      const each = (batch: typeof whole, place: number) => batch[name].slice(place * size, (place + 1) * size);
      const places = [0, 1, 2].flatMap((part) =>
        Array.from({ length: crops }, (_, crop) => [0, 1].map((image) => crop * 6 + part * 2 + image)).flat(),
      );
      expect(new Set(places).size).to.equal(crops * 6);
      places.forEach((place, i) => expect(each(inParts, i), `${name} ${i}`).to.deep.equal(each(whole, place)));
    }
    expect({ ...inParts, globals: [], locals: [] }).to.deep.equal({ ...whole, globals: [], locals: [] });
  });

  it("shows every image at most once an epoch, in another order each time, and drops what is left over", async () => {
    const batches = await take(8, basics);
    expect(batches.map(({ epoch, iteration }) => [epoch, iteration])).to.deep.equal(
      [0, 1].flatMap((epoch) => [0, 1, 2, 3].map((iteration) => [epoch, iteration])),
    );
    const shown = [0, 1].map((epoch) =>
      batches.filter((each) => each.epoch === epoch).flatMap((each) => [...each.indices]),
    );
    for (const indices of shown) expect(new Set(indices).size).to.equal(20);
    expect(shown[0]).to.not.deep.equal(shown[1]);
  });

  it("resumes anywhere with the bytes of the uninterrupted run", async () => {
    const all = await take(10, basics);
    for (const from of [1, 3, 4, 7]) {
      const start = { epoch: Math.floor(from / 4), iteration: from % 4 };
      expect(await take(2, { ...basics, start, threads: 2 })).to.deep.equal(all.slice(from, from + 2));
    }
  });

  it("keeps to the images it is given", async () => {
    const indices = [2, 3, 5, 7, 11, 13, 17];
    const batches = await take(6, { ...basics, batch: 3, indices });
    expect(new Set(batches.flatMap((each) => [...each.indices]))).to.deep.equal(new Set(indices));
  });

  it("works without local crops", async () => {
    const [batch] = await take(1, { ...basics, augment: { ...augment, localCrops: 0 } });
    expect(batch!.locals).to.have.lengthOf(0);
  });

  it("refuses what cannot make a batch", () => {
    const refused: readonly [Partial<ThreadedBatchOptions>, string][] = [
      [{ batch: 24 }, "expected at least one batch of 24 images, got 23"],
      [{ batch: 0 }, "batches batch: expected a whole number from 1"],
      [{ parts: 2 }, "crops: a batch of 5 images has no 2 equal parts; take a number that divides it"],
      [{ indices: [1, 2] }, "expected at least one batch of 5 images, got 2"],
      [{ indices: [0, 1, 2, 3, 23] }, "got 23"],
      [{ threads: 0 }, "batches threads: expected 1 or more, got 0"],
      [{ prefetch: 0 }, "batches prefetch"],
      [{ start: { epoch: 0, iteration: 4 } }, "batches start.iteration: expected a whole number from 0 to 3, got 4"],
      [{ augment: { ...augment, hue: 2 } }, "augment hue"],
    ];
    for (const [wrong, message] of refused)
      expect(() => openThreadedBatches({ ...basics, ...wrong }), message).to.throw(message);
  });

  it("reports how long it waited, and answers one call at a time", async () => {
    await using batches = openThreadedBatches(basics);
    const first = batches.next();
    expect(await rejection(batches.next())).to.equal(
      "batches: next was called before the last call was answered; await each one",
    );
    expect((await first).waitedMs).to.be.greaterThan(0);
  });

  it("ends its workers on close, and answers nothing any more", async () => {
    const batches = openThreadedBatches(basics);
    await batches.next();
    const waiting = drain(batches);
    await batches.close();
    expect(await waiting).to.equal("batches: closed");
    expect(await rejection(batches.next())).to.equal("batches: closed");
    await batches.close();
  });

  it("passes on what went wrong in a worker", async () => {
    const images: ImageSet = { ...memory, decoding: { channels: 1 } };
    await using batches = openThreadedBatches({ ...basics, images });
    expect(await rejection(batches.next())).to.match(
      /batches: a worker failed: crops: expected images of 3 channels, got 1/,
    );
    expect(await rejection(batches.next())).to.match(/batches: a worker failed/);
  });
});

async function drain(batches: Batches): Promise<string> {
  for (;;) {
    const message = await rejection(batches.next());
    if (message !== "no error") return message;
  }
}

describe("batches of files", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "batches-"));
    for (let index = 0; index < 12; index++) {
      const { rows, cols, pixels } = noise(index);
      const file = await sharp(pixels, { raw: { width: cols, height: rows, channels: 3 } })
        .png()
        .toBuffer();
      await writeFile(join(folder, `${String(index).padStart(2, "0")}.png`), file);
    }
  });
  afterEach(() => rm(folder, { recursive: true }));

  const corrupt = (...names: string[]): Promise<unknown> =>
    Promise.all(names.map((name) => writeFile(join(folder, `${name}.png`), "no image")));

  it("gives the same as the same images in memory", async () => {
    const images = Array.from({ length: 12 }, (_, index) => noise(index));
    const stored = await take(4, { ...basics, images: memoryImages({ images }) });
    expect(await take(4, { ...basics, images: await openImages(folder), threads: 2 })).to.deep.equal(stored);
  });

  it("puts the next good image in a corrupt one's place, and reports it", async () => {
    const whole = await take(6, { ...basics, batch: 4, images: await openImages(folder) });
    await corrupt("03", "04", "11");
    const images = await openImages(folder);
    const broken = await take(6, { ...basics, batch: 4, images });
    const instead = new Map([
      [3, 5],
      [4, 5],
      [11, 0],
    ]);
    for (const [i, { indices, globals }] of whole.entries()) {
      expect([...broken[i]!.indices]).to.deep.equal(Array.from(indices, (index) => instead.get(index) ?? index));
      for (const [position, index] of indices.entries()) {
        const [start, end] = [position * 240, position * 240 + 240];
        const same = globals.slice(start, end).join() === broken[i]!.globals.slice(start, end).join();
        expect(same, `image ${index}`).to.equal(!instead.has(index));
      }
    }
    expect([...images.failures.keys()].sort((a, b) => a - b)).to.deep.equal([3, 4, 11]);
    expect(images.failures.get(3)!.path).to.equal("03.png");
    const again = await take(6, { ...basics, batch: 4, images: await openImages(folder), threads: 3 });
    expect(again).to.deep.equal(broken);
    expect(await take(6, { ...basics, batch: 4, images })).to.deep.equal(broken);
  });

  it("throws if not one image can be decoded", async () => {
    await corrupt(...Array.from({ length: 12 }, (_, index) => String(index).padStart(2, "0")));
    await using all = openThreadedBatches({ ...basics, images: await openImages(folder) });
    expect(await rejection(all.next())).to.match(/not one of 12 could be decoded/);
    await using some = openThreadedBatches({ ...basics, images: await openImages(folder), indices: [1, 2, 3, 4, 5] });
    expect(await rejection(some.next())).to.match(/not one of the 5 to train on could be decoded/);
  });
});
