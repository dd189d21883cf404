import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { type Image, normalize, normalizeTable } from "../../../dino/images/pixels.js";
import { rng } from "../../../dino/math/random.js";
import { clsAttention, openInspector, patchFeatures } from "../../../dino/model/inspector.js";
import { features, finalNorm, lastAttention } from "../../../dino/model/vit.js";
import { loadModel } from "../../../dino/weights/load-model.js";
import { evaluate, input } from "../../../engine/index.js";
import { writeTinyCheckpoint } from "../../support/command-line.js";
import { testDevice } from "../../support/device.js";
import { families, writeModelOf } from "../../support/families.js";
import { rejection } from "../../support/rejection.js";

function noise(seed: number, rows: number, cols: number): Image {
  const random = rng({ seed, purpose: "noise" });
  return { rows, cols, pixels: Uint8Array.from({ length: rows * cols * 3 }, () => random.integer(256)) };
}

describe("inspector", () => {
  let folder: string;
  before(async () => void (folder = await mkdtemp(join(tmpdir(), "inspector-"))));
  after(() => rm(folder, { recursive: true }));

  for (const family of families) {
    it(`sees of every image what the network of ${family} makes of it, whatever size came before`, async () => {
      const path = join(folder, `${family}.safetensors`);
      await writeModelOf(family, path);
      using model = await loadModel(await testDevice(), path);
      const { dim, heads, patch, registers } = model.vit;
      expect(registers).to.be.above(0);
      const first = 1 + registers!;
      using inspector = openInspector(model, model.config, { patches: patchFeatures, attention: clsAttention });
      for (const [seed, down, across] of [
        [1, 2, 2],
        [2, 2, 2],
        [3, 2, 5],
        [4, 2, 2],
      ] as const) {
        const image = noise(seed, down * patch, across * patch);
        const seen = await inspector.inspect(image);
        expect([seen.rows, seen.cols]).to.deep.equal([down, across]);

        using pixels = input(model.device, [1, 3, image.rows, image.cols]);
        pixels.write(normalize(image, normalizeTable(model.config)));
        const whole = await evaluate(model.device, () => ({
          stream: finalNorm(model.vit, model.params, features(model.vit, model.params, pixels).stream),
          attention: lastAttention(model.vit, model.params, pixels),
        }));
        const patches = down * across;
        const tokens = first + patches;
        expectClose(seen.patches, whole.stream.subarray(first * dim));
        for (let head = 0; head < heads; head++) {
          const ofCls = whole.attention.subarray(head * tokens * tokens + first, head * tokens * tokens + tokens);
          expectClose(seen.attention.subarray(head * patches, (head + 1) * patches), ofCls);
        }
      }
    });
  }

  it("refuses an image without a whole patch, and goes on", async () => {
    const path = join(folder, "tiny.safetensors");
    await writeTinyCheckpoint(path);
    using model = await loadModel(await testDevice(), path);
    using inspector = openInspector(model, model.config, { patches: patchFeatures });
    expect(await rejection(inspector.inspect(noise(1, 7, 16)))).to.include("holds no whole patch of 8");
    expect((await inspector.inspect(noise(1, 8, 16))).patches.length).to.equal(2 * 16);
  });
});

function expectClose(actual: Float32Array, expected: Float32Array): void {
  expect(actual.length).to.equal(expected.length);
  for (let i = 0; i < expected.length; i++) expect(actual[i]).to.be.closeTo(expected[i]!, 1e-5, `at ${i}`);
}
