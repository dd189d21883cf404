import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { encodeNpy } from "../../../dino/files/npy.js";
import { memoryImages } from "../../../dino/images/image-set.js";
import { type Image, normalize, normalizeTable } from "../../../dino/images/pixels.js";
import { type FeatureRows, normalizeRows } from "../../../dino/math/feature-rows.js";
import { rng } from "../../../dino/math/random.js";
import { type Model, viewOf } from "../../../dino/model/backbone.js";
import { extractFeatures } from "../../../dino/model/extract.js";
import { encode, lastAttention } from "../../../dino/model/vit.js";
import { colorsOf, fitColors } from "../../../dino/pictures/feature-colors.js";
import { attentionOf, similarityTo } from "../../../dino/web/viewer/maps.js";
import { openViewer, type ImageView, type Viewer } from "../../../dino/web/viewer/viewer-model.js";
import { loadModel } from "../../../dino/weights/load-model.js";
import { type Device, evaluate, input } from "../../../engine/index.js";
import { writeTinyCheckpoint } from "../../support/command-line.js";
import { testDevice } from "../../support/device.js";
import { families, writeModelOf } from "../../support/families.js";
import { rejection } from "../../support/rejection.js";

function noise(seed: number, rows: number, cols: number): Image {
  const random = rng({ seed, purpose: "noise" });
  return { rows, cols, pixels: Uint8Array.from({ length: rows * cols * 3 }, () => random.integer(256)) };
}

const OPTIONS = { size: 16, keepColors: false } as const;

describe("viewer", () => {
  let device: Device;
  let folder: string;
  let bytes: Uint8Array<ArrayBuffer>;
  let model: Model;
  let viewer: Viewer;
  before(async () => {
    device = await testDevice();
    folder = await mkdtemp(join(tmpdir(), "viewer-"));
    const path = join(folder, "tiny.safetensors");
    await writeTinyCheckpoint(path, { depth: 2, registers: 2 });
    bytes = new Uint8Array(await readFile(path));
    model = await loadModel(device, path);
    viewer = await openViewer(device, bytes);
  });
  after(async () => {
    for (const owned of [viewer, model]) owned[Symbol.dispose]();
    await rm(folder, { recursive: true });
  });

  /** The device, as if it bound this many bytes. */
  const binding = (most: number): Device => {
    const limits = new Proxy(device.limits, {
      get: (all, name) => (name === "maxStorageBufferBindingSize" ? most : (Reflect.get(all, name, all) as number)),
    });
    return { ...device, limits };
  };
  const cosine = (a: Float32Array, b: Float32Array): number =>
    a.reduce((sum, value, i) => sum + value * b[i]!, 0) / (Math.hypot(...a) * Math.hypot(...b));

  /** Expects attention and likeness at 2 x 4 patches to be those of the network. */
  async function expectSeen(seeing: Viewer, seen: Model): Promise<void> {
    const { patch, dim, heads, registers = 0 } = seen.vit;
    const image = noise(1, 20, 41);
    const sight: ImageView = await seeing.inspect(image, { ...OPTIONS, size: 2 * patch + 3 });
    const size = { rows: 2 * patch, cols: 4 * patch };
    expect([sight.rows, sight.cols]).to.deep.equal([2, 4]);
    expect(sight.image).to.include(size);
    using pixels = input(device, [1, 3, size.rows, size.cols]);
    pixels.write(normalize(sight.image, normalizeTable(seen.config)));
    const whole = await evaluate(device, () => ({
      tokens: encode(seen.vit, seen.params, pixels), // [1, 1 + 8, dim]
      attention: lastAttention(seen.vit, seen.params, pixels), // [1, heads, 1 + registers + 8, 1 + registers + 8]
    }));
    const first = 1 + registers;
    const tokens = first + 8;
    for (const [focus, token] of [
      [undefined, 0],
      [0, first],
      [5, first + 5],
    ] as const) {
      const { ofHeads, mean } = attentionOf(sight, focus);
      expect(ofHeads).to.have.length(heads);
      for (let at = 0; at < 8; at++) {
        const expected = ofHeads.map((_, head) => whole.attention[(head * tokens + token) * tokens + first + at]!);
        expected.forEach((value, head) => expect(ofHeads[head]![at]).to.be.closeTo(value, 1e-6));
        expect(mean[at]).to.be.closeTo(expected.reduce((a, b) => a + b) / heads, 1e-6);
      }
    }
    const featureOf = (at: number) => whole.tokens.subarray((1 + at) * dim, (2 + at) * dim);
    similarityTo(sight, 5).forEach((value, at) =>
      expect(value).to.be.closeTo(cosine(featureOf(5), featureOf(at)), 1e-5),
    );
  }

  for (const family of families) {
    it(`sees the attention of every patch and their likeness, as the network of ${family} has them`, async () => {
      const path = join(folder, `${family}.safetensors`);
      await writeModelOf(family, path);
      using seen = await loadModel(device, path);
      using seeing = await openViewer(device, new Uint8Array(await readFile(path)));
      await expectSeen(seeing, seen);
    });
  }

  it("sees them where the device binds less than the attention of all tokens", async () => {
    const image = noise(1, 256, 256);
    const large = { ...OPTIONS, size: 256 };
    using seeing = await openViewer(binding(2 ** 20), bytes);
    const { rows, cols, features, ...sight } = await seeing.inspect(image, large);
    const tokens = 1 + 2 + rows * cols;
    expect(4 * model.vit.heads * tokens ** 2).to.be.above(2 ** 20);
    const whole = await viewer.inspect(image, large);
    for (const focus of [undefined, 0, 1000])
      expect(attentionOf({ ...sight, rows, cols, features }, focus)).to.deep.equal(attentionOf(whole, focus));
    const { mean } = attentionOf(whole, 1000);
    expect(mean.reduce((sum, share) => sum + share)).to.be.within(0.9, 1);
  });

  it("keeps the meaning of colours where it is asked to", async () => {
    const [first, other] = [noise(2, 32, 32), noise(3, 32, 32)];
    const { colors } = await viewer.inspect(first, OPTIONS);
    const kept = await viewer.inspect(other, { ...OPTIONS, keepColors: true });
    const own = await viewer.inspect(other, OPTIONS);
    expect(kept.colors).to.not.deep.equal(own.colors);
    expect((await viewer.inspect(first, OPTIONS)).colors).to.deep.equal(colors);
  });

  it("fits colours to some patches where there are many, much as to all", async () => {
    const side = 400;
    const wave = (i: number) => 128 + 100 * Math.sin(i / (20 + 9 * (i % 3))) + ((i * 7919) % 23);
    const image = { rows: side, cols: side, pixels: Uint8Array.from({ length: side * side * 3 }, (_, i) => wave(i)) };
    const { features, colors, rows, cols } = await viewer.inspect(image, { ...OPTIONS, size: side });
    expect(rows * cols).to.equal(2500);
    const all = { values: features, rows: rows * cols, dim: model.vit.dim };
    const expected = colorsOf(fitColors(all), features).flat();
    const apart = colors.reduce((sum, value, i) => sum + Math.abs(value - expected[i]!), 0) / colors.length;
    expect(apart).to.be.within(1e-6, 4); // of 255
  });

  it("finds the images of an index that are most like one, as dino embed sees them", async () => {
    const images = [4, 5, 6, 7].map((seed) => noise(seed, 24, 24));
    const view = viewOf(model.config);
    const { features } = await extractFeatures(model, memoryImages({ images }), { view });
    viewer.setIndex(encodeNpy({ values: features.values, shape: [4, features.dim] }));
    const { neighbors } = await viewer.inspect(images[2]!, OPTIONS);
    expect(neighbors.map(({ row }) => row)).to.have.members([0, 1, 2, 3]);
    expect(neighbors[0]).to.deep.include({ row: 2 });
    expect(neighbors[0]!.similarity).to.be.closeTo(1, 1e-5);
    const rowOf = ({ values, dim }: FeatureRows, row: number) => values.subarray(row * dim, (row + 1) * dim);
    normalizeRows(features);
    for (const { row, similarity } of neighbors)
      expect(similarity).to.be.closeTo(cosine(rowOf(features, 2), rowOf(features, row)), 1e-5);
  });

  it("takes images of the channels of its network, and shows the first three, or those called red, green and blue", async () => {
    const path = join(folder, "five.safetensors");
    const channelNames = ["a", "b", "c", "d", "e"];
    await writeTinyCheckpoint(path, { channels: 5, channelNames });
    using five = await openViewer(device, new Uint8Array(await readFile(path)));
    expect(five.facts).to.deep.include({ channels: 5, channelNames });
    const pixels = Uint8Array.from({ length: 16 * 16 * 5 }, (_, i) => (i * 37) % 251);
    const { image, features } = await five.inspect({ rows: 16, cols: 16, pixels }, OPTIONS);
    expect([...image.pixels]).to.deep.equal([...pixels.filter((_, i) => i % 5 < 3)]);
    const changed = pixels.map((value, i) => (i % 5 === 4 ? 255 - value : value));
    const other = await five.inspect({ rows: 16, cols: 16, pixels: changed }, OPTIONS);
    expect(other.image).to.deep.equal(image);
    expect(other.features).to.not.deep.equal(features);

    await writeTinyCheckpoint(path, { channels: 5, channelNames: ["R", "x", "b", "y", "g"] });
    using named = await openViewer(device, new Uint8Array(await readFile(path)));
    const { image: colors } = await named.inspect({ rows: 16, cols: 16, pixels }, OPTIONS);
    expect([...colors.pixels.subarray(0, 6)]).to.deep.equal([0, 4, 2, 5, 9, 7].map((i) => pixels[i]!));
  });

  it("refuses what is no model, and an index of another network", async () => {
    expect(await rejection(openViewer(device, bytes.slice(0, 100)))).to.match(/safetensors|header/);
    const foreign = encodeNpy({ values: new Float32Array(6), shape: [2, 3] });
    expect(() => viewer.setIndex(foreign)).to.throw(
      "the index: expected 16 numbers per image, as this network has, got [2, 3]",
    );
    expect(await rejection(viewer.inspect(noise(8, 4, 400), { ...OPTIONS, size: 4 }))).to.match(/holds no patch of 8/);
  });

  it("offers one to four times the size of evaluation, and that of training", async () => {
    expect(viewer.facts.sizes).to.deep.equal([16, 24, 32, 48, 64]);
    const path = join(folder, "evaluated.safetensors");
    await writeTinyCheckpoint(path, { imageSize: { rows: 40, cols: 40 }, evalSize: { rows: 16, cols: 16 } });
    using evaluated = await openViewer(device, new Uint8Array(await readFile(path)));
    expect(evaluated.facts.sizes).to.deep.equal([16, 24, 32, 40, 48, 64]);
  });

  it("offers sizes whose tokens fit into what the device binds", async () => {
    const pixelsOfPatch = 4 * 3 * 8 * 8; // more than a layer gives a token
    using small = await openViewer(binding(pixelsOfPatch * (1 + 2 + 16)), bytes);
    expect(small.facts.sizes).to.deep.equal([16, 24, 32]);
  });
});
