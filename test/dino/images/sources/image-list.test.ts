import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import fc from "fast-check";
import sharp from "sharp";
import type { ImageSet } from "../../../../dino/images/image-set.js";
import { measureImage } from "../../../../dino/images/sources/folder-images.js";
import { openData } from "../../../../dino/images/sources/open.js";
import { drawFolder } from "../../../support/command-line.js";
import { fuzzRuns } from "../../../support/fuzz.js";
import { rejection } from "../../../support/rejection.js";
import { gray, tiff } from "../formats/written-formats.js";

describe("lists of images", () => {
  let folder: string;
  let photos: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "image-list-"));
    photos = join(folder, "photos");
    await drawFolder(photos, 3);
  });
  after(() => rm(folder, { recursive: true }));

  const open = async (lines: readonly string[], name = "list.txt") => {
    const path = join(folder, name);
    await writeFile(path, lines.join("\n"));
    return openData(`@${path}`);
  };
  const names = (images: ImageSet) => Array.from({ length: images.count }, (_, index) => images.name(index));

  it("open as the folder whose images they list, in its order", async () => {
    const whole = await openData(photos);
    const listed = await open(
      names(whole)
        .map((name) => join(photos, name))
        .reverse(),
    );
    expect(names(listed)).to.deep.equal(names(whole));
    expect([listed.classes, listed.labels]).to.deep.equal([whole.classes, whole.labels]);
    expect(await listed.decode(4)).to.deep.equal(await whole.decode(4));
  });

  it("may be relative, have other line ends and name an image twice", async () => {
    await mkdir(join(folder, "lists"));
    const lines = ["../photos/red/2.png\r", "", "../photos/red/0.png\r", "../photos/red/2.png"];
    const listed = await open(lines, join("lists", "red.txt"));
    expect(names(listed)).to.deep.equal(["0.png", "2.png"]);
    expect(listed.labels).to.equal(undefined);
    const path = `@${join(folder, "lists", "red.txt")}`;
    expect((await openData(`${path},${photos}`)).count).to.equal(8);
    expect((await openData(`${path}:0.5,${photos}:0.5`)).mixture).to.have.length(2);
  });

  it("may name tiles and pages, beside whole files", async () => {
    const pages = join(folder, "pages");
    await mkdir(join(pages, "a#b"), { recursive: true });
    await writeFile(join(pages, "scan.tif"), tiff([gray(1), gray(2), gray(3)]));
    await sharp({ create: { width: 8, height: 6, channels: 3, background: "#204060" } })
      .png()
      .toFile(join(pages, "a#b", "one#2.png"));
    const listed = await open(["pages/scan.tif#3", "pages/a#b/one#2.png#4x4+2+1", "pages/a#b/one#2.png"]);
    expect(names(listed)).to.deep.equal(["a#b/one#2.png", "a#b/one#2.png#4x4+2+1", "scan.tif#3"]);
    const sizes = await Promise.all([0, 1, 2].map((index) => measureImage(listed, index)));
    expect(sizes).to.deep.equal([
      { rows: 6, cols: 8 },
      { rows: 4, cols: 4 },
      { rows: 2, cols: 2 },
    ]);
    const third = await listed.decode(2);
    expect("pixels" in third && third.pixels[0]).to.equal(3);
    const all = await open(["pages/scan.tif", "pages/a#b/one#2.png#4x4+2+1"]);
    expect(names(all).slice(1)).to.deep.equal(["scan.tif#1", "scan.tif#2", "scan.tif#3"]);
    expect(await rejection(open(["pages/none.tif#3"]))).to.include("expected files that exist");
  });

  it("name what is missing", async () => {
    expect(await rejection(openData(`@${join(folder, "none.txt")}`))).to.include("none.txt: there is no such list");
    expect(await rejection(open(["", ""]))).to.include("expected a list of images, one path a line, got an empty file");
    const message = await rejection(open([join(photos, "red/0.png"), join(photos, "red/9.png")]));
    expect(message).to.equal(
      `${join(folder, "list.txt")}: expected files that exist, got ${join(photos, "red/9.png")}`,
    );
    expect(await rejection(open([photos]))).to.include(`expected files that exist, got ${photos}`);
  });

  it("damaged, are an error that names them, or a set", async () => {
    const path = join(folder, "damaged.txt");
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 60 }), async (bytes) => {
        await writeFile(path, bytes);
        await openData(`@${path}`).catch((error: unknown) => expect((error as Error).message).to.include(path));
      }),
      { numRuns: fuzzRuns(50) },
    );
  });
});
