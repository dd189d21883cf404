import { copyFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import sharp from "sharp";
import { program } from "../../../dino/cli.js";
import { writeFeatures } from "../../../dino/evaluation/feature-files.js";
import { type FeatureRows, normalizeRows } from "../../../dino/math/feature-rows.js";
import { rng } from "../../../dino/math/random.js";
import { findDuplicates } from "../../../dino/retrieval/duplicates.js";
import { type Pair, similarPairs } from "../../../dino/retrieval/similar-pairs.js";
import { dino, drawFolder } from "../../support/command-line.js";
import { testDevice } from "../../support/device.js";
import { families, writeModelOf } from "../../support/families.js";
import { rejection } from "../../support/rejection.js";

function randomRows(rows: number, dim: number): FeatureRows {
  const random = rng({ seed: 4, purpose: "rows" });
  return normalizeRows({ values: Float32Array.from({ length: rows * dim }, () => random.normal()), rows, dim });
}

describe("similar pairs", () => {
  /** All pairs by the plain definition, in float64. */
  const plain = ({ values, rows, dim }: FeatureRows, atLeast: number): Pair[] => {
    const pairs: Pair[] = [];
    for (let first = 0; first < rows; first++) {
      for (let second = first + 1; second < rows; second++) {
        let similarity = 0;
        for (let c = 0; c < dim; c++) similarity += values[first * dim + c]! * values[second * dim + c]!;
        if (similarity >= atLeast) pairs.push({ first, second, similarity });
      }
    }
    return pairs;
  };
  const inOrder = (pairs: Pair[]): Pair[] => pairs.sort((a, b) => a.first - b.first || a.second - b.second);

  for (const [rows, dim, atLeast] of [
    [1, 3, 0.5],
    [2, 3, 0.01],
    [150, 5, 0.9],
    [2300, 4, 0.998], // more than one tile
  ] as const) {
    it(`of ${rows} rows are those of the plain definition, each once`, async () => {
      const features = randomRows(rows, dim);
      features.values.copyWithin((rows - 1) * dim, 0, dim); // the last is the first again
      const pairs: Pair[] = [];
      const reports: number[][] = [];
      await similarPairs({
        ...{ device: await testDevice(), features, atLeast },
        onPair: (pair) => void pairs.push(pair),
        onProgress: (done, total) => void reports.push([done, total]),
      });
      const expected = plain(features, atLeast);
      expect(inOrder(pairs)).to.deep.equal(expected);
      if (rows > 1)
        expect(expected).to.deep.include({ first: 0, second: rows - 1, similarity: expected[0]!.similarity });
      const tiles = Math.ceil(rows / 2048);
      expect(reports.at(-1)).to.deep.equal([(tiles * (tiles + 1)) / 2, (tiles * (tiles + 1)) / 2]);
    });
  }
});

describe("duplicates", () => {
  const cos = (degrees: number): number => Math.cos((degrees * Math.PI) / 180);

  it("are linked by pairs, and those on either side of the threshold are kept", async () => {
    // 90 and 95 are alike; 0, 10 and 21 are linked though 0 and 21 differ; nothing is like 50.
    const features = at(90, 0, 50, 21, 95, 10);
    const found = await findDuplicates({ device: await testDevice(), features, threshold: 0.98 });
    expect(found.groups.map((group) => group.map(({ row }) => row))).to.deep.equal([
      [1, 3, 5],
      [0, 4],
    ]);
    const similarities = found.groups.flat().map(({ similarity }) => similarity);
    for (const [i, degrees] of [10, 11, 10, 5, 5].entries()) expect(similarities[i]).to.be.closeTo(cos(degrees), 1e-6);
    const pairs = (some: readonly Pair[]) => some.map(({ first, second }) => [first, second]);
    expect(pairs(found.above)).to.deep.equal([
      [3, 5], // 11 degrees
      [1, 5], // 10
      [0, 4], // 5
    ]);
    expect(pairs(found.below)).to.deep.equal([[1, 3]]); // 21 degrees; the others are further apart than the levels reach
    expect(found.counts).to.deep.equal([
      { atLeast: 0.999, pairs: 0 },
      { atLeast: 0.995, pairs: 1 },
      { atLeast: 0.99, pairs: 1 },
      { atLeast: 0.98, pairs: 3 },
      { atLeast: 0.97, pairs: 3 },
      { atLeast: 0.96, pairs: 3 },
      { atLeast: 0.95, pairs: 3 },
      { atLeast: 0.94, pairs: 3 },
      { atLeast: 0.93, pairs: 4 },
    ]);
  });

  it("are none where nothing is alike, and of a high threshold only the very same", async () => {
    const device = await testDevice();
    const { groups } = await findDuplicates({ device, features: at(0, 40, 80), threshold: 0.96 });
    expect(groups).to.deep.equal([]);
    const { groups: same } = await findDuplicates({ device, features: at(0, 90, 0, 1), threshold: 0.9999 });
    expect(same).to.deep.equal([
      [
        { row: 0, similarity: 1 },
        { row: 2, similarity: 1 },
      ],
    ]);
  });
});

describe("dino dedupe", function () {
  this.timeout(120_000);
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "dedupe-"));
    const photos = join(folder, "photos");
    await drawFolder(photos, 3);
    await copyFile(join(photos, "red", "1.png"), join(photos, "blue", "copy.png"));
    await sharp(join(photos, "blue", "2.png"))
      .webp({ quality: 95 })
      .toFile(join(photos, "blue", "other.webp"));
    await writeFile(join(photos, "red", "torn.png"), "torn");
  });
  after(() => rm(folder, { recursive: true }));

  for (const family of families) {
    it(`reports and draws groups of a folder with ${family}`, async () => {
      const [checkpoint, photos, sheet] = [`${family}.safetensors`, "photos", "sheet.png"].map((name) =>
        join(folder, name),
      );
      await writeModelOf(family, checkpoint!);
      const { code, stdout, stderr } = await dino(
        ...[
          "dedupe",
          "--checkpoint",
          checkpoint!,
          "--data",
          photos!,
          "--threshold",
          "0.9999",
          "--out",
          sheet!,
          "--json",
        ],
      );
      expect(code, stderr).to.equal(0);
      const report = JSON.parse(stdout) as {
        readonly groups: readonly (readonly { readonly path: string; readonly similarity: number }[])[];
        readonly failures: readonly { readonly path: string }[];
      };
      expect(report).to.deep.include({ images: 8, threshold: 0.9999, sheet });
      expect(report.failures.map(({ path }) => path)).to.deep.equal(["red/torn.png"]);
      const copied = report.groups.find((group) => group.some(({ path }) => path.endsWith("copy.png")))!;
      expect(copied.map(({ path }) => path)).to.include(join(photos!, "red", "1.png"));
      expect((await sharp(sheet).metadata()).width).to.be.above(600);
    });
  }

  it("reports the same of kept features, as text", async () => {
    const index = join(folder, "index.npy");
    const files = ["a.png", "b.png", "c.png", "d.png"];
    const list = { data: "photos", checkpoint: "x", which: "teacher" as const, files, classes: [], failures: [] };
    await writeFeatures(index, { features: at(0, 90, 5, 20), list });
    const { code, stdout, stderr } = await dino("dedupe", "--index", index, "--threshold", "0.99");
    expect(code, stderr).to.equal(0);
    expect(stdout.split("\n").slice(0, 5)).to.deep.equal([
      "1 group of near-duplicates in 4 images; keeping one of each group would save 1",
      "",
      "group 1, 2 images, each with its similarity to the most similar other",
      `   0.9962   ${join("photos", "a.png")}`,
      `   0.9962   ${join("photos", "c.png")}`,
    ]);
    expect(stdout).to.include("     0.99        1   <- the threshold\n");
    expect(stdout).to.include(`closest below the threshold; lower it if these are the same\n   0.9659   `);
  });

  it("refuses half a source and a cosine that is none", async () => {
    const refusal = async (...words: readonly string[]) =>
      rejection((await program("dedupe")).parseAsync(["dedupe", ...words], { from: "user" }));
    expect(await refusal("--data", folder)).to.equal("expected --index, or --data and --checkpoint together");
    expect(await refusal("--index", "x.npy", "--checkpoint", "y")).to.include("leave --checkpoint out");
    expect(await refusal("--index", "x.npy", "--threshold", "1.5")).to.include("Expected a cosine above 0");
  });
});

/** Features at angles of a circle, in degrees. */
function at(...degrees: readonly number[]): FeatureRows {
  const values = Float32Array.from(
    degrees.flatMap((d) => [Math.cos((d * Math.PI) / 180), Math.sin((d * Math.PI) / 180)]),
  );
  return { values, rows: degrees.length, dim: 2 };
}
