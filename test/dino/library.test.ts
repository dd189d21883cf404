import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { isFailure } from "../../dino/images/image-location.js";
import { normalize, normalizeTable } from "../../dino/images/pixels.js";
import {
  attentionMaps,
  embed,
  embedPatches,
  knn,
  loadModel,
  memoryImages,
  openImages,
  train,
} from "../../dino/index.js";
import { lastAttention } from "../../dino/model/vit.js";
import { evaluate, input } from "../../engine/index.js";
import { relmax } from "../golden/golden.js";
import { drawFolder, tinySettings, writeTinyCheckpoint } from "../support/command-line.js";
import { testDevice } from "../support/device.js";
import { families, writeModelOf } from "../support/families.js";
import { rejection } from "../support/rejection.js";

describe("library", function () {
  this.timeout(120_000);
  let folder: string;
  let photos: string;
  let checkpoint: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "library-"));
    photos = join(folder, "photos");
    checkpoint = join(folder, "run.safetensors");
    await drawFolder(photos, 4);
    await writeTinyCheckpoint(checkpoint);
  });
  after(() => rm(folder, { recursive: true }));

  it("embeds a folder, a set, and images in memory alike", async () => {
    const device = await testDevice();
    using model = await loadModel(checkpoint, { device });
    const { features, names, failures } = await embed(model, photos, { batch: 3 });
    expect({ rows: features.rows, dim: features.dim, failures }).to.deep.equal({ rows: 8, dim: 16, failures: [] });
    expect(names[0]).to.equal("blue/0.png");
    const set = await openImages(photos);
    expect(await embed(model, set, { batch: 3 })).to.deep.equal({ features, names, failures });
    const images = await Promise.all(
      names.map(async (_, i) => {
        const image = await set.decode(i);
        return isFailure(image) ? expect.fail(image.reason) : image;
      }),
    );
    expect((await embed(model, images, { batch: 3 })).features).to.deep.equal(features);
    expect(device.failure()).to.equal(undefined); // it stays open
  });

  for (const family of families) {
    it(`embeds the patches of ${family} image by image, and names what it cannot decode`, async () => {
      const path = join(folder, `${family}.safetensors`);
      await writeModelOf(family, path);
      using model = await loadModel(path, { device: await testDevice() });
      const torn = join(folder, "torn");
      await drawFolder(torn, 2);
      await writeFile(join(torn, "blue", "0.png"), "torn");
      const failures: string[] = [];
      const found = [];
      const onFailure = ({ path: of }: { readonly path: string }) => void failures.push(of);
      for await (const one of embedPatches(model, torn, { batch: 2, onFailure })) found.push(one);
      const { names, features } = await embed(model, torn, { batch: 2 });
      expect(failures).to.deep.equal(["blue/0.png"]);
      expect(found.map(({ name }) => name)).to.deep.equal(names);
      const { dim, patch } = model.vit;
      const { rows, cols } = model.config.imageSize;
      for (const [i, one] of found.entries()) {
        expect(one).to.include({ rows: rows / patch, cols: cols / patch, dim });
        expect(one.feature).to.deep.equal(features.values.subarray(i * dim, (i + 1) * dim));
        expect(one.patches).to.have.length((rows / patch) * (cols / patch) * dim);
        expect(one.patches).to.not.deep.equal(found[(i + 1) % found.length]!.patches);
      }
    });
  }

  for (const family of families) {
    it(`measures neighbours among classes with ${family}, and refuses images without`, async () => {
      const path = join(folder, `${family}.safetensors`);
      await writeModelOf(family, path);
      using model = await loadModel(path, { device: await testDevice() });
      const { results, trainImages } = await knn(model, { train: photos, test: photos, ks: [1] });
      expect(trainImages).to.equal(8);
      expect(results).to.have.length(1);
      expect(results[0]!).to.include({ k: 1, top1: 100 }); // each is its own nearest neighbour
      const images = [{ rows: 16, cols: 16, pixels: new Uint8Array(16 * 16 * 3) }];
      expect(await rejection(knn(model, { train: photos, test: memoryImages({ images }) }))).to.include(
        "have no classes",
      );
    });
  }

  it("gives maps of attention, in patches, whose shares leave the cls token its own", async () => {
    using model = await loadModel(checkpoint, { device: await testDevice() });
    const image = { rows: 30, cols: 60, pixels: new Uint8Array(30 * 60 * 3).fill(9) };
    const seen = [];
    for await (const maps of attentionMaps(model, [join(photos, "red/0.png"), image], { size: 24 })) seen.push(maps);
    expect(seen.map(({ heads, rows, cols }) => [heads, rows, cols])[1]).to.deep.equal([2, 3, 6]);
    expect(seen[1]!.image).to.include({ rows: 24, cols: 48 });
    for (const { maps, heads, rows, cols } of seen) {
      const map = maps.subarray(0, rows * cols);
      expect(maps.length).to.equal(heads * rows * cols);
      expect(map.reduce((sum, share) => sum + share, 0)).to.be.within(0.5, 1);
    }
    await writeFile(join(folder, "no.png"), "no image");
    const refused = attentionMaps(model, [join(folder, "no.png")]).next();
    expect(await rejection(refused)).to.include(`${join(folder, "no.png")}: expected an image`);
  });

  for (const family of families) {
    it(`gives the attention of ${family} to patches, without registers`, async () => {
      const path = join(folder, `${family}.safetensors`);
      await writeModelOf(family, path);
      using model = await loadModel(path, { device: await testDevice() });
      const { patch, heads, registers = 0 } = model.vit;
      const file = join(photos, "blue/1.png");
      for await (const { maps, rows, cols, image } of attentionMaps(model, [file], { size: 3 * patch })) {
        using pixels = input(model.device, [1, 3, image.rows, image.cols]);
        pixels.write(normalize(image, normalizeTable(model.config)));
        const whole = await evaluate(model.device, () => ({ all: lastAttention(model.vit, model.params, pixels, 1) }));
        const tokens = 1 + registers + rows * cols;
        const ofPatches = whole.all.filter((_, i) => i % tokens > registers);
        expect(whole.all).to.have.length(heads * tokens);
        expect(relmax(maps, ofPatches)).to.be.below(1e-5);
      }
    });
  }

  it("trains in silence, ends when told, and goes on", async () => {
    const device = await testDevice();
    const out = join(folder, "trained");
    const run = {
      ...tinySettings,
      data: photos,
      out,
      steps: 3,
      batch: 2,
      localCropsNumber: 0,
      warmupEpochs: 0,
      threads: 1,
    };
    const told: number[] = [];
    const ending = new AbortController();
    const onProgress = ({ step }: { readonly step: number }) => {
      told.push(step);
      ending.abort();
    };
    const stopped = await train(run, { device, stop: ending.signal, onProgress });
    expect(stopped).to.include({ done: 2, steps: 3 }); // the second step runs when the loss of the first is known
    expect(await rejection(train(run, { device }))).to.include(`${out} already holds a run`);
    const ended = await train({ out }, { device, resume: true, onProgress });
    expect(ended).to.include({ done: 3, hasClasses: true });
    expect(told).to.deep.equal([1, 2, 3]);
    using model = await loadModel(ended.checkpoint, { device, which: "student" });
    expect(model.config.steps).to.equal(3);
    expect(await rejection(train({ out: join(folder, "other") }))).to.equal(
      "train data: expected a folder of images, or `builtin`",
    );
  });

  it("names what it cannot load, and closes the device that it opened", async () => {
    expect(await rejection(loadModel(join(folder, "none")))).to.include("there is no such checkpoint");
    const model = await loadModel(checkpoint);
    expect(model.device.failure()).to.equal(undefined);
    model[Symbol.dispose]();
    expect(model.device.failure()?.message).to.include("was disposed");
  });
});
