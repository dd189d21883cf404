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
import { attentionOf, similarityTo } from "../../../dino/web/viewer/maps.js";
import { openViewer, type ImageView, type Viewer } from "../../../dino/web/viewer/viewer-model.js";
import { loadModel } from "../../../dino/weights/load-model.js";
import { type Device, evaluate, input } from "../../../engine/index.js";
import { writeTinyCheckpoint } from "../../support/command-line.js";
import { testDevice } from "../../support/device.js";
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

  const cosine = (a: Float32Array, b: Float32Array): number =>
    a.reduce((sum, value, i) => sum + value * b[i]!, 0) / (Math.hypot(...a) * Math.hypot(...b));

  it("sees the attention of every patch and their likeness, as the network has them", async () => {
    const sight: ImageView = await viewer.inspect(noise(1, 20, 41), OPTIONS);
    expect([sight.rows, sight.cols, sight.image.rows, sight.image.cols]).to.deep.equal([2, 4, 16, 32]);
    using pixels = input(device, [1, 3, 16, 32]);
    pixels.write(normalize(sight.image, normalizeTable(model.config)));
    const whole = await evaluate(device, () => ({
      tokens: encode(model.vit, model.params, pixels), // [1, 1 + 8, dim]
      attention: lastAttention(model.vit, model.params, pixels), // [1, heads, 1 + 2 + 8, 1 + 2 + 8]
    }));
    const { dim, heads } = model.vit;
    const [patches, tokens] = [8, 11];
    for (const [focus, token] of [
      [undefined, 0],
      [0, 3],
      [5, 8],
    ] as const) {
      const { ofHeads, mean } = attentionOf(sight, focus);
      for (let patch = 0; patch < patches; patch++) {
        const expected = Array.from(
          { length: heads },
          (_, head) => whole.attention[(head * tokens + token) * tokens + 3 + patch]!,
        );
        expected.forEach((value, head) => expect(ofHeads[head]![patch]).to.be.closeTo(value, 1e-6));
        expect(mean[patch]).to.be.closeTo(expected.reduce((a, b) => a + b) / heads, 1e-6);
      }
    }
    const featureOf = (patch: number) => whole.tokens.subarray((1 + patch) * dim, (2 + patch) * dim);
    similarityTo(sight, 5).forEach((value, patch) =>
      expect(value).to.be.closeTo(cosine(featureOf(5), featureOf(patch)), 1e-5),
    );
  });

  it("keeps the meaning of colours where it is asked to", async () => {
    const [first, other] = [noise(2, 32, 32), noise(3, 32, 32)];
    const { colors } = await viewer.inspect(first, OPTIONS);
    const kept = await viewer.inspect(other, { ...OPTIONS, keepColors: true });
    const own = await viewer.inspect(other, OPTIONS);
    expect(kept.colors).to.not.deep.equal(own.colors);
    expect((await viewer.inspect(first, OPTIONS)).colors).to.deep.equal(colors);
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

  it("refuses what is no model, and an index of another network", async () => {
    expect(await rejection(openViewer(device, bytes.slice(0, 100)))).to.match(/safetensors|header/);
    const foreign = encodeNpy({ values: new Float32Array(6), shape: [2, 3] });
    expect(() => viewer.setIndex(foreign)).to.throw(
      "the index: expected 16 numbers per image, as this network has, got [2, 3]",
    );
    expect(await rejection(viewer.inspect(noise(8, 4, 400), { ...OPTIONS, size: 4 }))).to.match(/holds no patch of 8/);
  });

  it("offers sizes whose attention fits into what the device binds", async () => {
    expect(viewer.facts.sizes).to.deep.equal([16, 24, 32, 48, 64]);
    const most = 4 * 2 * (1 + 2 + 16) ** 2;
    const limits = new Proxy(device.limits, {
      get: (all, name) => (name === "maxStorageBufferBindingSize" ? most : (Reflect.get(all, name, all) as number)),
    });
    using small = await openViewer({ ...device, limits }, bytes);
    expect(small.facts.sizes).to.deep.equal([16, 24, 32]);
  });
});
