import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import sharp from "sharp";
import type { FeatureRows } from "../../../dino/math/feature-rows.js";
import { rng } from "../../../dino/math/random.js";
import { blankPicture, pixel } from "../../../dino/pictures/drawing.js";
import { colorsOf, fitColors } from "../../../dino/pictures/feature-colors.js";
import { fitForeground } from "../../../dino/pictures/pca.js";
import { featurePairsPicture, thumbnail } from "../../../dino/pictures/pictures.js";
import { dino } from "../../support/command-line.js";
import { families, writeModelOf } from "../../support/families.js";

const dim = 4;

/** Rows around one of two centres, those of the first `objects` rows apart from the rest. */
function twoGroups(rows: number, objects: number): FeatureRows {
  const random = rng({ seed: 3, purpose: "groups" });
  const values = Float32Array.from({ length: rows * dim }, (_, i) => {
    const isObject = Math.floor(i / dim) < objects;
    return (isObject ? 3 : -1) * ((i % dim) - 1) + 0.3 * random.normal();
  });
  return { values, rows, dim };
}

describe("foreground of patch features", () => {
  it("is the group that is attended to, whichever the component points at", () => {
    const features = twoGroups(40, 10);
    for (const objects of [true, false]) {
      const attention = Float32Array.from({ length: 40 }, (_, r) => (r < 10 === objects ? 2 : 0.5));
      const { isIn } = fitForeground({ features, attention });
      expect([...isIn(features)]).to.deep.equal(Array.from({ length: 40 }, (_, r) => (r < 10 === objects ? 1 : 0)));
    }
  });

  it("is empty where all features are equal", () => {
    const features = { values: new Float32Array(5 * dim).fill(2), rows: 5, dim };
    expect([...fitForeground({ features, attention: new Float32Array(5).fill(1) }).isIn(features)]).to.deep.equal([
      0, 0, 0, 0, 0,
    ]);
  });
});

describe("feature colours", () => {
  it("are the same for the same feature in any image, and clamped beyond those they were made for", () => {
    const features = twoGroups(60, 30);
    const palette = fitColors(features);
    const colors = colorsOf(palette, features.values);
    const some = [7, 41, 7].flatMap((r) => [...features.values.subarray(r * dim, (r + 1) * dim)]);
    expect(colorsOf(palette, Float32Array.from(some))).to.deep.equal([colors[7], colors[41], colors[7]]);
    for (const channel of [0, 1, 2] as const) {
      const values = colors.map((color) => color[channel]);
      expect([Math.min(...values), Math.max(...values)]).to.deep.equal([0, 255]);
    }
    const far = colorsOf(palette, new Float32Array(dim).fill(1e6)).flat();
    expect(far.every((value) => value === 0 || value === 255)).to.equal(true);
  });

  it("are half bright in channels that say nothing", () => {
    const flat = { values: new Float32Array(6).fill(1), rows: 3, dim: 2 };
    expect(colorsOf(fitColors(flat), flat.values)).to.deep.equal(new Array(3).fill([128, 128, 128]));
  });
});

describe("contact sheet", () => {
  it("holds images of any shape beside their colours", () => {
    const item = (width: number, height: number) => ({
      image: thumbnail(blankPicture(width, height, [10, 20, 30])),
      colors: [
        [200, 0, 0],
        [0, 200, 0],
      ] as const,
      ...{ rows: 1, cols: 2, label: "image" },
    });
    const items = [item(30, 60), item(900, 300), item(1, 1), item(150, 150)];
    expect(items.map(({ image }) => [image.width, image.height])).to.deep.equal([
      [75, 150],
      [150, 50],
      [150, 150],
      [150, 150],
    ]);
    const sheet = featurePairsPicture({ items, title: "sheet", shares: [0.5] });
    expect(sheet.width).to.be.within(1000, 1100);
    const counts = { image: 0, red: 0, green: 0 };
    for (let y = 0; y < sheet.height; y++) {
      for (let x = 0; x < sheet.width; x++) {
        const color = pixel(sheet, x, y).join();
        if (color === "10,20,30") counts.image++;
        if (color === "200,0,0") counts.red++;
        if (color === "0,200,0") counts.green++;
      }
    }
    const area = 75 * 150 + 150 * 50 + 2 * 150 * 150;
    expect(counts.image).to.equal(area);
    expect(counts.red + counts.green).to.equal(area);
    expect(counts.red - counts.green).to.equal(150); // the middle column of 75
  });
});

describe("dino pca", function () {
  this.timeout(120_000);
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "pca-"));
    await mkdir(join(folder, "photos"));
    for (const [i, [width, height]] of [
      [24, 40],
      [64, 24],
    ].entries()) {
      const random = rng({ seed: i, purpose: "photo" });
      const pixels = Uint8Array.from({ length: width! * height! * 3 }, (_, at) =>
        Math.floor(at / 3) % width! < 16 ? 200 + random.integer(50) : random.integer(50),
      );
      const photo = sharp(pixels, { raw: { width: width!, height: height!, channels: 3 } });
      await photo.png().toFile(join(folder, "photos", `${i}.png`));
    }
  });
  after(() => rm(folder, { recursive: true }));

  for (const family of families) {
    it(`colours images of several sizes with one set of components of ${family}, with and without background`, async () => {
      const model = join(folder, `${family}.safetensors`);
      const { patchSize: patch } = await writeModelOf(family, model);
      const words = ["pca", join(folder, "photos"), "--checkpoint", model, "--image-size", String(3 * patch), "--json"];
      for (const mask of [true, false]) {
        const out = join(folder, `${family}-${mask ? "masked" : "whole"}`);
        const { code, stdout, stderr } = await dino(...words, "--out", out, ...(mask ? [] : ["--no-mask"]));
        expect(code, stderr).to.equal(0);
        const { images, sheet, shares } = JSON.parse(stdout) as {
          readonly images: readonly { readonly picture: string; readonly foreground: number }[];
          readonly sheet: string;
          readonly shares: readonly number[];
        };
        const paths = [...images.map(({ picture }) => picture), sheet];
        expect(paths).to.have.members((await readdir(out)).map((name) => join(out, name)));
        const sizes = await Promise.all(images.map(({ picture }) => sharp(picture).metadata()));
        expect(sizes.map(({ width, height }) => [width, height])).to.deep.equal([
          [3 * patch, 5 * patch],
          [8 * patch, 3 * patch],
        ]);
        expect(shares).to.have.length(3);
        for (const [i, { picture, foreground }] of images.entries()) {
          const { data } = await sharp(picture).raw().toBuffer({ resolveWithObject: true });
          let black = 0;
          for (let at = 0; at < data.length; at += 3) if (data[at]! + data[at + 1]! + data[at + 2]! === 0) black++;
          const share = black / (data.length / 3);
          if (mask) {
            expect(foreground).to.be.within(0.05, 0.95);
            expect(share).to.be.closeTo(1 - foreground, 0.15); // a patch in the foreground may be black as well
          } else expect(foreground, `image ${i}`).to.equal(1);
        }
      }
    });
  }
});
