import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import sharp from "sharp";
import { similaritiesOn } from "../../../dino/evaluation/device-similarities.js";
import { evaluateKnn } from "../../../dino/evaluation/evaluate.js";
import { evalCrop } from "../../../dino/images/augment.js";
import { type ImageSet, memoryImages } from "../../../dino/images/image-set.js";
import type { Image } from "../../../dino/images/pixels.js";
import { openImages } from "../../../dino/images/sources/folder-images.js";
import { openSplits } from "../../../dino/images/sources/open-splits.js";
import { fullSubset } from "../../../dino/images/split.js";
import { dotProducts, type FeatureRows } from "../../../dino/math/feature-rows.js";
import { nearestIn } from "../../../dino/math/nearest-rows.js";
import { rng } from "../../../dino/math/random.js";
import type { Backbone, View } from "../../../dino/model/backbone.js";
import { blocksDescriptor, type BlocksOptions } from "../../../dino/model/descriptors.js";
import { extractFeatures, featureBatches, pixelFeatures } from "../../../dino/model/extract.js";
import { intermediateLayers, vit } from "../../../dino/model/vit.js";
import { neighborsOf } from "../../../dino/retrieval/neighbors.js";
import { evaluate, input, type Tensor } from "../../../engine/index.js";
import { testDevice } from "../../support/device.js";
import { rejection } from "../../support/rejection.js";
import { tinyBackbone } from "../../support/tiny-backbone.js";

const view: View = { resize: 9, crop: { rows: 8, cols: 8 }, mean: [0.5, 0.4, 0.3], std: [0.2, 0.3, 0.4] };

function noise(index: number, rows: number, cols: number): Image {
  const random = rng({ seed: 2, index, purpose: "noise" });
  return { rows, cols, pixels: Uint8Array.from({ length: rows * cols * 3 }, () => random.integer(256)) };
}

const noises = (count: number): readonly Image[] => Array.from({ length: count }, (_, i) => noise(i, 10 + i, 12));

function randomRows(rows: number, dim: number, seed: number): FeatureRows {
  const random = rng({ seed, purpose: "rows" });
  return { values: Float32Array.from({ length: rows * dim }, () => random.normal()), rows, dim };
}

/** Rows of whole numbers, whose sums of products are exact, and many of them equal. */
function wholeRows(rows: number, dim: number, seed: number): FeatureRows {
  const random = rng({ seed, purpose: "rows" });
  return { values: Float32Array.from({ length: rows * dim }, () => random.integer(3) - 1), rows, dim };
}

function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>): void {
  expect(actual.length).to.equal(expected.length);
  const largest = Array.from(expected).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  for (let i = 0; i < expected.length; i++) expect(actual[i]).to.be.closeTo(expected[i]!, 1e-5 * largest, `at ${i}`);
}

describe("features", () => {
  let backbone: Backbone;
  before(async () => void (backbone = tinyBackbone(await testDevice())));

  it("gives each image the features it has by itself, whatever the batch", async () => {
    const images = noises(5);
    const set = memoryImages({ images });
    const seen: number[] = [];
    const onProgress = (done: number): void => void seen.push(done);
    const extracted = await extractFeatures(backbone, set, { view, batch: 2, onProgress });
    expect(extracted.features).to.include({ rows: 5, dim: 12 });
    expect(seen).to.deep.equal([2, 4, 5]);
    for (const [i, image] of images.entries()) {
      using pixels = input(backbone.device, [1, 3, 8, 8]);
      pixels.write(evalCrop(image, view));
      const { cls } = await evaluate(backbone.device, () => ({ cls: vit(backbone.vit, backbone.params, pixels) }));
      expectClose(extracted.features.values.subarray(i * 12, (i + 1) * 12), cls);
    }
  });

  it("looks at the images asked for, in their order", async () => {
    const set = memoryImages({ images: noises(4) });
    const all = await extractFeatures(backbone, set, { view });
    const some = await extractFeatures(backbone, set, { view, indices: [3, 1], batch: 3 });
    expect(Array.from(some.indices)).to.deep.equal([3, 1]);
    expectClose(some.features.values.subarray(12), all.features.values.subarray(12, 24));
  });

  it("gives batches of what extractFeatures gives at once", async () => {
    const set = memoryImages({ images: noises(5) });
    const { features } = await extractFeatures(backbone, set, { view, batch: 2, indices: [4, 0, 2] });
    const batches: { indices: number[]; values: number[] }[] = [];
    for await (const { features: some, indices } of featureBatches(backbone, set, {
      view,
      batch: 2,
      indices: [4, 0, 2],
    }))
      batches.push({ indices: [...indices], values: [...some.values] });
    expect(batches.map(({ indices }) => indices)).to.deep.equal([[4, 0], [2]]);
    expect(batches.flatMap(({ values }) => values)).to.deep.equal([...features.values]);
  });

  it("shows images as it is told to", async () => {
    const images = noises(3);
    const set = memoryImages({ images });
    const show = (_: Image, index: number) => evalCrop(images[(index + 1) % 3]!, view);
    const shifted = await extractFeatures(backbone, set, { view, preprocess: show });
    const plain = await extractFeatures(backbone, set, { view, indices: [1, 2, 0] });
    expect(shifted.features.values).to.deep.equal(plain.features.values);
  });

  it("lays the tokens of the last blocks side by side", async () => {
    const [image] = noises(1);
    using pixels = input(backbone.device, [1, 3, 8, 8]);
    pixels.write(evalCrop(image!, view));
    const { first, last } = await evaluate(backbone.device, () => {
      const [first, last] = intermediateLayers(backbone.vit, backbone.params, pixels, 2) as [Tensor, Tensor];
      return { first, last };
    }); // each [1, 1 + 4, 12]
    const mean = Array.from({ length: 12 }, (_, c) => [1, 2, 3, 4].reduce((sum, t) => sum + last[t * 12 + c]! / 4, 0));
    const [early, late] = [[...first.subarray(0, 12)], [...last.subarray(0, 12)]];
    const expected: readonly (readonly [BlocksOptions, readonly number[]])[] = [
      [{ lastBlocks: 1, meanPatch: false }, late],
      [{ lastBlocks: 2, meanPatch: false }, [...early, ...late]],
      [{ lastBlocks: 2, meanPatch: true }, [...early, ...late, ...mean]],
      [{ lastBlocks: 1, meanPatch: true }, late.flatMap((v, c) => [v, mean[c]!])], // as eval_linear.py reshapes them
    ];
    for (const [options, values] of expected) {
      const descriptor = blocksDescriptor(backbone, options);
      const found = await extractFeatures(backbone, memoryImages({ images: [image!] }), { view, descriptor });
      expect(found.features.dim).to.equal(values.length);
      expectClose(found.features.values, values);
    }
  });

  it("refuses more blocks than there are", () => {
    for (const lastBlocks of [0, 3])
      expect(() => blocksDescriptor(backbone, { lastBlocks, meanPatch: false })).to.throw(
        "expected 1 to 2 last blocks",
      );
  });

  describe("of a folder with broken files", () => {
    let folder: string;
    before(async () => {
      folder = await mkdtemp(join(tmpdir(), "features-"));
      for (const i of [0, 1, 3]) {
        const { rows, cols, pixels } = noise(i, 12, 12);
        await sharp(pixels, { raw: { width: cols, height: rows, channels: 3 } })
          .png()
          .toFile(join(folder, `${i}.png`));
      }
      await writeFile(join(folder, "2.png"), "not a picture");
    });
    after(() => rm(folder, { recursive: true }));

    it("leaves them out and names them", async () => {
      const set = await openImages(folder);
      const { features, indices, failures } = await extractFeatures(backbone, set, { view, batch: 2 });
      expect(Array.from(indices)).to.deep.equal([0, 1, 3]);
      expect(features.rows).to.equal(3);
      expect(failures.map(({ path }) => path)).to.deep.equal(["2.png"]);
    });

    it("throws if none is left", async () => {
      const set = await openImages(folder);
      expect(await rejection(extractFeatures(backbone, set, { view, indices: [2] }))).to.include("not one of 1");
    });
  });

  it("takes pixels as they are", async () => {
    const yellow: Image = {
      rows: 4,
      cols: 4,
      pixels: Uint8Array.from({ length: 48 }, (_, i) => (i % 3 < 2 ? 255 : 0)),
    };
    const white: Image = { rows: 4, cols: 4, pixels: new Uint8Array(48).fill(255) };
    const features = async (images: Image[]): Promise<number[]> => {
      const small = { ...view, resize: 2, crop: { rows: 2, cols: 2 } };
      return Array.from((await pixelFeatures(memoryImages({ images }), { view: small })).features.values);
    };
    expect(await features([yellow])).to.deep.equal([...new Array<number>(8).fill(1), ...new Array<number>(4).fill(0)]);
    expect(await features([white])).to.deep.equal(new Array(4).fill(1)); // one channel says it all
  });
});

describe("similarities on a device", () => {
  it("are dot products, whatever the blocks and parts", async () => {
    const device = await testDevice();
    const { maxBufferSize, minStorageBufferOffsetAlignment } = device.limits;
    const tight = { maxBufferSize, minStorageBufferOffsetAlignment, maxStorageBufferBindingSize: 4 * 7 * 5 };
    for (const limits of [device.limits, tight as GPUSupportedLimits]) {
      const train = randomRows(23, 5, 1);
      using multiplied = similaritiesOn({ ...device, limits }, train);
      for (const rows of [3, 3, 1, 5]) {
        const block = randomRows(rows, 5, 10 + rows);
        expectClose(await multiplied.similarities(block, train), dotProducts(block, train));
      }
    }
  });

  for (const kernels of ["cpu", "gpu"] as const) {
    it(`are the largest that the host finds, with kernels made for a ${kernels.toUpperCase()}`, async () => {
      const device = await testDevice({ kernels });
      const { maxBufferSize, minStorageBufferOffsetAlignment } = device.limits;
      const tight = { maxBufferSize, minStorageBufferOffsetAlignment, maxStorageBufferBindingSize: 4 * 7 * 35 };
      for (const limits of [device.limits, tight as GPUSupportedLimits]) {
        const train = wholeRows(60, 7, 1);
        using onDevice = similaritiesOn({ ...device, limits }, train);
        for (const [rows, k] of [
          [4, 5],
          [3, 5],
          [4, 60],
          [2, 33],
          [1, 1],
        ] as const) {
          const block = wholeRows(rows, 7, 10 + rows);
          expect(await onDevice.nearest(block, k)).to.deep.equal(await nearestIn(train)(block, k));
        }
      }
    });
  }

  it("are none of a NaN", async () => {
    const train = wholeRows(9, 3, 1);
    train.values[4] = NaN;
    using onDevice = similaritiesOn(await testDevice(), train);
    const { rows } = await onDevice.nearest(wholeRows(2, 3, 2), 8);
    expect([...rows].filter((row) => row === 1)).to.deep.equal([]);
    expect(await rejection(onDevice.nearest(wholeRows(2, 3, 2), 9))).to.equal(
      "nearest: expected features of finite numbers; compute them again",
    );
  });

  it("leave out the row itself, also where more rows are alike than asked for", async () => {
    const { values } = wholeRows(1, 4, 3);
    const features = { values: Float32Array.from({ length: 48 }, (_, i) => values[i % 4]!), rows: 12, dim: 4 };
    using onDevice = similaritiesOn(await testDevice(), features);
    for (const { nearest } of [{ nearest: nearestIn(features) }, onDevice]) {
      const { rows } = await neighborsOf({ features, nearest, k: 3 });
      expect([...rows.subarray(0, 9)]).to.deep.equal([1, 2, 3, 0, 2, 3, 0, 1, 3]);
      expect([...rows.subarray(30)]).to.deep.equal([0, 1, 2, 0, 1, 2]);
    }
  });
});

describe("k-NN of features", () => {
  const gray = (value: number): Image => ({ rows: 8, cols: 8, pixels: new Uint8Array(192).fill(value) });
  const striped = (value: number): Image => {
    const pixels = Uint8Array.from({ length: 192 }, (_, i) => (Math.floor(i / 24) % 2) * value);
    return { rows: 8, cols: 8, pixels };
  };
  const setOf = (classes: readonly string[], count: number): ImageSet => {
    const labels = Array.from({ length: count }, (_, i) => i % classes.length);
    const draw = (i: number): Image =>
      classes[i % classes.length] === "plain" ? gray(50 + 9 * i) : striped(50 + 9 * i);
    return memoryImages({ images: labels.map((_, i) => draw(i)), labels, classes });
  };
  const extract = (part: { images: ImageSet; indices: Int32Array }) =>
    pixelFeatures(part.images, { view: { ...view, resize: 8 }, indices: part.indices });

  it("matches classes by name, not by number", async () => {
    const parts = {
      train: fullSubset(setOf(["plain", "striped"], 12)),
      test: fullSubset(setOf(["striped", "plain"], 6)),
    };
    for (const device of [undefined, await testDevice()]) {
      const report = await evaluateKnn({ splits: parts, ks: [3], extract, ...(device && { device }) });
      expect(report).to.include({ trainImages: 12, testImages: 6 });
      expect(report.results[0]!.top1).to.equal(100);
    }
  });

  it("refuses images without classes and classes it has not seen", async () => {
    const plain = fullSubset(setOf(["plain", "striped"], 4));
    const bare = fullSubset(memoryImages({ images: [gray(1)] }));
    const other = fullSubset(setOf(["plain", "dotted"], 4));
    const refusal = (train: typeof plain, test: typeof plain): Promise<string> =>
      rejection(evaluateKnn({ splits: { train, test }, ks: [1], extract }));
    expect(await refusal(plain, bare)).to.include("the test images have no classes");
    expect(await refusal(bare, plain)).to.include("the train images have no classes");
    expect(await refusal(plain, other)).to.include("a class dotted");
  });

  it("has built-in images whose split never changes", async () => {
    const { train, test } = await openSplits("builtin", { heldOut: 0.5, seed: 9 });
    expect([train.indices.length, test.indices.length]).to.deep.equal([2000, 500]);
    expect(train.images.classes).to.have.length(10);
    const names = new Set([...train.indices].map((index) => train.images.name(index)));
    expect([...test.indices].some((index) => names.has(test.images.name(index)))).to.equal(false);
    expect(train.images.name(0)).to.equal("bar 0");
  });
});
