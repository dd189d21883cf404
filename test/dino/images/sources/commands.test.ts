import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { indexedImages } from "../../../../dino/retrieval/indexed-images.js";
import { readLog } from "../../../../dino/run/log.js";
import { dino, dinoFromSources, tiny, writeTinyCheckpoint } from "../../../support/command-line.js";
import { bgrRows, bmp, gray, tiff } from "../formats/written-formats.js";
import { inFolder, noise, pngs, writeParquet, writeTar } from "./written-images.js";

describe("commands on files of many images", () => {
  it("train on a mixture, and measure on one file", () =>
    inFolder(async (folder) => {
      const files = await pngs(24);
      const [shards, parquet, out] = [join(folder, "shards"), join(folder, "x.parquet"), join(folder, "run")];
      await mkdir(shards);
      const samples = files.slice(0, 12).map((file, i) => [`${i}.png`, file] as const);
      await writeTar(join(shards, "0.tar"), [...samples, ["torn.png", "no image"]]);
      await writeParquet(parquet, files.slice(12), { labels: files.slice(12).map((_, i) => BigInt(i % 2)) });
      const data = `${shards}:3,${parquet}:1`;
      const trained = await dino("train", "--data", data, "--out", out, ...tiny, "--steps", "12");
      expect(trained.code, trained.stderr).to.equal(0);
      expect(trained.stderr).to.include(`${join(shards, "0.tar")}/torn.png: skipped: expected JPEG, PNG, `);
      const { steps } = await readLog(join(out, "log.jsonl"));
      for (const { batchesReady, dataWaitMs } of steps) {
        expect(batchesReady).to.be.within(0, 3);
        expect(dataWaitMs).to.be.at.least(0);
      }
      const checkpoint = ["--checkpoint", join(out, "checkpoint.safetensors")];
      const measured = await dino("knn", ...checkpoint, "--data", parquet, "--split", "0.4", "--json");
      expect(measured.code, measured.stderr).to.equal(0);
      expect(JSON.parse(measured.stdout)).to.include({ trainImages: 7, testImages: 5 });
    }));

  it("cut scans into tiles, in training, its continuation and evaluation", () =>
    inFolder(async (folder) => {
      const [scans, out] = [join(folder, "scans"), join(folder, "run")];
      for (const name of ["a", "b"]) await mkdir(join(scans, name), { recursive: true });
      const scan = (value: number) => ({
        rows: 64,
        cols: 48,
        bits: 16,
        samples: Uint8Array.from({ length: 64 * 48 * 2 }, (_, i) => i * value),
      });
      await writeFile(join(scans, "a", "x.tif"), tiff([scan(3), scan(5)]));
      await writeFile(join(scans, "b", "y.tif"), tiff([scan(7)]));
      const train = (...args: string[]) => dino("train", "--out", out, ...args);
      const first = await train("--data", scans, ...tiny, "--epochs", "1", "--tile", "32");
      expect(first.code, first.stderr).to.equal(0);
      expect(first.stderr).to.include("training on 12 images");
      const more = await train("--resume", "--epochs", "2");
      expect(more.code, more.stderr).to.equal(0);
      expect((await readLog(join(out, "log.jsonl"))).steps.at(-1)!.step).to.equal(6);
      const checkpoint = ["--checkpoint", join(out, "checkpoint.safetensors")];
      const measured = await dino("knn", ...checkpoint, "--split", "0.4", "--json");
      expect(measured.code, measured.stderr).to.equal(0);
      const { trainImages, testImages } = JSON.parse(measured.stdout) as Record<string, number>;
      expect(trainImages! + testImages!).to.equal(12);
      const features = join(folder, "features.npy");
      const embedded = await dino(
        "embed",
        ...checkpoint,
        "--data",
        join(scans, "b"),
        "--tile",
        "48",
        "--out",
        features,
      );
      expect(embedded.code, embedded.stderr).to.equal(0);
      const names = (await readFile(join(folder, "features.txt"), "utf8")).trim().split("\n");
      expect(names).to.deep.equal(["y.tif#48x48+0+0", "y.tif#48x48+0+16"]);
    }));

  it("train on formats that are loaded on demand, from the sources as from the package", () =>
    inFolder(async (folder) => {
      const photos = join(folder, "photos");
      await mkdir(photos);
      for (let i = 0; i < 4; i++) {
        await writeFile(join(photos, `${i}.bmp`), bmp(noise(i), bgrRows(noise(i)), { bits: 24 }));
        await writeFile(join(photos, `${i}.tif`), tiff([gray(i)]));
      }
      for (const [i, run] of [dino, dinoFromSources].entries()) {
        const out = join(folder, `run-${i}`);
        const { code, stderr } = await run("train", "--data", photos, "--out", out, ...tiny, "--steps", "2");
        expect(code, stderr).to.equal(0);
        expect(stderr).to.not.include("skipped");
      }
    }));

  it("draw and measure the pages and tiles of scans", () =>
    inFolder(async (folder) => {
      const [scans, checkpoint] = [join(folder, "scans"), join(folder, "tiny.safetensors")];
      await writeTinyCheckpoint(checkpoint);
      for (const name of ["a", "b"]) await mkdir(join(scans, name), { recursive: true });
      const page = (value: number) => ({
        rows: 32,
        cols: 48,
        bits: 8,
        samples: Uint8Array.from({ length: 32 * 48 }, (_, i) => i * value),
      });
      await writeFile(join(scans, "a", "x.tif"), tiff([page(3), page(5)]));
      await writeFile(join(scans, "b", "y.tif"), tiff([page(7), page(9)]));
      const run = async (...words: readonly string[]) => {
        const { code, stdout, stderr } = await dino(...words, "--checkpoint", checkpoint, "--json");
        expect(code, stderr).to.equal(0);
        return JSON.parse(stdout) as { readonly images: readonly { readonly image: string }[]; queryImages: number };
      };
      const tiles = (file: string) =>
        [1, 2].flatMap((number) => ["+0+0", "+16+0"].map((place) => `${file}#${number}@32x32${place}`));
      const file = join(scans, "b", "y.tif");
      for (const command of ["attend", "pca"]) {
        const draw = async (...words: readonly string[]) => {
          const { images } = await run(command, ...words, "--out", join(folder, command));
          return images.map(({ image }) => image);
        };
        expect(await draw(file, "--tile", "32")).to.deep.equal(tiles(file));
        expect(await draw(scans, "--tile", "32")).to.deep.equal([...tiles(join(scans, "a", "x.tif")), ...tiles(file)]);
        expect(await draw(file)).to.deep.equal([`${file}#1`, `${file}#2`]);
        expect(await draw(file, "--pages", "channels")).to.deep.equal([`${file}#channels`]);
      }
      expect((await run("retrieve", "--data", scans)).queryImages).to.equal(4);
      expect((await run("retrieve", "--data", scans, "--pages", "channels", "--tile", "32")).queryImages).to.equal(4);
      expect((await run("retrieve", "--data", scans, "--tile", "16")).queryImages).to.equal(24);
      const words = ["--data", scans, "--dataset", "roxford5k", "--tile", "16", "--checkpoint", checkpoint];
      expect((await dino("retrieve", ...words)).stderr).to.include("leave them out with --dataset");
    }));

  it("find images of an index again", () =>
    inFolder(async (folder) => {
      const files = await pngs(3);
      const parquet = join(folder, "x.parquet");
      await writeParquet(parquet, files);
      const images = await indexedImages({ data: parquet, files: ["2", "0", "7"] });
      expect([images.path(0), await images.decode(0), await images.decode(1)]).to.deep.equal(["2", noise(2), noise(0)]);
      expect(await images.decode(2)).to.deep.equal({ path: "7", reason: `is not in ${parquet}` });
    }));
});
