/** Networks of other channels than red, green and blue: training, every use of the network, and its way to other programs. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import sharp from "sharp";
import { dino, tiny, writeTinyCheckpoint } from "../../support/command-line.js";
import { drawSpectralFolder, spectralChannels } from "../../support/spectral-images.js";
import { tiff } from "../images/formats/written-formats.js";

/** The metadata of a safetensors file. */
async function notesOf(path: string): Promise<Readonly<Record<string, string>>> {
  const bytes = await readFile(path);
  const header = bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE())).toString();
  return (JSON.parse(header) as { __metadata__: Record<string, string> }).__metadata__;
}

describe("networks of five channels", function () {
  this.timeout(240_000);
  let folder: string;
  const at = (...parts: readonly string[]) => join(folder, ...parts);
  const five = ["--channels", "5", "--channel-names", spectralChannels.join(",")];

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "channels-"));
    await drawSpectralFolder(at("data"), 10);
    const training = ["--steps", "3", "--held-out", "0.3", "--knn-every", "0", "--range", "auto", "--init-std", "0.2"];
    const trained = await dino("train", "--data", at("data"), "--out", at("run"), ...tiny, ...five, ...training);
    expect(trained.code, trained.stderr).to.equal(0);
    expect(trained.stderr).to.match(/--range [\d ]+: percentiles 0.5 and 99.5 of the values of a few images/);
    expect(trained.stderr).to.match(/--mean [\d. ]+ --std [\d. ]+: measured on a few images/);
  });
  after(() => rm(folder, { recursive: true }));

  const run = async (...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await dino(...args);
    expect(code, stderr).to.equal(0);
    return stdout;
  };
  const checkpoint = () => ["--checkpoint", at("run", "checkpoint.safetensors")];

  it("keep what was measured in their settings", async () => {
    const config = JSON.parse(await readFile(at("run", "config.json"), "utf8")) as Record<string, readonly number[]>;
    expect(config["range"]).to.have.length(10);
    expect(config["range"]![6], "black of the fourth channel").to.be.within(1200, 1400);
    expect(config["range"]![7], "white of the fourth channel").to.be.within(3200, 3400);
    expect(config["mean"]).to.have.length(5);
    for (const mean of config["mean"]!) expect(mean).to.be.within(0.3, 0.7);
    expect([config["saturation"], config["hue"], config["grayscale"], config["solarizeGlobal2"]]).to.deep.equal([
      0, 0, 0, 0,
    ]);
  });

  it("classify, embed, search and draw images as they were trained on them", async () => {
    const found = JSON.parse(await run("knn", ...checkpoint(), "-k", "3", "--json")) as {
      results: { top1: number }[];
    };
    expect(found.results[0]!.top1).to.equal(100);
    await run("embed", ...checkpoint(), "--data", at("data"), "--out", at("f.npy"));
    const query = at("data", "water", "4.tif");
    const [first] = (await run("search", query, "--index", at("f.npy"), "--out", at("s.png"))).split("\n").slice(1);
    expect(first).to.match(/1\.0000 .*water.4\.tif$/);
    await run("attend", query, ...checkpoint(), "--out", at("attention"));
    await run("pca", at("data"), ...checkpoint(), "--out", at("pca"));
    await run("dedupe", ...checkpoint(), "--data", at("data"), "--out", at("dedupe.png"));
    await run("retrieve", ...checkpoint(), "--data", at("data"), "--imsize", "16");
    await run("report", at("run"));
    await run("crops", "--run", at("run"), "--out", at("crops.png"), "--images", "1");
  });

  it("go to other programs and back with their channels, names and range", async () => {
    await run("export", ...checkpoint(), "--format", "safetensors", "--out", at("m.safetensors"));
    const notes = await notesOf(at("m.safetensors"));
    expect(notes).to.include({ channels: "5", channel_names: "blue,green,red,nir,swir" });
    expect(notes["range"]!.split(",")).to.have.length(10);
    await run("import", at("m.safetensors"), "--out", at("back.safetensors"));
    await run("embed", ...checkpoint(), "--data", at("data"), "--out", at("a.npy"));
    await run("embed", "--checkpoint", at("back.safetensors"), "--data", at("data"), "--out", at("b.npy"));
    expect((await readFile(at("a.npy"))).equals(await readFile(at("b.npy")))).to.equal(true);
    const said = await run("export", ...checkpoint(), "--format", "hf", "--out", at("hub"));
    expect(said).to.include("pixel_values [batch, 5, rows, cols]");
    const json = async (name: string) => JSON.parse(await readFile(at("hub", name), "utf8")) as Record<string, unknown>;
    expect(await json("config.json")).to.include({ num_channels: 5 });
    expect(await json("preprocessor_config.json")).to.include({ do_convert_rgb: false });
    expect((await json("preprocessor_config.json"))["image_mean"]).to.have.length(5);
  });

  it("are drawn in the channels called red, green and blue", async () => {
    const [blue, green, red, nir, swir] = [31, 67, 203, 120, 9];
    const samples = Uint8Array.from({ length: 16 * 16 * 5 }, (_, i) => [blue, green, red, nir, swir][i % 5]!);
    await mkdir(at("even"));
    for (const name of ["a.tif", "b.tif"])
      await writeFile(at("even", name), tiff([{ rows: 16, cols: 16, channels: 5, bits: 8, samples }]));
    await writeTinyCheckpoint(at("even.safetensors"), { channels: 5, channelNames: [...spectralChannels] });
    const even = ["--checkpoint", at("even.safetensors")];
    await run("attend", at("even", "a.tif"), ...even, "--out", at("even-attention"));
    await run("pca", at("even"), ...even, "--out", at("even-pca"));
    await run("embed", ...even, "--data", at("even"), "--out", at("even.npy"));
    await run("search", at("even", "a.tif"), "--index", at("even.npy"), "--out", at("even-search.png"));
    await run("dedupe", ...even, "--data", at("even"), "--out", at("even-dedupe.png"));
    await run("crops", "--data", at("even"), ...five, "--out", at("even-crops.png"), "--images", "1");
    for (const picture of [
      "even-attention/a-attention.png",
      "even-pca/contact-sheet.png",
      "even-search.png",
      "even-dedupe.png",
      "even-crops.png",
    ]) {
      const { data } = await sharp(at(picture)).removeAlpha().raw().toBuffer({ resolveWithObject: true });
      const shown = new Set(
        Array.from({ length: data.length / 3 }, (_, i) => String([...data.subarray(3 * i, 3 * i + 3)])),
      );
      expect(shown.has(String([red, green, blue])), picture).to.equal(true);
      expect(shown.has(String([blue, green, red])), picture).to.equal(false);
    }
  });

  it("begin with the weights of a network for colors", async () => {
    await writeTinyCheckpoint(at("rgb.safetensors"));
    const begin = [
      "--data",
      at("data"),
      "--out",
      at("begun"),
      ...tiny,
      ...five,
      "--steps",
      "1",
      "--init",
      at("rgb.safetensors"),
    ];
    const { code, stderr } = await dino("train", ...begin, "--init-channels", "repeat");
    expect(code, stderr).to.equal(0);
    expect(stderr).to.include("its 3 channels carried to 5 by repeat");
    await run(
      "export",
      "--checkpoint",
      at("begun", "checkpoint.safetensors"),
      "--format",
      "onnx",
      "--out",
      at("begun.onnx"),
    );
  });

  it("refuse what does not go with them", async () => {
    const refused = async (message: string, ...args: readonly string[]) => {
      const { code, stderr } = await dino("train", "--data", at("data"), "--out", at("none"), ...tiny, ...args);
      expect(stderr).to.include(message);
      expect(code).to.not.equal(0);
    };
    await refused(
      "--hue is for red, green and blue and does not go with --channels 5",
      "--channels",
      "5",
      "--hue",
      "0.1",
    );
    await refused("--mean: expected 5, one for each of --channels, got 3", "--channels", "5", "--mean", "0,0,0");
    await refused(
      "--channel-names: expected 5, one for each of --channels, got 2",
      "--channels",
      "5",
      "--channel-names",
      "a,b",
    );
    await refused(
      "--range: expected two numbers, or 10 for 5 channels, got 4",
      "--channels",
      "5",
      "--range",
      "0",
      "1",
      "2",
      "3",
    );
    await refused("got 5; --channels 5 takes all", "--steps", "1");
    await refused("expected 4 channels, got 5", "--channels", "4", "--steps", "1");
  });
});
