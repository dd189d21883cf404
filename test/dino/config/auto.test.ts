import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import fc from "fast-check";
import sharp from "sharp";
import { chooseSettings, type Facts, settingsOf } from "../../../dino/config/auto.js";
import { gatherFacts } from "../../../dino/config/dataset-facts.js";
import { formatSettings } from "../../../dino/config/flags.js";
import { fitWarmups, resolveConfig } from "../../../dino/config/resolve.js";
import { type Config, defaultConfig, type PartialConfig } from "../../../dino/config/settings.js";
import { memoryImages } from "../../../dino/images/image-set.js";
import { openImages } from "../../../dino/images/sources/folder-images.js";
import { fullSubset } from "../../../dino/images/split.js";
import { vitConfig } from "../../../dino/model/configure.js";
import { planMemory } from "../../../dino/training/memory-advice.js";
import { lengthOf } from "../../../dino/training/schedule.js";
import { openDevice } from "../../../engine/adapters/node.js";
import { rejection } from "../../support/rejection.js";

const GIB = 2 ** 30;

const factsOf = (adapter: Facts["adapter"], images: number, shortSide: number): Facts => ({
  adapter,
  images,
  shortSide,
  memoryBytes: 6 * GIB,
});

/** The run that comes of it, which is checked for settings that contradict each other. */
function resolved(facts: Facts, given: PartialConfig = {}): Config {
  return resolveConfig(
    { data: "photos", preset: "auto", ...given },
    { chosen: settingsOf(chooseSettings(facts, given)) },
  );
}

const anyFacts = fc.record({
  adapter: fc.constantFrom("gpu" as const, "software" as const),
  images: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 2_000_000 })),
  shortSide: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 10_000 })),
  memoryBytes: fc.integer({ min: 1, max: 64 }).map((half) => (half * GIB) / 2),
});

describe("the preset auto", () => {
  it("makes a run of any images on any adapter", () => {
    fc.assert(
      fc.property(anyFacts, (facts) => {
        const config = resolved(facts);
        const { imageSize, localSize, patchSize, batch, accumulate, momentumTeacher, outDim } = config;
        const { steps, iterationsPerEpoch } = lengthOf(config, facts.images);
        expect(batch).to.be.within(1, facts.images);
        expect(batch % accumulate).to.equal(0);
        expect(imageSize.rows / patchSize).to.be.within(2, 14);
        if (config.localCropsNumber > 0) expect(localSize.rows).to.be.at.most(imageSize.rows);
        expect(momentumTeacher).to.be.within(0.9, 0.996);
        expect(outDim).to.be.within(256, 65536);
        expect(steps).to.be.at.least(facts.adapter === "gpu" ? 1000 : 400);
        expect(config.warmupEpochs * iterationsPerEpoch).to.be.closeTo(steps / 10, steps / 100);
        const { notes } = fitWarmups(config, { iterationsPerEpoch, explicit: new Set() });
        expect(notes, "nothing to shorten").to.deep.equal([]);
      }),
    );
  });

  const cases: readonly (readonly [Facts["adapter"], number, number, string])[] = [
    ["software", 10, 28, "32/8 x0, 64x3, K 256, batch 8/1, 400 steps"],
    ["software", 1_000, 64, "64/8 x0, 64x3, K 256, batch 32/1, 400 steps"],
    ["software", 1_300_000, 500, "64/8 x0, 64x3, K 4096, batch 32/1, 400 steps"],
    ["gpu", 10, 28, "28/4 12 x8, 192x6, K 256, batch 8/1, 1000 steps"],
    ["gpu", 1_000, 64, "64/8 24 x8, 192x6, K 256, batch 64/1, 15000 steps"],
    ["gpu", 9_000, 28, "28/4 12 x8, 192x6, K 512, batch 256/1, 20000 steps"],
    ["gpu", 100_000, 64, "64/8 24 x8, 192x12, K 4096, batch 256/2, 20000 steps"],
    ["gpu", 100_000, 500, "224/16 96 x8, 192x12, K 4096, batch 64/2, 46860 steps"],
    ["gpu", 1_300_000, 28, "28/4 12 x8, 384x12, K 65536, batch 256/4, 152340 steps"],
    ["gpu", 1_300_000, 500, "224/16 96 x8, 384x12, K 65536, batch 64/4, 609360 steps"],
  ];
  for (const [adapter, images, shortSide, expected] of cases) {
    it(`for ${images} images of ${shortSide} pixels, ${adapter}: ${expected}`, () => {
      const config = resolved(factsOf(adapter, images, shortSide));
      const { imageSize, localSize, patchSize, localCropsNumber, outDim, batch, accumulate, steps } = config;
      const { dim, depth } = vitConfig(config);
      expect(
        `${imageSize.rows}/${patchSize}${localCropsNumber > 0 ? ` ${localSize.rows}` : ""} x${localCropsNumber}, ${dim}x${depth}, K ${outDim}, ` +
          `batch ${batch}/${accumulate}, ${steps} steps`,
      ).to.equal(expected);
    });
  }

  it("is the official recipe for ImageNet on a GPU, but for its length and memory", () => {
    const {
      arch,
      imageSize,
      patchSize,
      localSize,
      localCropsNumber,
      outDim,
      batch,
      warmupEpochs,
      accumulate,
      steps,
      ...others
    } = settingsOf(chooseSettings(factsOf("gpu", 1_281_167, 375)));
    expect({ arch, imageSize, patchSize, localSize, localCropsNumber, outDim, batch }).to.deep.equal(
      Object.fromEntries(
        (["arch", "imageSize", "patchSize", "localSize", "localCropsNumber", "outDim", "batch"] as const).map(
          (name) => [name, defaultConfig[name]],
        ),
      ),
    );
    expect(others).to.deep.equal({
      freezeLastLayer: 1,
      momentumTeacher: 0.996,
      momentumTeacherEnd: 1,
      recompute: false,
    });
    expect([accumulate, steps, warmupEpochs]).to.not.include(undefined);
  });

  it("reads images shrunk where they are far larger than the crops", () => {
    expect(resolved(factsOf("software", 46, 1440))).to.include({ shortSide: 256 });
    expect(resolved(factsOf("software", 46, 512)).shortSide).to.equal(0);
    expect(resolved(factsOf("gpu", 9_000, 3000)).shortSide).to.equal(896);
    expect(resolved(factsOf("gpu", 9_000, 3000), { shortSide: 0 }).shortSide).to.equal(0);
  });

  it("goes around what is given", () => {
    const facts = factsOf("gpu", 9_000, 28);
    const given = { imageSize: { rows: 64, cols: 96 }, batch: 16, epochs: 3, arch: "vit_small" } as const;
    const config = resolved(facts, given);
    expect(config).to.deep.include({ ...given, patchSize: 8, steps: null, dim: null, initStd: defaultConfig.initStd });
    expect(config.warmupEpochs).to.be.closeTo(0.3, 1e-9);
    const said = chooseSettings(facts, given).flatMap(({ settings }) => Object.keys(settings));
    expect(said).to.not.include.members(Object.keys(given));
    expect(new Set(said).size, "each once").to.equal(said.length);
    expect(resolved(facts, { dim: 96, batch: 128 })).to.include({ initStd: 0.102, hiddenDim: 384, lr: 0.002 });
  });

  it("gives a reason for each of its settings, in words of the command line", () => {
    const choices = chooseSettings(factsOf("software", 9_000, 28));
    for (const { settings, because } of choices) {
      expect(Object.keys(settings)).to.not.have.length(0);
      expect(because).to.have.length.above(20);
    }
    const [first] = choices;
    expect(formatSettings(first!.settings)).to.equal("--image-size 32 --patch-size 8");
    expect(first!.because).to.include("28 pixels on the shorter side");
    const crops = choices.find(({ settings }) => "globalCropsScale" in settings)!;
    expect(formatSettings(crops.settings)).to.equal("--global-crops-scale 0.25 1");
  });

  it("saves memory where there is little: parts first, then recompute, then smaller parts", () => {
    const saving = (gib: number, given: PartialConfig = {}) => {
      const facts = { ...factsOf("gpu", 1_300_000, 500), memoryBytes: gib * GIB };
      const { accumulate, recompute } = resolved(facts, given);
      return `${accumulate}${recompute ? " recompute" : ""}`;
    };
    expect([16, 8, 4, 2, 1, 0.2].map((gib) => saving(gib))).to.deep.equal([
      ...["1", "2", "4", "4 recompute", "4 recompute", "16 recompute"],
    ]);
    expect(saving(2, { recompute: false })).to.equal("8");
    expect(saving(1, { accumulate: 1 })).to.equal("1 recompute");
  });

  it("knows about what a step takes, by the plan of one", async () => {
    const [facts, given] = [factsOf("gpu", 9_000, 64), { batch: 64 }];
    const { because } = chooseSettings(facts, given).find(({ settings }) => "recompute" in settings)!;
    const told = Number(/takes about ([\d,]+) MiB/.exec(because)![1]!.replaceAll(",", ""));
    using nothing = await openDevice({ prefer: "null" });
    const { plannedBytes } = await planMemory(nothing, resolved(facts, given));
    expect(told * 2 ** 20).to.be.within(0.75 * plannedBytes, 1.25 * plannedBytes);
  });

  describe("goes by facts", () => {
    let folder: string;
    before(async () => {
      folder = await mkdtemp(join(tmpdir(), "dino-facts-"));
      const sizes = [
        [30, 90],
        [50, 40],
        [60, 60],
      ] as const;
      for (const [i, [width, height]] of sizes.entries()) {
        await sharp({ create: { width, height, channels: 3, background: "red" } })
          .png()
          .toFile(join(folder, `${i}.png`));
      }
      await writeFile(join(folder, "broken.png"), "no picture");
    });
    after(() => rm(folder, { recursive: true }));

    it("of files, passing over what is none", async () => {
      const facts = await gatherFacts(fullSubset(await openImages(folder)), { kernels: "gpu" });
      const red = { mean: [1, 0, 0], std: [0, 0, 0] };
      const ofDevice = { adapter: "gpu", memoryBytes: 6 * GIB };
      expect(facts).to.deep.equal({ images: 4, shortSide: 40, areTransparent: false, ...red, ...ofDevice });
      const some = { images: await openImages(folder), indices: Int32Array.of(2) }; // of 0.png to broken.png
      expect(await gatherFacts(some, { kernels: "cpu" })).to.include({ images: 1, shortSide: 60, adapter: "software" });
    });

    it("of transparent ones on white, unless told otherwise", async () => {
      const drawings = await mkdtemp(join(tmpdir(), "dino-drawings-"));
      const clear = { width: 4, height: 4, channels: 4, background: { r: 0, g: 0, b: 0, alpha: 0 } } as const;
      await sharp({ create: clear }).png().toFile(join(drawings, "a.png"));
      const of = async (channels: number, given = {}) =>
        gatherFacts(fullSubset(await openImages(drawings, { channels })), { kernels: "cpu" }, given);
      const { areTransparent, mean } = await of(3);
      expect({ areTransparent, mean }).to.deep.equal({ areTransparent: true, mean: [1, 1, 1] });
      expect(await of(3, { background: "none" })).to.deep.include({ areTransparent: false, mean: [0, 0, 0] });
      expect(await of(4)).to.deep.include({ areTransparent: false, mean: [0, 0, 0, 0] });
      await rm(drawings, { recursive: true });
    });

    it("of images in memory", async () => {
      const image = { rows: 2, cols: 3, pixels: new Uint8Array(18) };
      const facts = await gatherFacts(fullSubset(memoryImages({ images: [image] })), { kernels: "cpu" });
      expect(facts).to.include({ images: 1, shortSide: 2 });
    });

    it("and refuses a folder without any", async () => {
      const images = await openImages(folder);
      const index = Array.from({ length: images.count }, (_, i) => images.name(i)).indexOf("broken.png");
      const message = await rejection(gatherFacts({ images, indices: Int32Array.of(index) }, { kernels: "cpu" }));
      expect(message).to.match(/--preset auto: expected images, but not one of 1 could be read; broken\.png: /);
    });
  });

  it("is for those alone who have looked at the images", () => {
    expect(() => resolveConfig({ preset: "auto" })).to.throw("--preset auto goes by the images");
  });
});
