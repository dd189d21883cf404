import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import sharp from "sharp";
import { chooseSettings, settingsOf } from "../../../dino/config/auto.js";
import { memoryImages } from "../../../dino/images/image-set.js";
import { fullSubset } from "../../../dino/images/split.js";
import { imageStatistics } from "../../../dino/images/statistics.js";
import { dino } from "../../support/command-line.js";

/** An image of one colour, or of two in equal halves. */
function plain(rows: number, cols: number, ...colors: readonly (readonly [number, number, number])[]) {
  const pixels = Uint8Array.from({ length: rows * cols * 3 }, (_, i) => {
    const pixel = Math.floor(i / 3);
    return colors[Math.floor((pixel * colors.length) / (rows * cols))]![i % 3]!;
  });
  return { rows, cols, pixels };
}

describe("statistics of images", () => {
  it("count each image alike, whatever its size", async () => {
    const images = [plain(2, 3, [255, 0, 51]), plain(40, 20, [0, 0, 51], [0, 255, 51])];
    const { mean, std, shortSide, images: count } = await imageStatistics(fullSubset(memoryImages({ images })), 10);
    expect(count).to.equal(2);
    expect(shortSide).to.deep.equal([2, 20, 20]);
    for (const [found, expected] of [
      [mean, [0.5, 0.25, 0.2]],
      [std, [0.5, Math.sqrt(0.25 - 0.25 ** 2), 0]],
    ] as const)
      for (const [c, value] of found.entries()) expect(value).to.be.closeTo(expected[c]!, 1e-7);
  });

  it("look at an even sample", async () => {
    const images = Array.from({ length: 10 }, (_, i) => plain(1, 1, [25 * i, 0, 0]));
    const { mean, images: count } = await imageStatistics(fullSubset(memoryImages({ images })), 2);
    expect(count).to.equal(2);
    expect(mean[0]).to.be.closeTo((0 + 25 * 5) / 2 / 255, 1e-7);
  });

  it("decide for the preset auto, where images are unlike photographs", () => {
    const facts = { images: 1000, shortSide: 64, adapter: "gpu", memoryBytes: 6e9 } as const;
    const chosen = (mean: readonly [number, number, number], std: readonly [number, number, number]) => {
      const settings = settingsOf(chooseSettings({ ...facts, mean, std }));
      return { mean: settings.mean, std: settings.std };
    };
    expect(chosen([0.47, 0.45, 0.42], [0.25, 0.24, 0.26])).to.deep.equal({ mean: undefined, std: undefined });
    expect(chosen([0.1, 0.45, 0.42], [0.25, 0.24, 0.26]).mean).to.deep.equal([0.1, 0.45, 0.42]);
    expect(chosen([0.48, 0.45, 0.4], [0.25, 0.05, 0]).std).to.deep.equal([0.25, 0.05, 0.01]);
  });
});

describe("dino stats", function () {
  this.timeout(60_000);
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "dino-stats-"));
    for (const [name, { rows, cols, pixels }] of Object.entries({
      a: plain(8, 6, [255, 0, 51]),
      b: plain(4, 9, [0, 0, 51]),
    }))
      await sharp(pixels, { raw: { width: cols, height: rows, channels: 3 } })
        .png()
        .toFile(join(folder, `${name}.png`));
    await writeFile(join(folder, "torn.png"), "torn");
  });
  after(() => rm(folder, { recursive: true }));

  it("prints the flags that normalise by what it measured, and what it could not read", async () => {
    const { code, stdout, stderr } = await dino("stats", "--data", folder);
    expect(code, stderr).to.equal(0);
    expect(stdout).to.include("images      2 read of 3\nshort side  4 to 6 pixels, median 6\n");
    expect(stdout).to.include("flags       --mean 0.5 0 0.2 --std 0.5 0 0\n");
    expect(stderr).to.include("torn.png");
    const json = JSON.parse((await dino("stats", "--data", folder, "--json")).stdout) as object;
    expect(json).to.deep.include({ data: folder, count: 3, images: 2, shortSide: [4, 6, 6] });
  });

  it("says what is wrong with what it is given", async () => {
    const none = await dino("stats", "--data", join(folder, "nothing"));
    expect(none.code).to.equal(1);
    expect(none.stderr).to.match(/^dino: /);
    expect(await dino("stats")).to.include({ code: 2 });
    const sample = await dino("stats", "--data", folder, "--sample", "0");
    expect(sample.stderr).to.include("--sample").and.include("Expected 1 or more");
  });
});
