import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { PNG } from "pngjs";
import { augmentOptions } from "../../../dino/config/derive.js";
import { formatConfig, resolveConfig } from "../../../dino/config/resolve.js";
import { applyCropU8, drawCrops } from "../../../dino/images/augment.js";
import { isFailure } from "../../../dino/images/image-location.js";
import { openImages } from "../../../dino/images/sources/folder-images.js";
import { runFiles } from "../../../dino/run/run-folder.js";
import { dino, drawFolder, tinySettings, writeTinyCheckpoint } from "../../support/command-line.js";

interface Printed {
  readonly out: string;
  readonly images: readonly string[];
  readonly skipped: readonly unknown[];
  readonly settings: Readonly<Record<string, unknown>>;
}

describe("dino crops", function () {
  this.timeout(120_000);
  let folder: string;
  let photos: string;
  const inFolder = (name: string) => join(folder, name);
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "dino-crops-"));
    photos = inFolder("photos");
    await drawFolder(photos, 3);
  });
  after(() => rm(folder, { recursive: true }));

  const small = ["--patch-size", "8", "--image-size", "16", "--local-size", "8", "--local-crops-number", "3"];

  it("draws each image beside the crops of the first epoch", async () => {
    const out = inFolder("sheets/crops.png");
    const flags = ["--data", photos, "--out", out, "--images", "2", "--seed", "7", "--quarter-turns", "1"];
    const { code, stdout, stderr } = await dino("crops", ...flags, ...small, "--json");
    expect(code, stderr).to.equal(0);
    const printed = JSON.parse(stdout) as Printed;
    expect(printed).to.deep.include({ out, images: ["blue/0.png", "red/0.png"], skipped: [] });
    expect(printed.settings).to.include({ data: photos, seed: 7, quarterTurns: 1, flip: 0.5, localCropsNumber: 3 });
    expect(printed.settings).not.to.have.any.keys("lr", "out");

    const sheet = PNG.sync.read(await readFile(out));
    const { localCropsNumber, ...sizes } = { ...tinySettings, localCropsNumber: 3 };
    const config = resolveConfig({ ...sizes, localCropsNumber, quarterTurns: 1 });
    const images = await openImages(photos);
    for (const [row, index] of [0, 3].entries()) {
      const image = await images.decode(index);
      if (isFailure(image)) throw new Error(image.reason);
      const crops = drawCrops(augmentOptions(config), { seed: 7, epoch: 0, index }, image);
      expect(crops).to.have.length(5);
      for (const [n, crop] of crops.entries()) {
        const { rows, cols, pixels } = applyCropU8(image, crop);
        const scale = Math.floor(150 / rows); // of the cells of a contact sheet
        const corner = Math.floor((150 - scale * rows) / 2);
        for (let at = 0; at < rows * cols; at++) {
          const x = 202 + n * 162 + corner + (at % cols) * scale;
          const y = 88 + row * 222 + corner + Math.floor(at / cols) * scale;
          const start = 4 * (y * sheet.width + x);
          const shown = [...sheet.data.subarray(start, start + 3)];
          expect(shown, `crop ${n} of image ${index}`).to.deep.equal([...pixels.subarray(3 * at, 3 * at + 3)]);
        }
      }
    }
  });

  it("takes images and settings of a run, and flags before them", async () => {
    const run = inFolder("run");
    await mkdir(run);
    const config = resolveConfig({ ...tinySettings, data: photos, rotation: 20, localCropsNumber: 1, seed: 5 });
    await writeFile(runFiles(run).config, formatConfig(config));
    const draw = (...flags: readonly string[]) =>
      dino("crops", "--run", run, "--out", inFolder("run.png"), "--json", ...flags);
    const { stdout, stderr } = await draw("--flip-vertical", "1");
    const { settings } = JSON.parse(stdout || stderr) as Printed;
    expect(settings).to.deep.include({ data: photos, rotation: 20, localCropsNumber: 1, seed: 5, flipVertical: 1 });
    expect(settings["imageSize"]).to.deep.equal(tinySettings.imageSize);
    const refused = await draw("--preset", "vit-s16");
    expect(refused.stderr).to.include("--run has a recipe of its own; leave --preset out");
    const divided = await draw("--image-size", "20");
    expect(divided.stderr).to.include("--patch-size 8 does not divide --image-size 20");
  });

  it("takes sizes and normalisation of the file that training is to start from", async () => {
    const file = inFolder("start.safetensors");
    const size = { rows: 48, cols: 32 };
    await writeTinyCheckpoint(file, { imageSize: size, mean: [0.1, 0.2, 0.3], dim: 12, heads: 3 });
    const draw = (...flags: readonly string[]) =>
      dino("crops", "--data", photos, "--init", file, "--out", inFolder("start.png"), "--json", ...flags);
    const { stdout, stderr } = await draw("--preset", "adapt");
    const { settings } = JSON.parse(stdout || stderr) as Printed;
    expect(settings).to.deep.include({ init: file, patchSize: 8, imageSize: size, mean: [0.1, 0.2, 0.3] });
    const other = await draw("--image-size", "64");
    expect((JSON.parse(other.stdout || other.stderr) as Printed).settings["imageSize"]).to.deep.equal({
      rows: 64,
      cols: 64,
    });
    const missing = await dino("crops", "--data", photos, "--preset", "adapt", "--out", inFolder("start.png"));
    expect(missing.stderr).to.include("--preset adapt goes on from weights");
    const unread = await dino("crops", "--data", photos, "--init", inFolder("none"), "--out", inFolder("start.png"));
    expect(unread.stderr).to.include(`${inFolder("none")}: there is no such file`);
  });

  it("leaves out images that cannot be read, and says so", async () => {
    const damaged = inFolder("damaged");
    await drawFolder(damaged, 1);
    await writeFile(join(damaged, "blue", "0.png"), "no picture");
    const flags = ["--data", damaged, "--out", inFolder("damaged.png"), ...small];
    const { code, stdout, stderr } = await dino("crops", ...flags);
    expect(code, stderr).to.equal(0);
    expect(stdout).to.equal(`${inFolder("damaged.png")}\n`);
    expect(stderr).to.match(/skipped .*blue.0\.png/);
  });

  const mistakes: readonly (readonly [string, readonly string[]])[] = [
    ["--data: expected images as for dino train", ["--out", "a.png"]],
    ["Expected a file ending in .png", ["--data", "builtin", "--out", "a.jpg"]],
    ["required option '--out <file.png>' not specified", ["--data", "builtin"]],
    ["--images <count>' argument '0' is invalid", ["--data", "builtin", "--out", "a.png", "--images", "0"]],
    ["--rotation: expected a number from 0 to 180, got 200", ["--out", "a.png", "--rotation", "200"]],
    ["--preset auto goes by the images", ["--data", "builtin", "--out", "a.png", "--preset", "auto"]],
    ["--run: nowhere holds no run", ["--run", "nowhere", "--out", "a.png"]],
    ["unknown option '--lr'", ["--data", "builtin", "--out", "a.png", "--lr", "1"]],
  ];
  for (const [message, flags] of mistakes) {
    it(`refuses ${flags.join(" ")}`, async () => {
      const { code, stderr } = await dino("crops", ...flags);
      expect(stderr).to.include(message);
      expect(code).to.equal(2);
    });
  }
});
