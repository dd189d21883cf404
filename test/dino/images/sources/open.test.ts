import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { openThreadedBatches, type ThreadedBatchOptions } from "../../../../dino/batches/threaded-batches.js";
import { officialAugmentation } from "../../../../dino/images/augment.js";
import { imageNames } from "../../../../dino/images/formats/kind.js";
import { isFailure } from "../../../../dino/images/image-location.js";
import { openSplits } from "../../../../dino/images/sources/open-splits.js";
import { openData, parseMixture } from "../../../../dino/images/sources/open.js";
import { expandBraces } from "../../../../dino/images/sources/patterns.js";
import { rejection } from "../../../support/rejection.js";
import { idx, imagesOf, inFolder, noise, pngs, writeParquet, writeTar } from "./written-images.js";

const COUNT = 12;

/** The same images in every form, in one order: a/0.png, ..., b/11.png */
async function writeAll(folder: string): Promise<Record<"photos" | "shards" | "parquet", string>> {
  const files = await pngs(COUNT);
  const paths = files.map((file, i) => [`${i < 6 ? "a" : "b"}/${String(i).padStart(2, "0")}.png`, file] as const);
  const [photos, shards, parquet] = [join(folder, "photos"), join(folder, "shards"), join(folder, "parquet")];
  for (const path of [join(photos, "a"), join(photos, "b"), shards, join(parquet, "data")])
    await mkdir(path, { recursive: true });
  for (const [path, file] of paths) await writeFile(join(photos, path), file);
  const withClass = paths.flatMap(([path, file]) => [
    [path, file] as const,
    [path.replace("png", "cls"), path[0]!] as const,
  ]);
  await writeTar(join(shards, "0.tar"), withClass.slice(0, 10));
  await writeTar(join(shards, "1.tar"), withClass.slice(10));
  await writeFile(join(shards, "README.md"), "about them");
  const labels = paths.map(([path]) => path[0]!);
  await writeParquet(join(parquet, "data", "train-0.parquet"), files.slice(0, 7), { labels: labels.slice(0, 7) });
  await writeParquet(join(parquet, "data", "train-1.parquet"), files.slice(7), { labels: labels.slice(7) });
  return { photos, shards, parquet };
}

const basics = {
  batch: 4,
  seed: 2,
  threads: 2,
  augment: {
    ...officialAugmentation,
    globalSize: { rows: 8, cols: 8 },
    localSize: { rows: 4, cols: 4 },
    localCrops: 1,
  },
} as const;

async function take(count: number, options: ThreadedBatchOptions) {
  await using batches = openThreadedBatches(options);
  const taken: { readonly indices: number[]; readonly globals: Float32Array; readonly locals: Float32Array }[] = [];
  for (let i = 0; i < count; i++) {
    const { indices, globals, locals } = await batches.next();
    taken.push({ indices: [...indices], globals: globals.slice(), locals: locals.slice() });
  }
  return taken;
}

describe("data", () => {
  it("is the same images, classes and batches whatever they lie in", () =>
    inFolder(async (folder) => {
      const all = await writeAll(folder);
      const expected = await take(5, { ...basics, images: await openData(all.photos) });
      for (const data of Object.values(all)) {
        const images = await openData(data);
        expect(await imagesOf(images), data).to.deep.equal(Array.from({ length: COUNT }, (_, i) => noise(i)));
        expect(images.classes).to.deep.equal(["a", "b"]);
        expect([...images.labels!]).to.deep.equal([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]);
        expect(await take(5, { ...basics, images }), data).to.deep.equal(expected);
        const { train, test } = await openSplits(data, { heldOut: 0.3, seed: 5 });
        expect([train.indices.length, test.indices.length].reduce((a, b) => a + b)).to.equal(COUNT);
      }
      expect((await openData(all.shards)).name(0)).to.equal("0.tar/a/00.png");
      expect((await openData(all.parquet)).name(8)).to.equal("data/train-1.parquet/1");
    }));

  it("may be shuffled by a buffer, the same whatever the number of threads and wherever a run begins", () =>
    inFolder(async (folder) => {
      const { shards } = await writeAll(folder);
      const options = { ...basics, images: await openData(shards), shuffleBuffer: 3 };
      const whole = await take(9, options);
      expect(await take(9, { ...options, threads: 1 })).to.deep.equal(whole);
      expect(await take(4, { ...options, start: { epoch: 1, iteration: 2 } })).to.deep.equal(whole.slice(5));
      expect(whole).to.not.deep.equal(await take(9, { ...options, shuffleBuffer: 0 }));
    }));

  it("may be mixed by weights, the crops of what comes again being others", () =>
    inFolder(async (folder) => {
      const { photos, shards } = await writeAll(folder);
      await writeFile(join(folder, "lone.parquet"), "");
      await writeParquet(join(folder, "lone.parquet"), (await pngs(13)).slice(12));
      const images = await openData(`${shards}:1, ${join(folder, "lone.parquet")}:3`);
      expect(images.count).to.equal(13);
      expect(images.name(12)).to.equal(`${join(folder, "lone.parquet")}/0`);
      const options = { ...basics, batch: 13, images };
      const [epoch, next] = await take(2, options);
      const crops = epoch!.indices.flatMap((index, i) =>
        index === 12 ? [epoch!.globals.slice(i * 192, (i + 1) * 192).join()] : [],
      );
      expect(crops.length).to.be.closeTo(9.75, 1);
      expect(new Set(crops).size).to.equal(crops.length);
      expect(await take(2, { ...options, threads: 1 })).to.deep.equal([epoch, next]);
      expect(await take(1, { ...options, start: { epoch: 1, iteration: 0 } })).to.deep.equal([next]);
      const union = await openData(`${photos},${shards}`);
      expect([union.count, union.mixture, union.classes]).to.deep.equal([24, undefined, ["a", "b"]]);
      expect(await imagesOf(union)).to.deep.equal(Array.from({ length: 24 }, (_, i) => noise(i % 12)));
    }));

  it("may be files, alone or by a pattern, and images by a pattern", () =>
    inFolder(async (folder) => {
      const { photos, shards } = await writeAll(folder);
      const countOf = async (...path: string[]) => (await openData(join(folder, ...path))).count;
      expect(await countOf("shards", "1.tar")).to.equal(7);
      expect(await countOf("shards", "?.tar")).to.equal(COUNT);
      expect(await countOf("shards", "1*")).to.equal(7);
      expect(await countOf("photos", "b", "*.png")).to.equal(6);
      expect(await countOf("photos", "b", "07.png")).to.equal(1);
      const images = idx([3, 2, 2], new Uint8Array(12));
      await writeFile(join(folder, "train-images-idx3-ubyte"), images);
      expect(await countOf("train-images-idx3-ubyte")).to.equal(3);
      const named = join(folder, "holiday, 2:1");
      await mkdir(named);
      await writeFile(join(named, "x.png"), (await pngs(1))[0]!);
      expect((await openData(named)).count).to.equal(1);
      expect(parseMixture(`${photos}:2,${shards}:.5`)).to.deep.equal([
        { path: photos, weight: 2 },
        { path: shards, weight: 0.5 },
      ]);
    }));

  it("may be files by braces, as WebDataset has them", () =>
    inFolder(async (folder) => {
      const { photos, shards } = await writeAll(folder);
      const namesOf = async (data: string) => {
        const set = await openData(data);
        return [...new Set(Array.from({ length: set.count }, (_, i) => set.name(i).replace(/\/[ab]\/.*/, "")))];
      };
      for (const [from, to] of [
        ["0.tar", "000007.tar"],
        ["1.tar", "000010.tar"],
      ] as const)
        await rename(join(shards, from), join(shards, to));
      expect(await rejection(openData(join(shards, "{000007..000010}.tar")))).to.match(
        /000008\.tar: .*; got nothing of that name$/,
      );
      expect(await namesOf(join(shards, "{000007,000010}.tar"))).to.deep.equal(["000007.tar", "000010.tar"]);
      expect(await namesOf(join(shards, "0000{10..10}.tar"))).to.deep.equal(["000010.tar"]);
      expect(await namesOf(join(folder, "{shards,shards}", "0000{07,10}.tar"))).to.deep.equal(
        ["shards/000007.tar", "shards/000010.tar"], // both twice
      );
      expect((await openData(`${join(shards, "{000007,000010}.tar")}:1,${photos}:1`)).count).to.equal(2 * COUNT);
      expect(await rejection(openData(join(folder, "{photos,shards}")))).to.match(/separate folders by commas$/);
      expect(expandBraces("a-{008..010}-{x,y}")).to.deep.equal(
        ["008", "009", "010"].flatMap((number) => [`a-${number}-x`, `a-${number}-y`]),
      );
      expect(expandBraces("{10..8}{}{z}")).to.deep.equal(["10{}{z}", "9{}{z}", "8{}{z}"]);
      expect(() => expandBraces("{0..9999999}.tar")).to.throw("expected braces for at most 1000000 files");
    }));

  it("says what was expected where nothing fits", () =>
    inFolder(async (folder) => {
      const { photos, shards } = await writeAll(folder);
      const expected = `expected a folder of images (${imageNames}), or one of these files`;
      const refused = async (data: string) => rejection(openData(data));
      for (const kind of ["WebDataset", "Parquet", "IDX", "CIFAR"])
        expect(await refused(join(folder, "none"))).to.include(kind);
      expect(await refused(join(folder, "none")))
        .to.include(expected)
        .and.match(/got nothing of that name$/);
      expect(await refused(join(shards, "README.md"))).to.match(/got a file of another kind$/);
      await writeFile(join(folder, "photos.zip"), "PK");
      expect(await refused(join(folder, "photos.zip"))).to.match(/; got an archive that has to be unpacked, or/);
      await mkdir(join(folder, "packed"));
      await writeFile(join(folder, "packed", "0.tar.gz"), "");
      expect(await refused(join(folder, "packed"))).to.match(/got a folder of 0\.tar\.gz; among them an archive that/);
      expect(await refused(join(shards, "*.zip"))).to.match(/got nothing of that name$/);
      await mkdir(join(folder, "empty"));
      expect(await refused(join(folder, "empty"))).to.match(/got an empty folder$/);
      await writeFile(join(folder, "empty", "notes.txt"), "");
      expect(await refused(join(folder, "empty"))).to.match(/got a folder of notes\.txt$/);
      await writeTar(join(folder, "empty", "x.tar"), []);
      expect(await refused(join(folder, "empty"))).to.match(/expected at least one image, got none$/);
      await writeParquet(join(folder, "empty", "x.parquet"), await pngs(1));
      expect(await refused(join(folder, "empty"))).to.match(/got files of several kinds, .*; name those of one$/);
      await writeFile(join(folder, "empty", "x.png"), (await pngs(1))[0]!);
      expect(await refused(join(folder, "empty"))).to.match(
        /got 1 and 1 \.parquet; name what is meant, for example .*\*\.parquet,/,
      );
      expect(await refused(`${photos}:1,${shards}`)).to.match(
        /expected a weight for every part or for none, got none for /,
      );
      expect(await refused(`${photos}:1,${shards}:0`)).to.match(/expected weights above 0, got 0 for /);
    }));

  it("fails an image whose file has changed or gone since", () =>
    inFolder(async (folder) => {
      const { shards } = await writeAll(folder);
      const images = await openData(shards);
      await writeFile(join(shards, "0.tar"), "short");
      const failed = await images.decode(0);
      if (!isFailure(failed)) throw new Error("expected a failure");
      expect(failed.path).to.equal(`${join(shards, "0.tar")}/a/00.png`);
      expect(failed.reason).to.match(/expected \d+ bytes from byte 512 on, but the file has 5; it is cut off$/);
    }));
});
