import { mkdir, mkdtemp, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect } from "chai";
import sharp, { type Sharp } from "sharp";
import { isFailure } from "../../../dino/images/image-location.js";
import { type ImageSet, memoryImages } from "../../../dino/images/image-set.js";
import type { Image } from "../../../dino/images/pixels.js";
import { listedImages, measureImage, openImages } from "../../../dino/images/sources/folder-images.js";
import { splitImages } from "../../../dino/images/split.js";

/** A picture 12 wide and 8 high: red above, green below. */
function picture(): Sharp {
  const pixels = Buffer.alloc(8 * 12 * 3);
  for (let i = 0; i < 8 * 12; i++) pixels[i * 3 + (i < 4 * 12 ? 0 : 1)] = 200;
  return sharp(pixels, { raw: { width: 12, height: 8, channels: 3 } });
}

async function image(set: ImageSet, index: number): Promise<Image> {
  const decoded = await set.decode(index);
  if (isFailure(decoded)) throw new Error(`${decoded.path}: ${decoded.reason}`);
  return decoded;
}

const pixel = ({ cols, pixels }: Image, row: number, col: number): number[] => {
  const start = (row * cols + col) * 3;
  return [...pixels.subarray(start, start + 3)];
};

const near = (actual: readonly number[], expected: readonly number[], by: number): void =>
  actual.forEach((value, channel) => expect(value).to.be.closeTo(expected[channel]!, by));

/** The checksum of a part of a PNG file. */
function crc32(bytes: Uint8Array): number {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

describe("images", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "images-"));
  });
  afterEach(() => rm(folder, { recursive: true }));

  const put = async (path: string, content: Buffer | string | Promise<Buffer>): Promise<void> => {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), await content);
  };

  async function rejection(promise: Promise<unknown>): Promise<string> {
    return promise.then(
      () => "no error",
      (error: unknown) => (error as Error).message,
    );
  }

  it("decodes JPEG, PNG, WebP, GIF and AVIF of any case to the same RGB", async () => {
    await put("a.jpg", picture().jpeg({ quality: 95, chromaSubsampling: "4:4:4" }).toBuffer());
    await put("b.JPEG", picture().jpeg({ quality: 95, chromaSubsampling: "4:4:4" }).toBuffer());
    await put("c.Png", picture().png().toBuffer());
    await put("d.webp", picture().webp({ lossless: true }).toBuffer());
    await put("e.gif", picture().gif().toBuffer());
    await put("f.avif", picture().avif({ quality: 90, chromaSubsampling: "4:4:4" }).toBuffer());
    await put("notes.txt", "no image");
    await put(".hidden.png", "no image");
    const set = await openImages(folder);
    expect(set.count).to.equal(6);
    for (let index = 0; index < set.count; index++) {
      const decoded = await image(set, index);
      expect([decoded.rows, decoded.cols, decoded.pixels.length], set.name(index)).to.deep.equal([8, 12, 288]);
      near(pixel(decoded, 1, 3), [200, 0, 0], 12);
      near(pixel(decoded, 6, 9), [0, 200, 0], 12);
    }
    expect(set.failures.size).to.equal(0);
  });

  it("makes RGB of gray, palette, CMYK and 16-bit files, and drops alpha without blending", async () => {
    const alpha = Buffer.alloc(8 * 12 * 2, 0);
    for (let i = 0; i < 8 * 12; i++) alpha[2 * i] = 77; // transparent gray
    await put(
      "f.png",
      sharp(alpha, { raw: { width: 12, height: 8, channels: 2 } })
        .toColourspace("b-w")
        .png()
        .toBuffer(),
    );
    const deep = Uint16Array.from({ length: 8 * 12 }, () => 0xab00);
    const gray16 = sharp(deep, { raw: { width: 12, height: 8, channels: 1 } }).toColourspace("grey16");
    await put("g.png", gray16.png().toBuffer());
    await put("a.png", picture().grayscale().png().toBuffer());
    await put("b.png", picture().png({ palette: true }).toBuffer());
    await put("c.jpg", picture().toColourspace("cmyk").jpeg().toBuffer());
    await put("d.png", picture().toColourspace("rgb16").png().toBuffer());
    await put("e.png", picture().ensureAlpha(0).png().toBuffer());
    const set = await openImages(folder);
    expect((await sharp(join(folder, "c.jpg")).metadata()).space).to.equal("cmyk");
    expect((await sharp(join(folder, "d.png")).metadata()).depth).to.equal("ushort");
    expect(await sharp(join(folder, "f.png")).metadata()).to.include({ channels: 2, hasAlpha: true });
    expect(await sharp(join(folder, "g.png")).metadata()).to.include({ channels: 1, depth: "ushort" });
    const all = await Promise.all(Array.from({ length: 7 }, (_, index) => image(set, index)));
    for (const each of all) expect(each.pixels.length).to.equal(288);
    expect(new Set(pixel(all[0]!, 0, 0)).size).to.equal(1);
    near(pixel(all[1]!, 0, 0), [200, 0, 0], 0);
    for (const [row, most] of [
      [0, 0],
      [7, 1],
    ] as const) {
      const through = pixel(all[2]!, row, 0); // the inks of a press, which have no such colours
      expect(through.indexOf(Math.max(...through))).to.equal(most);
    }
    near(pixel(all[3]!, 7, 0), [0, 200, 0], 1);
    near(pixel(all[5]!, 3, 3), [77, 77, 77], 0);
    near(pixel(all[6]!, 3, 3), [0xab, 0xab, 0xab], 0);
    near(pixel(all[4]!, 7, 0), [0, 200, 0], 0);
  });

  it("takes the first frame of an animation", async () => {
    const frames = Buffer.concat([Buffer.alloc(4 * 4 * 3, 255), Buffer.alloc(4 * 4 * 3, 0)]);
    const animation = sharp(frames, { raw: { width: 4, height: 8, channels: 3, pageHeight: 4 } });
    await put("a.gif", animation.gif().toBuffer());
    const first = await image(await openImages(folder), 0);
    expect([first.rows, first.cols]).to.deep.equal([4, 4]);
    near(pixel(first, 0, 0), [255, 255, 255], 1);
  });

  /** Red above left, green above right, blue below left, white below right: 12 wide, 8 high. */
  const corners = (): Sharp => {
    const colours = [
      [200, 0, 0],
      [0, 200, 0],
      [0, 0, 200],
      [200, 200, 200],
    ] as const;
    const pixels = Buffer.from(
      Array.from({ length: 96 }, (_, i) => colours[(i < 48 ? 0 : 2) + (i % 12 < 6 ? 0 : 1)]!).flat(),
    );
    return sharp(pixels, { raw: { width: 12, height: 8, channels: 3 } });
  };

  it("knows a picture by its content, whatever its name", async () => {
    const png = await picture().png().toBuffer();
    await put("a", png);
    await put("b.2024", picture().webp({ lossless: true }).toBuffer());
    await put("c.jpg", png);
    await put("notes", "no picture");
    await put("d.xyz", png);
    const leftOut: unknown[] = [];
    const set = await openImages(folder, { onLeftOut: (...reported) => leftOut.push(reported) });
    expect(Array.from({ length: set.count }, (_, index) => set.name(index))).to.deep.equal(["a", "b.2024", "c.jpg"]);
    for (let index = 0; index < set.count; index++) {
      expect(pixel(await image(set, index), 1, 1)).to.deep.equal([200, 0, 0]);
      expect(await measureImage(set, index)).to.deep.equal({ rows: 8, cols: 12 });
    }
    expect(leftOut).to.deep.equal([
      [
        folder,
        [
          { kind: ".xyz", count: 1 },
          { kind: "without extension", count: 1 },
        ],
      ],
    ]);
  });

  it("says what a picture of a format that it cannot read is, and how to convert it", async () => {
    const box = (brand: string) => Buffer.from(`\0\0\0\x18ftyp${brand}\0\0\0\0mif1heic`, "latin1");
    await put("a.jpg", box("heic"));
    await put("b.jpg", box("mif1"));
    await put("c.jpg", "8BPS\0\x01");
    await put("d.jpg", "words!");
    await put("e.jpg", "");
    await put("f.jpg", picture().avif().toBuffer());
    const set = await openImages(folder);
    for (let index = 0; index < set.count; index++) await set.decode(index);
    const reasons = Array.from({ length: 5 }, (_, index) => set.failures.get(index)?.reason);
    const convert = 'convert it to PNG or JPEG, for example with ImageMagick: "magick FILE FILE.png"';
    expect(reasons.slice(0, 3)).to.deep.equal([
      `is HEIC, which is not read; ${convert}`,
      `is HEIC, which is not read; ${convert}`,
      `is Photoshop, which is not read; ${convert}`,
    ]);
    expect(reasons[3]).to.match(/^expected JPEG, .* got a file that begins with 77 6f 72 64 73 21$/);
    expect(reasons[4]).to.equal("expected an image, got an empty file");
    expect(set.failures.size).to.equal(5);
  });

  for (const [orientation, upright] of [
    [1, "rgbw"],
    [2, "grwb"],
    [3, "wbgr"],
    [4, "bwrg"],
    [5, "rbgw"],
    [6, "brwg"],
    [7, "wgbr"],
    [8, "gwrb"],
  ] as const) {
    it(`turns a picture upright as EXIF orientation ${orientation} says`, async () => {
      const file = corners().jpeg({ quality: 95, chromaSubsampling: "4:4:4" }).withMetadata({ orientation });
      await put("a.jpg", file.toBuffer());
      const turned = await image(await openImages(folder), 0);
      expect([turned.rows, turned.cols]).to.deep.equal(orientation < 5 ? [8, 12] : [12, 8]);
      const [top, bottom, left, right] = [1, turned.rows - 2, 1, turned.cols - 2];
      const seen = [pixel(turned, top, left), pixel(turned, top, right), pixel(turned, bottom, left)];
      const name = ([r, g, b]: readonly number[]) =>
        r! > 100 ? (g! > 100 ? "w" : "r") : g! > 100 ? "g" : b! > 100 ? "b" : "?";
      expect([...seen, pixel(turned, bottom, right)].map(name).join("")).to.equal(upright);
    });
  }

  it("refuses a picture by its size before it is decoded, however small its file", async () => {
    const header = Buffer.alloc(25);
    header.write("IHDR");
    header.writeUInt32BE(60000, 4);
    header.writeUInt32BE(60000, 8);
    header.set([8, 2], 12);
    const checksum = Buffer.alloc(4);
    const content = header.subarray(0, 17);
    checksum.writeUInt32BE(crc32(content));
    const size = Buffer.from([0, 0, 0, 13]);
    const png = Buffer.concat([Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), size, content, checksum]);
    await put("bomb.png", Buffer.concat([png, Buffer.from([0, 0, 0, 0]), Buffer.from("IDAT")]));
    await put("good.png", picture().png().toBuffer());
    const set = await openImages(folder);
    const before = process.memoryUsage().rss;
    const refused = await set.decode(0);
    if (!isFailure(refused)) throw new Error("expected a failure");
    expect(refused.path).to.equal("bomb.png");
    expect(refused.reason).to.include("exceeds pixel limit; --max-pixels sets the limit");
    expect(process.memoryUsage().rss - before).to.be.below(100e6);
    const strict = await openImages(folder, { maxPixels: 95 });
    expect(isFailure(await strict.decode(1))).to.equal(true);
    expect(isFailure(await (await openImages(folder, { maxPixels: 96 })).decode(1))).to.equal(false);
  });

  it("fails an image that has gone since it was listed", async () => {
    await put("a.png", picture().png().toBuffer());
    await put("b.png", picture().png().toBuffer());
    const set = await openImages(folder);
    await rm(join(folder, "b.png"));
    expect(await set.decode(1))
      .to.include({ path: "b.png" })
      .and.have.property("reason")
      .that.equals("there is no such file");
  });

  it("shrinks the short side while decoding, but enlarges nothing", async () => {
    await put("a.jpg", picture().resize(120, 80).jpeg().toBuffer());
    await put("b.jpg", picture().jpeg().toBuffer());
    const set = await openImages(folder, { shortSide: 20 });
    expect(await image(set, 0)).to.include({ rows: 20, cols: 30 });
    expect(await image(set, 1)).to.include({ rows: 8, cols: 12 });
    expect(await rejection(openImages(folder, { shortSide: 0 }))).to.include("shortSide");
  });

  it("sorts by path and labels by subfolder, nested or not", async () => {
    const png = await picture().png().toBuffer();
    for (const path of ["b/2.png", "b/10.png", "a/deep/er/x.png", "a/y.png", "C/z.PNG"]) await put(path, png);
    const set = await openImages(folder);
    expect(Array.from({ length: 5 }, (_, index) => set.name(index))).to.deep.equal([
      "C/z.PNG",
      "a/deep/er/x.png",
      "a/y.png",
      "b/10.png",
      "b/2.png",
    ]);
    expect(set.classes).to.deep.equal(["C", "a", "b"]);
    expect([...set.labels!]).to.deep.equal([0, 1, 1, 2, 2]);
    expect(() => set.name(5)).to.throw("expected an image from 0 to 4, got 5");
    expect(await rejection(set.decode(-1))).to.include("got -1");
  });

  it("has no labels for parts of a dataset, but for classes of which one is named like a part", async () => {
    const png = await picture().png().toBuffer();
    for (const path of ["train/cat/1.png", "train/dog/1.png", "Val/cat/1.png", "Val/dog/1.png"]) await put(path, png);
    expect(await openImages(folder)).to.deep.include({ labels: undefined, classes: [] });
    await put("plane/1.png", png);
    expect((await openImages(folder)).classes).to.deep.equal(["Val", "plane", "train"]);
  });

  it("has no labels for a flat folder, one subfolder, or images beside subfolders", async () => {
    const png = await picture().png().toBuffer();
    const unlabelled = async (): Promise<void> => {
      const { labels, classes } = await openImages(folder);
      expect([labels, classes]).to.deep.equal([undefined, []]);
    };
    await put("a/1.png", png);
    await unlabelled();
    await put("1.png", png);
    await unlabelled();
    await put("b/1.png", png);
    await unlabelled();
  });

  it("follows links, but not in circles", async function () {
    if (process.platform === "win32") this.skip(); // links need rights there
    await put("a/1.png", picture().png().toBuffer());
    await symlink(join(folder, "a"), join(folder, "b"));
    await symlink(folder, join(folder, "a", "loop"));
    await symlink(join(folder, "nothing.png"), join(folder, "a", "dangling.png"));
    const set = await openImages(folder);
    expect([set.name(0), set.name(1), set.count]).to.deep.equal(["a/1.png", "b/1.png", 2]);
  });

  it("says what was expected of a missing, an empty and no folder", async () => {
    expect(await rejection(openImages(join(folder, "none")))).to.match(/expected a folder of images, got nothing/);
    expect(await rejection(openImages(folder))).to.match(/expected at least one image \(\.jpg, .*got none/);
    await put("file", "");
    expect(await rejection(openImages(join(folder, "file")))).to.match(/expected a folder of images, got a file/);
  });

  it("names, counts and passes over corrupt files", async () => {
    await put("a.png", picture().png().toBuffer());
    await put("b.jpg", "no image at all");
    await put("c.jpg", "");
    await put("d.jpg", picture().resize(400, 300).jpeg({ quality: 100 }).toBuffer());
    await truncate(join(folder, "d.jpg"), 2000);
    await put("e.png/f.png", picture().png().toBuffer());
    const set = await openImages(folder);
    const decoded = await Promise.all(Array.from({ length: set.count }, (_, index) => set.decode(index)));
    expect(decoded.map(isFailure)).to.deep.equal([false, true, true, true, false]);
    await set.decode(1);
    expect([...set.failures.values()].map(({ path }) => path).sort()).to.deep.equal(["b.jpg", "c.jpg", "d.jpg"]);
    for (const { reason } of set.failures.values()) expect(reason).to.not.equal("");
  });

  it("takes a list in its own order, and of a torn file, if asked, what there is", async () => {
    await put("b/x.png", picture().png().toBuffer());
    await put("a.jpg", picture().resize(400, 300).jpeg({ quality: 100 }).toBuffer());
    await truncate(join(folder, "a.jpg"), 2000);
    const paths = ["b/x.png", "a.jpg", "b/x.png"];
    const strict = listedImages(folder, paths);
    expect([0, 1, 2].map((index) => strict.name(index))).to.deep.equal(paths);
    expect(await image(strict, 2)).to.include({ rows: 8, cols: 12 });
    expect(isFailure(await strict.decode(1))).to.equal(true);
    const torn = await image(listedImages(folder, paths, { torn: "shown" }), 1);
    near(pixel(torn, 0, 10), [200, 0, 0], 12);
    expect(() => listedImages(folder, [])).to.throw("expected a list of images, which is empty");
  });

  it("measures images without decoding them, upright", async () => {
    await put("a.jpg", picture().jpeg().withMetadata({ orientation: 6 }).toBuffer());
    await put("b.png", picture().png().toBuffer());
    await put("c.png", "no image");
    const set = await openImages(folder);
    expect(await measureImage(set, 0)).to.deep.equal({ rows: 12, cols: 8 });
    expect(await measureImage(set, 1)).to.deep.equal({ rows: 8, cols: 12 });
    expect(await measureImage(set, 2)).to.include({ path: "c.png" });
    expect(await measureImage(listedImages(folder, ["gone.png"]), 0)).to.include({ path: "gone.png" });
  });

  it("throws once every file has failed", async () => {
    await put("a.jpg", "no image");
    await put("b.jpg", "no image");
    const set = await openImages(folder);
    expect(isFailure(await set.decode(0))).to.equal(true);
    expect(await rejection(set.decode(1))).to.match(/not one of 2 could be decoded; a\.jpg: /);
  });
});

describe("images in memory", () => {
  const of = (rows: number, cols: number, value: number): Image => ({
    rows,
    cols,
    pixels: new Uint8Array(rows * cols * 3).fill(value),
  });

  it("gives back what it was given, of any size", async () => {
    const images = [of(2, 3, 7), of(1, 1, 8), of(5, 2, 9)];
    const set = memoryImages({ images, labels: [1, 0, 1], classes: ["no", "yes"], names: ["x", "y", "z"] });
    expect([set.count, set.name(2), [...set.labels!]]).to.deep.equal([3, "z", [1, 0, 1]]);
    for (const [index, each] of images.entries()) {
      const decoded = await image(set, index);
      expect({ ...decoded, pixels: [...decoded.pixels] }).to.deep.equal({ ...each, pixels: [...each.pixels] });
      expect(await measureImage(set, index)).to.deep.equal({ rows: each.rows, cols: each.cols });
    }
  });

  it("refuses contents that do not fit", () => {
    const images = [of(2, 2, 1)];
    expect(() => memoryImages({ images: [] })).to.throw("expected at least one image");
    expect(() => memoryImages({ images, labels: [0, 1], classes: ["a"] })).to.throw("memoryImages labels: expected 1");
    expect(() => memoryImages({ images, labels: [1], classes: ["a"] })).to.throw("expected 0 to 0");
    expect(() => memoryImages({ images, names: [] })).to.throw("memoryImages names");
    expect(() => memoryImages({ images: [{ rows: 2, cols: 2, pixels: new Uint8Array(3) }] })).to.throw("image 0");
  });
});

describe("splitImages", () => {
  it("holds out the share it is asked for, the same for the same seed, and moves none when images are added", () => {
    const { train, test } = splitImages(10000, { heldOut: 0.2, seed: 3 });
    expect(test.length).to.be.closeTo(2000, 150);
    expect([...train, ...test].sort((a, b) => a - b)).to.deep.equal(Array.from({ length: 10000 }, (_, i) => i));
    const more = splitImages(12000, { heldOut: 0.2, seed: 3 });
    expect([...more.test.filter((index) => index < 10000)]).to.deep.equal([...test]);
    expect([...splitImages(10000, { heldOut: 0.2, seed: 4 }).test]).to.not.deep.equal([...test]);
  });

  it("meets its ends", () => {
    expect(splitImages(50, { heldOut: 0, seed: 1 }).test).to.have.lengthOf(0);
    expect(splitImages(50, { heldOut: 1, seed: 1 }).train).to.have.lengthOf(0);
    expect(() => splitImages(50, { heldOut: 2, seed: 1 })).to.throw("splitImages heldOut: expected 0 to 1, got 2");
  });
});
