import { execFileSync } from "node:child_process";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import sharp from "sharp";
import { compareLearning, parseRecipe } from "../../bench/learning/command.js";
import {
  curveOf,
  saveCurves,
  savedCurves,
  type LearningFile,
  readLearning,
  withCurve,
} from "../../bench/learning/curves.js";
import { checkOfficial, expectSupported, trainOfficial, officialSettings } from "../../bench/learning/official.js";
import { trainOurs, stepsAt } from "../../bench/learning/ours.js";
import { learningChart, learningTable, pairOf } from "../../bench/learning/report.js";
import { exportCrops, exportImages, exportStart, type ImagesFile } from "../../bench/learning/shared.js";
import { bench } from "../../bench/run.js";
import { flagOf } from "../../dino/config/flags.js";
import { formatConfig, resolveConfig } from "../../dino/config/resolve.js";
import { type Config, settingNames } from "../../dino/config/settings.js";
import { memoryImages } from "../../dino/images/image-set.js";
import type { Image } from "../../dino/images/pixels.js";
import { type Splits, fullSubset } from "../../dino/images/split.js";
import { rng } from "../../dino/math/random.js";
import { chartSvg, svgToPng } from "../../dino/pictures/charts.js";
import { startValues } from "../../dino/training/init.js";
import { testDevice } from "../support/device.js";
import { rejection } from "../support/rejection.js";

let folder: string;
const fixture = (name: string) => join(folder, name);

/** Images of two classes, dark and bright, of different sizes. */
function shades(count: number, purpose: string): Splits["train"] {
  const random = rng({ seed: 1, purpose });
  const images = Array.from({ length: count }, (_, i): Image => {
    const [rows, cols] = [12 + random.integer(6), 12 + random.integer(6)];
    const pixels = Uint8Array.from({ length: rows * cols * 3 }, () => random.integer(128) + (i % 2) * 127);
    return { rows, cols, pixels };
  });
  return fullSubset(memoryImages({ images, labels: images.map((_, i) => i % 2), classes: ["dark", "bright"] }));
}

const tiny: Config = resolveConfig({
  preset: null,
  patchSize: 4,
  imageSize: { rows: 8, cols: 8 },
  localSize: { rows: 4, cols: 4 },
  evalResize: 14,
  evalSize: { rows: 12, cols: 12 },
  dim: 16,
  depth: 2,
  heads: 2,
  outDim: 24,
  hiddenDim: 16,
  bottleneckDim: 8,
  initStd: 0.25,
  useBnInHead: true,
  normLastLayer: false,
  dropPathRate: 0,
  localCropsNumber: 2,
  batch: 8,
  steps: 6,
  warmupEpochs: 0.5,
  lr: 0.01,
  freezeLastLayer: 1,
  teacherTemp: 0.06,
  warmupTeacherTempEpochs: 1,
  knnK: 5,
  cropsOn: "cpu",
  threads: 1,
});

const curve = (seed: number, points: readonly (readonly [number, number])[]) => ({
  seed,
  points,
  stepsPerSecond: 4 + seed,
  loss: 2.5,
  device: "a device",
  commit: "abc",
  date: "2026-01-01T00:00:00.000Z",
});

/** A recorded comparison of three seeds. */
const recorded: LearningFile = {
  device: "a device",
  recipes: [
    {
      recipe: "digits steps=20",
      settings: { batch: 8 },
      curves: {
        ours: [30, 31, 33].map((start, seed) => curve(seed, [[0, start], [10, start + 5], [20, start + 20]])), // prettier-ignore
        official: [30, 32, 31].map((start, seed) => curve(seed, [[0, start], [10, start + 9], [20, start + 40]])), // prettier-ignore
      },
    },
  ],
};

describe("learning curves beside the official code", () => {
  before(async () => (folder = await mkdtemp(join(tmpdir(), "dino-learning-test-"))));
  after(() => rm(folder, { recursive: true, force: true }));

  describe("recipes", () => {
    it("are presets with settings on top", () => {
      expect(parseRecipe(" vit-s16 batch=8  global-crops-scale=0.5,1 ")).to.deep.equal({
        name: "vit-s16 batch=8 global-crops-scale=0.5,1",
        flags: { preset: "vit-s16", batch: 8, globalCropsScale: [0.5, 1] },
      });
      expect(() => parseRecipe("nothing")).to.throw("--preset: expected one of ");
      expect(() => parseRecipe("vit-s16 batch")).to.throw(
        "--recipe vit-s16 batch: expected PRESET SETTING=VALUE ..., got batch",
      );
      expect(() => parseRecipe("vit-s16 sides=4")).to.throw("got sides=4");
    });

    it("are refused where the official code lacks a setting, by its flag", async () => {
      const known = await officialSettings();
      expectSupported(tiny, known);
      for (const [name, value] of [
        ["registers", 4],
        ["koleo", 0.1],
        ["centering", "sinkhorn"],
        ["precision", "f16"],
        ["accumulate", 2],
        ["freezeBlocks", 1],
        ["init", "weights.safetensors"],
        ["shuffleBuffer", 100],
        ["solarizeThreshold", 100],
      ] as const) {
        expect(() => expectSupported({ ...tiny, [name]: value }, known)).to.throw(
          `${flagOf(name)} ${value}: the official code has no such setting; leave it at `,
        );
      }
      expect(() => expectSupported({ ...tiny, mlpRatio: 2.3 }, known)).to.throw(
        "--mlp-ratio 2.3: the official code rounds ",
      );
      expect(() => expectSupported({ ...tiny, imageSize: { rows: 8, cols: 12 } }, known)).to.throw(
        "--image-size 8x12: the official code has square crops; give one side",
      );
    });

    it("leave no setting of which nobody said what the official code makes of it", async () => {
      const { taken, withoutEffect, fixed } = await officialSettings();
      const sorted = [...taken, ...withoutEffect, ...Object.keys(fixed)];
      expect(new Set(sorted).size).to.equal(sorted.length);
      expect(sorted.toSorted()).to.deep.equal(settingNames.toSorted());
    });
  });

  describe("what both share", () => {
    it("is the images as they are decoded, one after the other, with sizes and labels", async () => {
      const [train, test] = [shades(7, "train"), shades(4, "test")];
      const parts = { train: { ...train, indices: Int32Array.of(1, 2, 5) }, test };
      await exportImages(parts, fixture("images"));
      const file = JSON.parse(await readFile(fixture("images/images.json"), "utf8")) as ImagesFile;
      expect(file.channels).to.equal(3);
      expect(file.classes).to.deep.equal(["dark", "bright"]);
      for (const part of ["train", "test"] as const) {
        const { images, indices } = parts[part];
        const decoded = await Promise.all(Array.from(indices, (index) => images.decode(index) as Promise<Image>));
        expect(file[part].sizes).to.deep.equal(decoded.map(({ rows, cols }) => [rows, cols]));
        expect(file[part].labels).to.deep.equal(Array.from(indices, (index) => index % 2));
        const bytes = await readFile(fixture(`images/${part}.u8`));
        expect(bytes.equals(Buffer.concat(decoded.map(({ pixels }) => pixels)))).to.equal(true);
      }
    });

    it("is refused where an image cannot be decoded", async () => {
      const broken = shades(3, "broken");
      const parts = {
        train: {
          ...broken,
          images: { ...broken.images, decode: () => Promise.resolve({ path: "a.png", reason: "it is cut off" }) },
        },
        test: shades(2, "test"),
      };
      expect(await rejection(exportImages(parts, fixture("broken")))).to.equal(
        "a.png: it is cut off; both codes have to train on the same images",
      );
    });

    it("is the crops that a run trains on: as many bytes as its crops have, other ones by another seed", async () => {
      const subset = shades(20, "train");
      for (const seed of [0, 1]) await exportCrops({ ...tiny, seed }, subset, fixture(`crops-${seed}.u8`));
      const [first, second] = await Promise.all([0, 1].map((seed) => readFile(fixture(`crops-${seed}.u8`))));
      expect(first!.length).to.equal(6 * 8 * 3 * (2 * 8 * 8 + 2 * 4 * 4));
      expect(first!.equals(second!)).to.equal(false);
    });
  });

  describe("curves", () => {
    it("of ours are measured after the steps that were announced, and begin at the untrained network", async () => {
      const device = await testDevice();
      const parts = { train: shades(40, "train"), test: shades(20, "test") };
      const steps: number[] = [];
      const found = await trainOurs({
        device,
        config: { ...tiny, seed: 3 },
        splits: parts,
        evaluations: 4,
        onStep: (step) => steps.push(step),
      });
      expect(found.points.map(([step]) => step)).to.deep.equal(stepsAt(6, 4));
      expect(stepsAt(6, 4)).to.deep.equal([0, 2, 3, 5, 6]);
      expect(stepsAt(2, 8)).to.deep.equal([0, 1, 2]);
      for (const [, top1] of found.points) expect(top1).to.be.within(0, 100);
      expect(steps).to.deep.equal([1, 2, 3, 4, 5, 6]);
      expect(found.stepsPerSecond).to.be.above(0);
      expect(found.loss).to.be.within(0, 2 * Math.log(24));
      expect(found).to.include({ seed: 3, device: device.name });
    });

    it("are kept by recipe and seed, and taken again where settings and steps are the same", async () => {
      const path = fixture("learning.json");
      let file = await readLearning(path, "a device");
      const name = { recipe: "r", settings: { batch: 8 } };
      const points = [[0, 30], [10, 40]] as const; // prettier-ignore
      const one = withCurve(savedCurves(file, name), "ours", curve(1, points));
      file = await saveCurves(path, file, withCurve(one, "ours", curve(0, points)));
      file = await saveCurves(path, file, { recipe: "other", settings: {}, curves: {} });
      const read = await readLearning(path, "a device");
      expect(read).to.deep.equal(file);
      const kept = savedCurves(read, name);
      expect(kept.curves["ours"]!.map(({ seed }) => seed)).to.deep.equal([0, 1]);
      expect(curveOf(kept, { learner: "ours", seed: 1, at: [0, 10] })).to.deep.equal(curve(1, points));
      for (const asked of [
        { learner: "official", seed: 1, at: [0, 10] },
        { learner: "ours", seed: 2, at: [0, 10] },
        { learner: "ours", seed: 1, at: [0, 5, 10] },
      ] as const) {
        expect(curveOf(kept, asked)).to.equal(undefined);
      }
      expect(savedCurves(read, { ...name, settings: { batch: 16 } }).curves).to.deep.equal({});
    });

    it("come out as a table with what chance makes of the difference", () => {
      const table = learningTable(pairOf(recorded.recipes[0]!, { learner: "official", seeds: [0, 1, 2] }));
      expect(table.split("\n")).to.deep.equal([
        "digits steps=20: k-NN of the teacher on held-out images in percent, mean (spread) of 3 seeds",
        "",
        "| steps | ours | official code | difference | Welch's t | p |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
        "| 0 | 31.3 (1.5) | 31.0 (1.0) | +0.3 | +0.3 | 0.770 |",
        "| 10 | 36.3 (1.5) | 40.0 (1.0) | -3.7 | -3.5 | 0.032 |",
        "| 20 | 51.3 (1.5) | 71.0 (1.0) | -19.7 | -18.7 | 0.000 |",
        "",
        "At the end ours differs by -19.7 points, beyond chance: t -18.7, p 0.000.",
        "Steps a second, ours: 5.00 (a device)",
        "Steps a second, official code: 5.00 (a device)",
      ]);
      expect(() => pairOf(recorded.recipes[0]!, { learner: "official", seeds: [7] })).to.throw(
        "digits steps=20: no curve of ours, seed 7",
      );
    });

    it("come out as a figure: lines with bands, and bars of speed", async () => {
      const pair = pairOf(recorded.recipes[0]!, { learner: "official", seeds: [0, 1, 2] });
      const svg = await chartSvg(learningChart([pair, { ...pair, recipe: "another" }]));
      for (const words of [
        "digits steps=20",
        "another",
        "panel 2",
        "ours",
        "official code",
        "steps a second",
        "k-NN of the teacher, %",
      ])
        expect(svg).to.include(`>${words}<`);
      const count = (role: string) => svg.split(`aria-roledescription="${role}"`).length - 1;
      expect(count("line mark container")).to.equal(4);
      expect(count("area mark container")).to.equal(4);
      expect(count("bar")).to.equal(4);
      expect(svg).not.to.match(/NaN|undefined/);
      const { width, height } = await sharp(svgToPng(svg)).metadata();
      expect(width).to.be.above(1500);
      expect(height).to.be.above(500);
    });
  });

  describe("the official code", () => {
    const withPython = async <T>(python: string, run: () => Promise<T>): Promise<T> => {
      const before = process.env["PYTHON"];
      process.env["PYTHON"] = python;
      try {
        return await run();
      } finally {
        if (before === undefined) delete process.env["PYTHON"];
        else process.env["PYTHON"] = before;
      }
    };

    /** A folder with files of the official names, that cannot train. */
    const hollow = async (): Promise<string> => {
      const path = fixture("hollow");
      await mkdir(path, { recursive: true });
      for (const name of ["main_dino.py", "utils.py", "vision_transformer.py"]) await writeFile(join(path, name), "");
      return path;
    };

    it("has to be in the folder", async () => {
      expect(await rejection(checkOfficial(folder))).to.equal(
        `--official ${folder}: main_dino.py is missing; name a folder with the official code: git clone https://github.com/facebookresearch/dino`,
      );
    });

    it("needs a Python, and one with PyTorch", async () => {
      const official = await hollow();
      const words = "install PyTorch and torchvision, or let PYTHON name an interpreter that has them";
      const missing = await rejection(withPython("/no/such/python", () => checkOfficial(official)));
      expect(missing).to.match(/^--learning: \/no\/such\/python could not run .*learn\.py: spawn .* ENOENT; /);
      expect(missing).to.include(words);
      const without = fixture("python-without-torch");
      await writeFile(without, "#!/bin/sh\necho \"ModuleNotFoundError: No module named 'torch'\" >&2\nexit 1\n");
      await chmod(without, 0o755);
      const found = await rejection(withPython(without, () => checkOfficial(official)));
      expect(found).to.match(/learn\.py: ModuleNotFoundError: No module named 'torch'; /);
      expect(found).to.include(words);
    });

    it("is asked for by name, with a recipe, before anything runs", async () => {
      const run = (...words: string[]) => rejection(bench(["--learning", ...words], undefined, () => undefined));
      expect(await run()).to.match(/^--learning needs --official FOLDER: /);
      expect(await run("--official", folder)).to.match(/^--learning needs at least one --recipe/);
      expect(await run("--official", folder, "--recipe", "vit-s16 registers=4")).to.equal(
        "--recipe vit-s16 registers=4: --registers 4: the official code has no such setting; leave it at 0",
      );
    });

    const official = process.env["OFFICIAL_DINO"];
    const hasTorch = (): boolean => {
      try {
        execFileSync(process.env["PYTHON"] ?? "python3", ["-c", "import torch, torchvision"], { stdio: "ignore" });
        return true;
      } catch {
        return false;
      }
    };
    /** PyTorch takes seconds to start, and is started several times. */
    const PYTHON_MS = 600_000;
    const trains = official !== undefined && hasTorch() ? it : it.skip;

    trains(
      "learns the same as ours from our start values and crops (OFFICIAL_DINO and a Python with PyTorch)",
      async () => {
        const device = await testDevice();
        const parts = { train: shades(40, "train"), test: shades(20, "test") };
        const config = { ...tiny, seed: 3, flip: 0.5, jitter: 0.8, blurLocal: 0.5, solarizeGlobal2: 0.2 };
        const at = stepsAt(6, 2);
        await exportImages(parts, fixture("shared"));
        await writeFile(fixture("config.json"), formatConfig(config));
        await exportStart(config, await startValues(device, config, () => undefined), fixture("start.safetensors"));
        await exportCrops(config, parts.train, fixture("crops.u8"));
        const training = {
          official: official!,
          configFile: fixture("config.json"),
          images: fixture("shared"),
          seed: 3,
          at,
        };
        const [start, crops] = [fixture("start.safetensors"), fixture("crops.u8")];
        const same = await trainOfficial({ ...training, start, crops });
        const ours = await trainOurs({ device, config, splits: parts, evaluations: 2 });
        expect(same.loss).to.be.closeTo(ours.loss, 1e-4);
        expect(same.points).to.deep.equal(ours.points);
        const own = await trainOfficial(training);
        expect(own.points.map(([step]) => step)).to.deep.equal(at);
        expect(own.loss).not.to.equal(same.loss);
      },
    ).timeout(PYTHON_MS);

    trains("is not trained again where its curves are kept (OFFICIAL_DINO and a Python with PyTorch)", async () => {
      const data = fixture("photos");
      const { images, indices } = shades(24, "photos");
      for (const index of indices) {
        const { rows, cols, pixels } = (await images.decode(index)) as Image;
        const of = join(data, images.classes[images.labels![index]!]!);
        await mkdir(of, { recursive: true });
        await sharp(pixels, { raw: { width: cols, height: rows, channels: 3 } }).toFile(join(of, `${index}.png`));
      }
      const path = fixture("kept.json");
      const said: string[] = [];
      const compare = async () =>
        compareLearning({
          device: await testDevice(),
          official: official!,
          seeds: [0],
          evaluations: 1,
          lend: [],
          recipes: [
            parseRecipe(
              `small-images data=${data} held-out=0.4 steps=2 batch=4 image-size=8 local-size=4 dim=16 depth=1 heads=2 out-dim=16 knn-k=3`,
            ),
          ],
          file: path,
          saved: await readLearning(path, "a device"),
          overwrite: false,
          origin: () => ({ commit: "abc", date: "2026-01-01T00:00:00.000Z" }),
          log: (line) => said.push(line),
        });
      const first = await compare();
      said.length = 0;
      expect(await compare()).to.deep.equal(first);
      expect(said.filter((line) => line.includes("kept, of commit abc"))).to.have.length(2);
    }).timeout(PYTHON_MS);
  });
});
