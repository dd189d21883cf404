import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { featureSource } from "../../../dino/commands/labelled.js";
import { dino, drawFolder, writeTwoClasses } from "../../support/command-line.js";
import { families, writeModelOf } from "../../support/families.js";

describe("flags that name labelled features", () => {
  const common = { which: "teacher", batch: 8, split: 0.2, seed: 0 } as const;

  it("name a checkpoint or two files", () => {
    expect(featureSource({ ...common, checkpoint: "c", train: "a", test: "b" })).to.include({ checkpoint: "c" });
    const files = { features: "a.npy", testFeatures: "b.npy" };
    expect(featureSource({ ...common, ...files })).to.deep.equal({ kind: "files", ...files });
  });

  const mistakes: readonly (readonly [string, object])[] = [
    ["--checkpoint: expected a file of dino train or dino import, or --features", {}],
    ["--features and --test-features belong together", { features: "a.npy" }],
    ["--features and --test-features belong together", { testFeatures: "a.npy", checkpoint: "c" }],
    ["leave --checkpoint out", { features: "a.npy", testFeatures: "b.npy", checkpoint: "c" }],
    ["leave --cache out", { features: "a.npy", testFeatures: "b.npy", cache: "d" }],
    ["--train and --test belong together", { checkpoint: "c", test: "b" }],
    ["--data and --train both name images", { checkpoint: "c", train: "a", test: "b", data: "d" }],
  ];
  for (const [message, flags] of mistakes) {
    it(`are refused: ${message}, with ${Object.keys(flags).join(", ")}`, () => {
      expect(() => featureSource({ ...common, ...flags })).to.throw(message);
    });
  }
});

describe("dino knn", function () {
  this.timeout(120_000);
  let folder: string;
  before(async () => void (folder = await mkdtemp(join(tmpdir(), "dino-knn-"))));
  after(() => rm(folder, { recursive: true }));

  it("compares features that dino embed wrote", async () => {
    const path = await writeTwoClasses(join(folder, "features.npy"));
    const words = ["--features", path, "--test-features", path, "-k", "5", "--json"];
    const { code, stdout, stderr } = await dino("knn", ...words);
    expect(code, stderr).to.equal(0);
    const report = JSON.parse(stdout) as Record<string, unknown>;
    expect(report).to.include({ features: path, trainImages: 20, testImages: 20, classes: 2 });
    expect(report["results"]).to.deep.equal([{ k: 5, neighbors: 5, top1: 100, top5: 100 }]);
  });

  for (const family of families) {
    it(`keeps features of ${family}, and says the same of them the second time`, async () => {
      const [photos, checkpoint] = [join(folder, "photos"), join(folder, `${family}.safetensors`)];
      await drawFolder(photos, 6);
      await writeModelOf(family, checkpoint);
      const words = [
        "knn",
        "--checkpoint",
        checkpoint,
        "--data",
        photos,
        "--split",
        "0.4",
        "--cache",
        join(folder, `kept-${family}`),
      ];
      const [first, second] = [await dino(...words), await dino(...words)];
      expect(first.code, first.stderr).to.equal(0);
      expect(second.stdout).to.equal(first.stdout);
      expect(first.stderr).not.to.include("reading features");
      expect(second.stderr).to.include("reading features of 12 images from");
    });
  }
});
