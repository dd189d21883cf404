import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import type { FeatureSource } from "../../../dino/commands/labelled.js";
import { checkLinearFlags, type LinearFlags } from "../../../dino/commands/linear.js";
import type { LinearResult } from "../../../dino/evaluation/linear.js";
import { vitConfig } from "../../../dino/model/configure.js";
import { parseSafetensors, safetensorsMetadata } from "../../../engine/index.js";
import { dino, drawFolder, writeTinyCheckpoint, writeTwoClasses } from "../../support/command-line.js";
import { families, writeModelOf } from "../../support/families.js";

describe("flags of dino linear", () => {
  const common = { which: "teacher", batch: 8, split: 0.2, seed: 0, epochs: 1, weightDecay: 0, valFreq: 1 } as const;
  const files: FeatureSource = { kind: "files", features: "a.npy", testFeatures: "b.npy" };
  const images: FeatureSource = { kind: "checkpoint", checkpoint: "c" };

  const mistakes: readonly (readonly [string, FeatureSource, Partial<LinearFlags>])[] = [
    ["--flip has no effect on features from files", files, { flip: 0 }],
    ["--n-last-blocks has no effect on features from files", files, { nLastBlocks: 1 }],
    ["--crop-scale has no effect on cached features", images, { cache: "d", cropScale: [1, 1] }],
    ["--flip has no effect on images that are not augmented", images, { augment: false, flip: 0 }],
    ["--crop-scale: expected the minimum and the maximum area, up to 1, got 0.5", images, { cropScale: [0.5] }],
    ["--crop-scale: expected the minimum and the maximum area, up to 1, got 0.5 2", images, { cropScale: [0.5, 2] }],
    ["--out: expected a file ending in .safetensors, got layer.npy", images, { out: "layer.npy" }],
  ];
  for (const [message, source, flags] of mistakes) {
    it(`are refused: ${message}`, () => {
      expect(() => checkLinearFlags(source, { ...common, augment: true, ...flags })).to.throw(message);
    });
  }

  it("go together where they make sense", () => {
    checkLinearFlags(images, {
      ...common,
      augment: true,
      cropScale: [0.2, 1],
      flip: 0,
      nLastBlocks: 2,
      out: "a.safetensors",
    });
    checkLinearFlags(files, { ...common, augment: true });
  });
});

describe("dino linear", function () {
  this.timeout(120_000);
  let folder: string;
  let photos: string;
  let checkpoint: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "dino-linear-"));
    photos = join(folder, "photos");
    checkpoint = join(folder, "checkpoint.safetensors");
    await drawFolder(photos, 10);
    await writeFile(join(photos, "red", "torn.png"), "torn");
    await writeTinyCheckpoint(checkpoint, { depth: 2 });
  });
  after(() => rm(folder, { recursive: true }));

  for (const family of families) {
    it(`learns from new crops of ${family} in every epoch, and writes the layer it picked`, async () => {
      const out = join(folder, "layers", `${family}.safetensors`);
      const model = join(folder, `${family}.safetensors`);
      const { dim } = vitConfig(await writeModelOf(family, model));
      const seen = (2 + 1) * dim; // two cls tokens and the mean patch token
      const { code, stdout, stderr } = await dino(
        ...["linear", "--checkpoint", model, "--data", photos, "--split", "0.4", "--validation", "0.3"],
        ...["--epochs", "4", "--lr", "0.1", "1", "--batch", "4", "--avgpool-patchtokens", "--val-freq", "2"],
        ...["--crop-scale", "0.5", "1", "--out", out, "--json"],
      );
      expect(code, stderr).to.equal(0);
      const report = JSON.parse(stdout) as Record<string, unknown> & { results: LinearResult[]; picked: object };
      expect(report).to.include({
        checkpoint: model,
        which: "teacher",
        dim: seen,
        classes: 2,
        epochs: 4,
        batch: 4,
        layer: out,
      });
      expect(report["sees"]).to.equal("cls tokens of the last 2 blocks and its mean patch token");
      const { trainImages, validationImages, testImages } = report as unknown as Record<string, number>;
      expect(trainImages! + validationImages! + testImages!).to.be.within(20, 21); // the torn one may be to learn from
      expect(report["failures"]).to.have.length(1);
      expect(report.results.map(({ lr }) => lr)).to.deep.equal([0.1, 1]);
      for (const { history, last } of report.results) {
        expect(history.map(({ epoch }) => epoch)).to.deep.equal([2, 4]);
        expect(last.test.top1).to.be.within(0, 100);
        expect(last.validation).to.have.all.keys("top1", "top5", "loss");
      }
      expect(report.picked).to.include({ by: "validation" });

      const file = await readFile(out);
      const tensors = parseSafetensors(file);
      expect(tensors.get("linear.weight")!.shape).to.deep.equal([2, seen]);
      expect(tensors.get("linear.bias")!.shape).to.deep.equal([2]);
      expect(JSON.parse(safetensorsMetadata(file)["classes"]!)).to.deep.equal(["blue", "red"]);
    });
  }

  it("keeps features, and learns the same from them the second time", async () => {
    const words = ["linear", "--checkpoint", checkpoint, "--train", photos, "--test", photos];
    const settings = ["--cache", join(folder, "cache"), "--epochs", "20", "--n-last-blocks", "1", "--lr", "0.3", "3"];
    const [first, second] = [await dino(...words, ...settings), await dino(...words, ...settings)];
    expect(first.code, first.stderr).to.equal(0);
    expect(first.stdout).to.match(
      /20 training images, 20 for testing, 2 classes\nteacher, cls token of the last block/,
    );
    expect(first.stdout).to.match(/lr 3 +top-1 100.00 % +best 100.00 %, after \d+ epochs/);
    expect(first.stdout).to.include("selected by the test images, which overestimates it");
    expect(first.stderr).to.include("skipped red/torn.png").and.not.to.include("reading features");
    expect(second.stdout).to.equal(first.stdout);
    expect(second.stderr).to.include("reading features of 20 images from").and.to.include("skipped red/torn.png");
  });

  it("learns from features that dino embed wrote", async () => {
    const path = await writeTwoClasses(join(folder, "features.npy"));
    const { code, stdout, stderr } = await dino(
      ...["linear", "--features", path, "--test-features", path, "--epochs", "10", "--lr", "1", "--json"],
    );
    expect(code, stderr).to.equal(0);
    const { results, features } = JSON.parse(stdout) as { results: LinearResult[]; features: string };
    expect(results[0]!.last.test.top1).to.equal(100);
    expect(features).to.equal(path);
  });
});
