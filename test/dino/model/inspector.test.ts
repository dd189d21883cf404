import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { type Image, normalize, normalizeTable } from "../../../dino/images/pixels.js";
import { rng } from "../../../dino/math/random.js";
import type { Model } from "../../../dino/model/backbone.js";
import { clsAttention, openInspector, patchFeatures } from "../../../dino/model/inspector.js";
import { encode, lastAttention } from "../../../dino/model/vit.js";
import { loadModel } from "../../../dino/weights/load-model.js";
import { evaluate, input } from "../../../engine/index.js";
import { writeTinyCheckpoint } from "../../support/command-line.js";
import { testDevice } from "../../support/device.js";
import { rejection } from "../../support/rejection.js";

function noise(seed: number, rows: number, cols: number): Image {
  const random = rng({ seed, purpose: "noise" });
  return { rows, cols, pixels: Uint8Array.from({ length: rows * cols * 3 }, () => random.integer(256)) };
}

describe("inspector", () => {
  let folder: string;
  let model: Model;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "inspector-"));
    const path = join(folder, "tiny.safetensors");
    await writeTinyCheckpoint(path, { depth: 2 });
    model = await loadModel(await testDevice(), path);
  });
  after(async () => {
    model[Symbol.dispose]();
    await rm(folder, { recursive: true });
  });

  it("sees of every image what the network makes of it, whatever size came before", async () => {
    using inspector = openInspector(model, model.config, { patches: patchFeatures, attention: clsAttention });
    for (const [seed, rows, cols] of [
      [1, 16, 16],
      [2, 16, 16],
      [3, 16, 40],
      [4, 16, 16],
    ] as const) {
      const image = noise(seed, rows, cols);
      const seen = await inspector.inspect(image);
      expect([seen.rows, seen.cols]).to.deep.equal([rows / 8, cols / 8]);

      using pixels = input(model.device, [1, 3, rows, cols]);
      pixels.write(normalize(image, normalizeTable(model.config)));
      const whole = await evaluate(model.device, () => ({
        tokens: encode(model.vit, model.params, pixels),
        attention: lastAttention(model.vit, model.params, pixels),
      }));
      const { dim, heads } = model.vit;
      const [patches, tokens] = [seen.rows * seen.cols, 1 + seen.rows * seen.cols];
      expectClose(seen.patches, whole.tokens.subarray(dim)); // without cls
      for (let head = 0; head < heads; head++) {
        const ofCls = whole.attention.subarray(head * tokens * tokens + 1, head * tokens * tokens + tokens);
        expectClose(seen.attention.subarray(head * patches, (head + 1) * patches), ofCls);
      }
    }
  });

  it("refuses an image without a whole patch, and goes on", async () => {
    using inspector = openInspector(model, model.config, { patches: patchFeatures });
    expect(await rejection(inspector.inspect(noise(1, 7, 16)))).to.include("holds no whole patch of 8");
    expect((await inspector.inspect(noise(1, 8, 16))).patches.length).to.equal(2 * 16);
  });
});

function expectClose(actual: Float32Array, expected: Float32Array): void {
  expect(actual.length).to.equal(expected.length);
  for (let i = 0; i < expected.length; i++) expect(actual[i]).to.be.closeTo(expected[i]!, 1e-5, `at ${i}`);
}
