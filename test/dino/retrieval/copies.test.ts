import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect } from "chai";
import sharp, { type Sharp } from "sharp";
import { type ImageSet, memoryImages } from "../../../dino/images/image-set.js";
import { rng } from "../../../dino/math/random.js";
import { encode } from "../../../dino/model/vit.js";
import { copyDescriptor, evaluateCopies } from "../../../dino/retrieval/copies.js";
import { openCopydays } from "../../../dino/retrieval/copydays.js";
import { evaluate, input } from "../../../engine/index.js";
import { dino, writeTinyCheckpoint } from "../../support/command-line.js";
import { testDevice } from "../../support/device.js";
import { families, writeModelOf } from "../../support/families.js";
import { rejection } from "../../support/rejection.js";
import { tinyBackbone } from "../../support/tiny-backbone.js";

describe("copy detection", () => {
  it("describes an image by its cls token and the generalised mean of its patches", async () => {
    const backbone = tinyBackbone(await testDevice());
    const random = rng({ seed: 1, purpose: "images" });
    using images = input(backbone.device, [2, 3, 12, 8]);
    images.write(Float32Array.from({ length: 2 * 3 * 12 * 8 }, () => random.normal()));
    const descriptor = copyDescriptor(backbone);
    const { described, tokens } = await evaluate(backbone.device, () => ({
      described: descriptor.apply(images),
      tokens: encode(backbone.vit, backbone.params, images), // [2, 7, 12]
    }));
    expect(descriptor.dim).to.equal(24);
    for (const image of [0, 1]) {
      for (let c = 0; c < 12; c++) {
        const at = (token: number): number => tokens[(image * 7 + token) * 12 + c]!;
        const powers = [1, 2, 3, 4, 5, 6].map((token) => Math.max(at(token), 1e-6) ** 4 / 6);
        const pooled = powers.reduce((a, b) => a + b, 0) ** (1 / 4);
        expect(described[image * 24 + c]).to.be.closeTo(at(0), 1e-5);
        expect(described[image * 24 + 12 + c]).to.be.closeTo(pooled, 1e-5 * (1 + pooled));
      }
    }
  });

  /** Images of one pixel, whose features are two of its channels. */
  const setOf = (...values: readonly (readonly [number, number])[]): ImageSet =>
    memoryImages({ images: values.map(([x, y]) => ({ rows: 1, cols: 1, pixels: Uint8Array.of(x, y, 0) })) });
  const extract = async (images: ImageSet) => {
    const values = new Float32Array(2 * images.count);
    for (let i = 0; i < images.count; i++) {
      const image = await images.decode(i);
      if ("pixels" in image) values.set(image.pixels.subarray(0, 2), 2 * i);
    }
    const indices = Int32Array.from({ length: images.count }, (_, i) => i);
    return { features: { values, rows: images.count, dim: 2 }, indices, failures: [] };
  };
  const copydays = {
    originals: setOf([10, 0], [0, 10], [7, 7]),
    copies: [
      { kind: "near", images: setOf([9, 1], [1, 9]), originals: [[0], [1]] },
      { kind: "far", images: setOf([6, 4]), originals: [[0]] }, // nearest to [7, 7], then to [10, 0]
    ],
  };

  it("looks for the originals of each kind of copies, among distractors too", async () => {
    const device = await testDevice();
    const { results } = await evaluateCopies({ copydays, extract, device });
    expect(results).to.deep.equal([
      { kind: "near", copies: 2, meanAveragePrecision: 1 },
      { kind: "far", copies: 1, meanAveragePrecision: 1 / 4 },
    ]);
    const distracted = await evaluateCopies({ copydays, extract, device, distractors: setOf([8, 1], [6, 3]) });
    expect(distracted).to.include({ originals: 3, distractors: 2 });
    // [8, 1] lies nearer to [9, 1] than its original does; nothing comes between [1, 9] and its own.
    expect(distracted.results[0]!.meanAveragePrecision).to.be.closeTo((1 / 4 + 1) / 2, 1e-12);
    // [6, 3], [7, 7] and [8, 1] come before [10, 0]: (0 + 1/4) / 2.
    expect(distracted.results[1]!.meanAveragePrecision).to.be.closeTo(1 / 8, 1e-12);
  });

  it("compares about the mean of the images that whitening is learnt from", async () => {
    const device = await testDevice();
    const said: string[] = [];
    const whitening = setOf([5, 5], [9, 5], [5, 9], [9, 9]); // about (7, 7), of like variance in all directions
    const report = await evaluateCopies({ copydays, extract, device, whitening, log: (line) => void said.push(line) });
    expect(said).to.deep.equal(["whitening 2 numbers, learnt from 4 images"]);
    expect(report.whitening).to.deep.equal({ images: 4, raised: 0 });
    // Seen from (7, 7), [6, 4] lies at (-1, -3): nearest to [10, 0] at (3, -7) now, and [7, 7] points nowhere.
    expect(report.results[1]).to.deep.equal({ kind: "far", copies: 1, meanAveragePrecision: 1 });
  });
});

describe("Copydays on disk", () => {
  let folder: string;
  beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), "copydays-"))));
  afterEach(() => rm(folder, { recursive: true }));

  const put = async (...paths: readonly string[]): Promise<void> => {
    for (const path of paths) {
      await mkdir(dirname(join(folder, path)), { recursive: true });
      await writeFile(join(folder, path), "");
    }
  };

  it("matches copies to originals by the hundreds of their numbers, or by name", async () => {
    await put("original/200000.jpg", "original/200100.jpg", "original/cat.png");
    await put(
      "strong/200001.jpg",
      "strong/200102.jpg",
      "strong/200002.jpg",
      "crops/20/cat.jpg",
      "crops/100/200100.jpg",
    );
    await put("jpegqual/3/200000.jpg", "notes/x.jpg");
    const { originals, copies } = await openCopydays(folder);
    expect(originals.count).to.equal(3);
    expect(copies.map(({ kind, originals: owners }) => [kind, owners])).to.deep.equal([
      ["strong", [[0], [0], [1]]],
      ["jpegqual/3", [[0]]],
      ["crops/20", [[2]]],
      ["crops/100", [[1]]],
    ]);
  });

  it("says what is missing", async () => {
    expect(await rejection(openCopydays(folder))).to.include("original: expected a folder of images");
    await put("original/200000.jpg");
    expect(await rejection(openCopydays(folder))).to.include("expected copies in a folder strong");
    await put("strong/200301.jpg");
    expect(await rejection(openCopydays(folder))).to.match(
      /200301\.jpg: expected an original of the same name or number/,
    );
  });
});

describe("dino copies", function () {
  this.timeout(120_000);
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "copies-"));
    await writeTinyCheckpoint(join(folder, "checkpoint.safetensors"));
    const save = async (path: string, picture: Sharp): Promise<void> => {
      await mkdir(dirname(join(folder, path)), { recursive: true });
      await picture.toFile(join(folder, path));
    };
    for (const scene of [0, 1, 2, 3]) {
      const picture = () => noise(scene, 24, 20);
      await save(`copydays/original/20${scene}000.png`, picture().png());
      await save(`copydays/jpegqual/75/20${scene}000.jpg`, picture().jpeg({ quality: 75 }));
      await save(`copydays/crops/10/20${scene}000.png`, picture().png()); // nothing cropped at all
      await save(`copydays/strong/20${scene}001.png`, picture().flop().blur(2).png());
    }
    for (let i = 0; i < 40; i++) {
      await save(`${i < 5 ? "distractors" : "whitening"}/${i}.png`, noise(100 + i, 24, 20).png());
    }
  });
  after(() => rm(folder, { recursive: true }));

  for (const family of families) {
    it(`traces copies with ${family}, whitened and among distractors`, async () => {
      const within = (name: string) => join(folder, name);
      const { patchSize, dim } = await writeModelOf(family, within(`${family}.safetensors`));
      const imsize = 2 * patchSize;
      const { code, stdout, stderr } = await dino(
        ...["copies", "--checkpoint", within(`${family}.safetensors`), "--data", within("copydays")],
        ...["--distractors", within("distractors"), "--whitening", within("whitening")],
        ...["--imsize", String(imsize), "--json"],
      );
      expect(code, stderr).to.equal(0);
      const report = JSON.parse(stdout) as Readonly<Record<string, unknown>>;
      expect(report).to.deep.include({ imsize, originals: 4, distractors: 5, failures: [] });
      const results = report["results"] as readonly Readonly<Record<string, unknown>>[];
      expect(results.map(({ kind, copies }) => [kind, copies])).to.deep.equal([
        ["strong", 4],
        ["jpegqual/75", 4],
        ["crops/10", 4],
      ]);
      expect(results.map(({ map }) => map)).to.satisfy((maps: number[]) => maps.every((map) => map > 0 && map <= 100));
      expect(results.at(-1)!["map"]).to.equal(100);
      expect(stderr).to.include(`whitening ${2 * dim!} numbers, learnt from 35 images`);
    });
  }

  it("prints a table", async () => {
    const { code, stdout, stderr } = await dino(
      ...["copies", "--checkpoint", join(folder, "checkpoint.safetensors")],
      ...["--data", join(folder, "copydays"), "--imsize", "16"],
    );
    expect(code, stderr).to.equal(0);
    expect(stdout).to.match(
      /^mAP in percent among 4 originals, not whitened\nstrong +\d+\.\d\d {3}4 copies\njpegqual\/75 +100\.00 /,
    );
  });
});

function noise(seed: number, width: number, height: number): Sharp {
  const random = rng({ seed, purpose: "copies" });
  const pixels = Uint8Array.from({ length: width * height * 3 }, () => random.integer(256));
  return sharp(pixels, { raw: { width, height, channels: 3 } });
}
