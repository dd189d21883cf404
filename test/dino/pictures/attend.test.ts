import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import sharp from "sharp";
import { fitToPatches } from "../../../dino/images/crop-to-patches.js";
import { openSubjects, readSubject } from "../../../dino/images/sources/image-files.js";
import { dino, writeTinyCheckpoint } from "../../support/command-line.js";
import { families, writeModelOf } from "../../support/families.js";
import { rejection } from "../../support/rejection.js";

async function drawImage(path: string, width: number, height: number): Promise<void> {
  const background = { r: width * 5, g: height * 5, b: 90 };
  await sharp({ create: { width, height, channels: 3, background } })
    .png()
    .toFile(path);
}

describe("subjects of pictures", () => {
  let folder: string;
  const fit = { size: 20, patch: 8 };
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "subjects-"));
    await mkdir(join(folder, "pets", "cats"), { recursive: true });
    await drawImage(join(folder, "a.png"), 30, 20);
    await drawImage(join(folder, "pets", "a.png"), 20, 20);
    await drawImage(join(folder, "pets", "A.jpg"), 20, 45);
    await drawImage(join(folder, "pets", "cats", "b.png"), 25, 20);
    await writeFile(join(folder, "pets", "torn.png"), "no picture");
  });
  after(() => rm(folder, { recursive: true }));

  it("are the files named and all within folders, with names of their own and whole patches", async () => {
    const checked: [number, number][] = [];
    const paths = [join(folder, "a.png"), join(folder, "pets")];
    const found = await openSubjects(paths, fit, (done, total) => checked.push([done, total]));
    const { subjects, failures } = found;
    expect(subjects.map(({ name }) => name)).to.deep.equal(["a", "A-2", "a-3", "cats-b"]);
    expect(subjects.map(({ size }) => [size.rows, size.cols])).to.deep.equal([
      [16, 24],
      [40, 16],
      [16, 16],
      [16, 24],
    ]);
    expect(failures.map(({ path }) => path)).to.deep.equal([join(folder, "pets", "torn.png")]);
    expect(checked.at(-1)).to.deep.equal([5, 5]);
    for (const subject of subjects) {
      const { rows, cols } = await readSubject(subject, fit);
      expect({ rows, cols }).to.deep.equal(subject.size);
    }
  });

  it("are refused where one named cannot be drawn, or none is left", async () => {
    const torn = join(folder, "pets", "torn.png");
    expect(await rejection(openSubjects([join(folder, "pets"), torn], fit))).to.include(`${torn}: expected an image`);
    expect(await rejection(openSubjects([join(folder, "gone")], fit))).to.include(
      "gone: expected an image or a folder",
    );
    const large = { size: 4, patch: 8 };
    expect(await rejection(openSubjects([join(folder, "pets", "a.png")], large))).to.include(
      "a.png: an image of 4 x 4 holds no patch of 8; make it larger",
    );
    expect(await rejection(openSubjects([join(folder, "pets")], large))).to.include("not one of 4 images can be drawn");
  });

  it("are cut to whole patches around their middle", () => {
    const cols = 20;
    const image = {
      rows: 8,
      cols,
      pixels: Uint8Array.from({ length: 8 * cols * 3 }, (_, i) => Math.floor(i / 3) % cols),
    };
    const cut = fitToPatches(image, { size: { rows: 8, cols }, patch: 8 });
    expect([cut.rows, cut.cols, cut.pixels[0], cut.pixels.at(-1)]).to.deep.equal([8, 16, 2, 17]);
  });
});

type Paths = Readonly<Record<"map" | "overlay" | "mask", string>>;

describe("dino attend", function () {
  this.timeout(120_000);
  let folder: string;
  let checkpoint: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "attend-"));
    checkpoint = join(folder, "tiny.safetensors");
    await writeTinyCheckpoint(checkpoint);
    await mkdir(join(folder, "photos", "more"), { recursive: true });
    await drawImage(join(folder, "photos", "0.png"), 24, 40);
    await drawImage(join(folder, "photos", "more", "0.png"), 24, 24);
    await writeFile(join(folder, "photos", "torn.png"), "no picture");
  });
  after(() => rm(folder, { recursive: true }));

  for (const family of families) {
    it(`draws mean and heads of ${family} for all images in a folder, and names what it could not draw`, async () => {
      const [out, model] = [join(folder, `maps-${family}`), join(folder, `${family}.safetensors`)];
      const { patchSize: patch } = await writeModelOf(family, model);
      const photos = join(folder, "photos");
      const words = ["attend", "--checkpoint", model, photos, "--out", out, "--image-size", "35", "--json"];
      const { code, stdout, stderr } = await dino(...words);
      expect(code, stderr).to.equal(0);
      const { images, failures } = JSON.parse(stdout) as {
        readonly images: readonly {
          readonly picture: string;
          readonly mean: Paths;
          readonly heads: readonly Paths[];
        }[];
        readonly failures: readonly { readonly path: string }[];
      };
      expect(failures.map(({ path }) => path)).to.deep.equal([join(photos, "torn.png")]);
      const paths = images.flatMap(({ picture, mean, heads }) => [
        picture,
        ...[mean, ...heads].flatMap((files) => Object.values(files)),
      ]);
      expect(paths).to.have.members((await readdir(out)).map((name) => join(out, name)));
      expect(paths).to.have.length(2 * (1 + 3 * (1 + 2)));
      const { width, height } = await sharp(join(out, "0-mean-overlay.png")).metadata();
      expect([width, height]).to.deep.equal([35, 58].map((side) => side - (side % patch)));
      expect((await sharp(join(out, "more-0-attention.png")).metadata()).width).to.be.at.least(1000);
    });
  }

  it("refuses a file that is no image before it draws any", async () => {
    const out = join(folder, "torn");
    const [good, torn] = [join(folder, "photos", "0.png"), join(folder, "photos", "torn.png")];
    const { code, stderr } = await dino("attend", "--checkpoint", checkpoint, good, torn, "--out", out);
    expect(stderr).to.include(`${torn}: expected an image`);
    expect(code).to.equal(1);
    expect(await readdir(folder)).not.to.include("torn");
  });
});
