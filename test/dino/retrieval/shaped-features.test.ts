import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import sharp from "sharp";
import { memoryImages } from "../../../dino/images/image-set.js";
import { type Box, type Image, normalize, normalizeTable, resize, resizedCrop } from "../../../dino/images/pixels.js";
import { listedImages } from "../../../dino/images/sources/folder-images.js";
import { rng } from "../../../dino/math/random.js";
import type { Backbone } from "../../../dino/model/backbone.js";
import { vit } from "../../../dino/model/vit.js";
import { imagesAtOnce, SCALES, shapedFeatures } from "../../../dino/retrieval/shaped-features.js";
import { groupByShape } from "../../../dino/retrieval/shapes.js";
import { shrinkBilinear } from "../../../dino/retrieval/shrink.js";
import { evaluate, input } from "../../../engine/index.js";
import { testDevice } from "../../support/device.js";
import { rejection } from "../../support/rejection.js";
import { tinyBackbone } from "../../support/tiny-backbone.js";

const normalization = { mean: [0.5, 0.4, 0.3], std: [0.2, 0.3, 0.4] } as const;

function noise(index: number, rows: number, cols: number): Image {
  const random = rng({ seed: 3, index, purpose: "noise" });
  return { rows, cols, pixels: Uint8Array.from({ length: rows * cols * 3 }, () => random.integer(256)) };
}

describe("features of images in their own shape", () => {
  let backbone: Backbone;
  before(async () => void (backbone = tinyBackbone(await testDevice())));

  /** The cls features of planes [3, rows, cols] by themselves, of what is not a multiple of the patch too. */
  async function clsOf(planes: Float32Array, rows: number, cols: number): Promise<Float32Array> {
    using pixels = input(backbone.device, [1, 3, rows, cols]);
    pixels.write(planes);
    return (await evaluate(backbone.device, () => ({ cls: vit(backbone.vit, backbone.params, pixels) }))).cls;
  }

  it("are those of each image by itself, shrunk to the side, in the order of the set", async () => {
    const images = [noise(0, 30, 20), noise(1, 9, 15), noise(2, 28, 19), noise(3, 16, 11)];
    const seen: number[] = [];
    const { features, indices, failures } = await shapedFeatures(backbone, memoryImages({ images }), {
      ...{ side: 16, scales: [1], normalization, batch: 2, onProgress: (done) => void seen.push(done) },
    });
    expect(Array.from(indices)).to.deep.equal([0, 1, 2, 3]);
    expect(failures).to.deep.equal([]);
    expect(seen.at(-1)).to.equal(4);
    const sizes = [
      [16, 11],
      [9, 15],
      [16, 11],
      [16, 11],
    ] as const;
    for (const [i, [rows, cols]] of sizes.entries()) {
      const planes = normalize(resize(images[i]!, { rows, cols }, "lanczos"), normalizeTable(normalization));
      expectClose(features.values.subarray(i * 12, (i + 1) * 12), await clsOf(planes, rows, cols));
    }
  });

  it("are the mean over scales, each shrunk from the first", async () => {
    const image = noise(5, 30, 23);
    const options = { side: 30, scales: SCALES, normalization };
    const { features } = await shapedFeatures(backbone, memoryImages({ images: [image] }), options);
    const planes = normalize(image, normalizeTable(normalization));
    const parts = [
      await clsOf(planes, 30, 23),
      await clsOf(shrinkBilinear(planes, image, 1 / Math.sqrt(2)), 21, 16),
      await clsOf(shrinkBilinear(planes, image, 1 / 2), 15, 11),
    ];
    expectClose(
      features.values,
      parts[0]!.map((value, c) => (value + parts[1]![c]! + parts[2]![c]!) / 3),
    );
  });

  it("are those of a box, as far as it lies within the image", async () => {
    const images = [noise(6, 20, 24), noise(7, 20, 24)];
    const boxes = [
      { top: 3, left: 5, height: 9, width: 12 },
      { top: -2, left: 10, height: 12, width: 99 },
    ];
    const options = { side: 16, scales: [1], normalization, boxes };
    const { features } = await shapedFeatures(backbone, memoryImages({ images }), options);
    const within: readonly Box[] = [boxes[0]!, { top: 0, left: 10, height: 10, width: 14 }];
    for (const [i, box] of within.entries()) {
      const size = { rows: box.height, cols: box.width };
      const planes = normalize(resizedCrop(images[i]!, box, size), normalizeTable(normalization));
      expectClose(features.values.subarray(i * 12, (i + 1) * 12), await clsOf(planes, size.rows, size.cols));
    }
  });

  it("leave out what cannot be read, or refuse it", async () => {
    const folder = await mkdtemp(join(tmpdir(), "shaped-"));
    const { rows, cols, pixels } = noise(8, 9, 15);
    const raw = { width: cols, height: rows, channels: 3 } as const;
    await sharp(pixels, { raw }).png().toFile(join(folder, "good.png"));
    const images = listedImages(folder, ["gone.png", "good.png"]);
    const options = { side: 16, scales: [1], normalization };
    const { features, indices, failures } = await shapedFeatures(backbone, images, options);
    expect([features.rows, ...indices]).to.deep.equal([1, 1]);
    expect(failures.map(({ path }) => path)).to.deep.equal(["gone.png"]);
    const refused = rejection(shapedFeatures(backbone, images, { ...options, needsAll: true }));
    expect(await refused).to.include("gone.png: expected an image");
    await rm(folder, { recursive: true });
  });
});

describe("shapes", () => {
  const sized = (...sizes: (readonly [number, number])[]) =>
    memoryImages({ images: sizes.map(([rows, cols]) => ({ rows, cols, pixels: new Uint8Array(rows * cols * 3) })) });

  it("go together where the same whole patches are seen", async () => {
    const images = sized([16, 12], [19, 13], [12, 16], [40, 30]);
    const { groups } = await groupByShape(images, 4, { side: 20, scales: [1] });
    expect(groups.map(({ indices }) => indices)).to.deep.equal([[0, 1], [2], [3]]);
    expect(groups[2]!.sizes).to.deep.equal([{ rows: 20, cols: 12 }]);
  });

  it("hold a patch at the smallest scale, however oblong the image", async () => {
    const { groups, boxes: fits } = await groupByShape(sized([2, 100]), 4, { side: 40, scales: SCALES });
    expect(fits.get(0)!.size).to.deep.equal({ rows: 8, cols: 40 });
    expect(groups[0]!.sizes.map(({ rows }) => rows)).to.deep.equal([8, 4, 4]);
  });

  it("refuse a side without a patch, and a box outside", async () => {
    const images = sized([9, 9]);
    expect(await rejection(groupByShape(images, 4, { side: 7, scales: SCALES }))).to.equal(
      "an image size of 7 holds no patch of 4 at a scale of 0.5; expected 8 or more",
    );
    const boxes = [{ top: 0, left: 9, height: 3, width: 3 }];
    expect(await rejection(groupByShape(images, 4, { side: 9, scales: [1], boxes }))).to.include(
      "image 0: expected a box within 9 x 9 pixels, got left 9, top 0, width 3, height 3",
    );
  });

  it("of many tokens go through in smaller batches", () => {
    expect(imagesAtOnce(64, 197)).to.equal(64);
    expect(imagesAtOnce(64, 4 * 197)).to.equal(16);
    expect(imagesAtOnce(8, 10)).to.equal(8);
    expect(imagesAtOnce(64, 1e6)).to.equal(1);
  });
});

describe("shrinking between neighbours", () => {
  it("takes the values that lie there, of each plane by itself", () => {
    const [half, root] = [1 / 2, Math.SQRT1_2];
    const line = { rows: 1, cols: 4 };
    expect(Array.from(shrinkBilinear(Float32Array.of(0, 1, 2, 3), { rows: 4, cols: 1 }, half))).to.deep.equal([]);
    const square = Float32Array.from({ length: 2 * 4 * 4 }, (_, i) => i);
    expect(Array.from(shrinkBilinear(square, { rows: 4, cols: 4 }, half))).to.deep.equal([
      ...[2.5, 4.5, 10.5, 12.5],
      ...[18.5, 20.5, 26.5, 28.5],
    ]);
    const tall = Float32Array.from({ length: 16 }, (_, i) => i % 4);
    const at = (i: number) => (i + 0.5) / root - 0.5;
    const expected = [at(0), at(1), at(0), at(1)];
    expectClose(shrinkBilinear(tall, { rows: 4, cols: 4 }, root), expected);
    expect(shrinkBilinear(Float32Array.of(5, 6, 7, 8), line, 1)).to.deep.equal(Float32Array.of(5, 6, 7, 8));
  });
});

function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>): void {
  expect(actual.length).to.equal(expected.length);
  const largest = Array.from(expected).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  for (let i = 0; i < expected.length; i++) expect(actual[i]).to.be.closeTo(expected[i]!, 2e-5 * largest, `at ${i}`);
}
