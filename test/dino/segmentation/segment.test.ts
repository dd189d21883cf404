import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { decode, encode } from "fast-png";
import sharp from "sharp";
import { rng } from "../../../dino/math/random.js";
import { openDavis } from "../../../dino/segmentation/davis.js";
import {
  type ColoredLabelMap,
  encodeLabelMap,
  readLabelMap,
  resizeLabels,
  usualPalette,
} from "../../../dino/segmentation/label-map.js";
import { type Segmentation, shrink } from "../../../dino/segmentation/segment.js";
import { dino, writeTinyCheckpoint } from "../../support/command-line.js";
import { families, writeModelOf } from "../../support/families.js";
import { rejection } from "../../support/rejection.js";

const palette = [
  [0, 0, 0],
  [250, 10, 20],
  [30, 240, 50],
] as const;
const [rows, cols] = [48, 64];

/** A red square that goes right by a patch of 8 a frame, and a blue one that rests, on grey noise: their labels. */
function labelsAt(frame: number): Uint8Array {
  const labels = new Uint8Array(rows * cols);
  for (let y = 0; y < 16; y++) {
    for (let x = 0; x < 16; x++) {
      labels[(8 + y) * cols + 8 * frame + x] = 1;
      labels[(32 + y) * cols + 40 + x] = 2;
    }
  }
  return labels;
}

async function drawSequence(root: string, name: string, frames: number, annotated = frames): Promise<void> {
  const [images, masks] = ["JPEGImages", "Annotations"].map((part) => join(root, part, "480p", name)) as [
    string,
    string,
  ];
  for (const folder of [images, masks]) await mkdir(folder, { recursive: true });
  for (let frame = 0; frame < frames; frame++) {
    const labels = labelsAt(frame);
    const random = rng({ seed: 1, index: frame, purpose: "noise" });
    const colors = [
      [90, 90, 90],
      [220, 40, 30],
      [20, 60, 220],
    ];
    const pixels = Uint8Array.from({ length: 3 * rows * cols }, (_, i) => {
      return colors[labels[Math.floor(i / 3)]!]![i % 3]! + random.integer(20);
    });
    const file = String(frame).padStart(5, "0");
    const image = sharp(pixels, { raw: { width: cols, height: rows, channels: 3 } });
    await image.jpeg({ quality: 95 }).toFile(join(images, `${file}.jpg`));
    if (frame < annotated) await writeFile(join(masks, `${file}.png`), encodeLabelMap({ rows, cols, labels, palette }));
  }
}

async function list(root: string, names: string): Promise<void> {
  await mkdir(join(root, "ImageSets", "2017"), { recursive: true });
  await writeFile(join(root, "ImageSets", "2017", "val.txt"), names);
}

describe("label maps", () => {
  let folder: string;
  before(async () => void (folder = await mkdtemp(join(tmpdir(), "labels-"))));
  after(() => rm(folder, { recursive: true }));

  const read = async (bytes: Uint8Array): Promise<ColoredLabelMap> => {
    await writeFile(join(folder, "map.png"), bytes);
    return readLabelMap(join(folder, "map.png"));
  };

  it("come back as they were written, palette and all", async () => {
    const map = { rows: 3, cols: 5, labels: Uint8Array.from({ length: 15 }, (_, i) => i % 3), palette };
    expect(await read(encodeLabelMap(map))).to.deep.equal(map);
  });

  it("are read at 1, 2 and 4 bits a pixel, each row from a byte of its own on", async () => {
    const colors = Array.from({ length: 16 }, (_, i) => [i, i, i]);
    for (const depth of [1, 2, 4] as const) {
      const labels = Uint8Array.from({ length: 2 * 11 }, (_, i) => (7 * i + 3) % 2 ** depth);
      const rowBytes = Math.ceil((11 * depth) / 8);
      const data = new Uint8Array(2 * rowBytes);
      for (const [i, label] of labels.entries()) {
        const bit = (i % 11) * depth;
        data[Math.floor(i / 11) * rowBytes + (bit >> 3)]! |= label << (8 - depth - (bit & 7));
      }
      const png = { width: 11, height: 2, data, depth, channels: 1, palette: colors.slice(0, 2 ** depth) };
      expect([...(await read(encode(png))).labels], `${depth} bits`).to.deep.equal([...labels]);
    }
  });

  it("take void for background, and grey with the usual palette", async () => {
    const grey = encode({ width: 3, height: 1, data: Uint8Array.of(1, 255, 2), channels: 1, depth: 8 });
    expect(await read(grey)).to.deep.equal({
      ...{ rows: 1, cols: 3, labels: Uint8Array.of(1, 0, 2), palette: usualPalette() },
    });
    expect(usualPalette().slice(0, 4)).to.deep.equal([
      [0, 0, 0],
      [128, 0, 0],
      [0, 128, 0],
      [128, 128, 0],
    ]);
    expect(usualPalette()[255]).to.deep.equal([224, 224, 192]);
  });

  it("are refused in colours", async () => {
    const rgb = encode({ width: 1, height: 1, data: Uint8Array.of(1, 2, 3), channels: 3, depth: 8 });
    expect(await rejection(read(rgb)))
      .to.include("map.png: expected a PNG with a palette")
      .and.to.include("3 channels");
    expect(await rejection(read(Uint8Array.of(1, 2)))).to.include("map.png: expected a PNG with a palette");
    expect(await rejection(readLabelMap(join(folder, "gone.png")))).to.include("got nothing of that name");
  });

  it("are resized to the nearest label", () => {
    const map = { rows: 2, cols: 3, labels: Uint8Array.of(1, 2, 3, 4, 5, 6) };
    expect([...resizeLabels(map, { rows: 1, cols: 6 })]).to.deep.equal([4, 4, 5, 5, 6, 6]);
    expect([...resizeLabels(map, { rows: 2, cols: 1 })]).to.deep.equal([2, 5]);
    expect([...resizeLabels(map, map)]).to.deep.equal([...map.labels]);
  });
});

describe("frames of DAVIS", () => {
  it("have a shorter side as given and a longer one of whole 64s, or of whole patches", () => {
    const size = (height: number, width: number, short: number, patch: number): readonly number[] => {
      const image = { rows: height, cols: width, pixels: new Uint8Array(height * width * 3) };
      const shrunk = shrink(image, short, patch);
      return [shrunk.rows, shrunk.cols];
    };
    expect(size(480, 854, 480, 8)).to.deep.equal([480, 832]);
    expect(size(854, 480, 480, 16)).to.deep.equal([832, 480]);
    expect(size(60, 107, 48, 6)).to.deep.equal([48, 84]);
    expect(size(48, 50, 48, 8)).to.deep.equal([48, 48]);
    expect(() => size(48, 50, 7, 8)).to.throw("--image-size 7: expected at least a patch of 8 pixels");
  });

  it("say how they are laid out where they are not", async () => {
    const root = await mkdtemp(join(tmpdir(), "davis-"));
    const refusal = (names?: readonly string[]): Promise<string> =>
      rejection(openDavis(root, { set: "val", ...(names && { names }) }));
    expect(await refusal()).to.match(/expected the layout of DAVIS 2017: .*; there is no ImageSets\/2017\/val\.txt$/);
    await list(root, "\n");
    expect(await refusal()).to.include("val.txt names no sequence");
    await list(root, "one\ntwo\n");
    expect(await refusal(["three"])).to.include(
      "expected sequences of ImageSets/2017/val.txt, got three; it has one, two",
    );
    expect(await refusal(["one"])).to.match(/there is no JPEGImages.480p.one$/);
    await drawSequence(root, "one", 1);
    expect(await refusal(["one"])).to.include("holds 1 frames, but a video has two or more");
    await drawSequence(root, "one", 2, 0);
    await rm(join(root, "Annotations", "480p", "one", "00000.png"));
    expect(await refusal(["one"])).to.match(/there is no Annotations.480p.one.00000\.png$/);
    await rm(root, { recursive: true });
  });
});

describe("dino segment", function () {
  this.timeout(120_000);
  let folder: string;
  let checkpoint: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "segment-"));
    checkpoint = join(folder, "tiny.safetensors");
    await writeTinyCheckpoint(checkpoint);
    await drawSequence(join(folder, "DAVIS"), "squares", 5);
    await drawSequence(join(folder, "DAVIS"), "unmeasured", 2, 1);
    await list(join(folder, "DAVIS"), "squares\nunmeasured\n");
  });
  after(() => rm(folder, { recursive: true }));

  for (const family of families) {
    it(`carries masks through a video with ${family}, with their palette, and measures them`, async () => {
      const [out, model] = [join(folder, `masks-${family}`), join(folder, `${family}.safetensors`)];
      const { patchSize: patch } = await writeModelOf(family, model);
      const words = ["segment", "--checkpoint", model, "--data", join(folder, "DAVIS"), "--out", out];
      words.push("--image-size", String(6 * patch)); // 6 x 8 patches, each of 8 x 8 pixels of a frame
      const { code, stdout, stderr } = await dino(...words, "--n-last-frames", "2", "--json");
      expect(code, stderr).to.equal(0);
      const found = JSON.parse(stdout) as Segmentation;
      const [squares, unmeasured] = found.sequences;
      expect(squares!.objects).to.have.length(2);
      for (const { region, boundary, mean } of [found.measures!, squares!.measures!, ...squares!.objects]) {
        expect(region.mean).to.be.within(0.85, 1);
        expect(boundary.mean).to.be.within(0.5, 1);
        expect(region.recall).to.equal(1);
        expect(region.decay).to.be.within(-0.1, 0.1);
        expect(mean).to.be.closeTo((region.mean + boundary.mean) / 2, 1e-12);
      }
      expect(unmeasured).to.deep.include({ frames: 2, objects: [] });
      expect(JSON.parse(await readFile(join(out, "results.json"), "utf8"))).to.deep.include({
        measures: found.measures,
      });

      for (let frame = 0; frame < 5; frame++) {
        const png = decode(await readFile(join(out, "squares", `0000${frame}.png`)));
        expect([png.width, png.height]).to.deep.equal([cols, rows]);
        expect(png.palette).to.deep.equal(palette);
        const wanted = labelsAt(frame);
        const wrong = wanted.filter((label, i) => label !== png.data[i]).length;
        expect(wrong, `frame ${frame}`).to.be.at.most(frame === 0 ? 0 : 64);
      }
      const second = await readLabelMap(join(out, "unmeasured", "00001.png"));
      expect(new Set(second.labels)).to.deep.equal(new Set([0, 1, 2]));
    });
  }

  it("prints a line for each video and object", async () => {
    const words = ["segment", "--checkpoint", checkpoint, "--data", join(folder, "DAVIS"), "--image-size", "48"];
    const { code, stdout, stderr } = await dino(...words, "--out", join(folder, "again"), "--sequences", "squares");
    expect(code, stderr).to.equal(0);
    expect(stdout).to.match(/^squares +J&F +\d+\.\d +J mean +\d+\.\d +recall 100\.0 .* F mean .* 5 frames\n {2}1 +J&F/);
  });
});
