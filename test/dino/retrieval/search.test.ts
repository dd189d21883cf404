import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import sharp from "sharp";
import { program } from "../../../dino/cli.js";
import type { FeatureRows } from "../../../dino/math/feature-rows.js";
import { nearest } from "../../../dino/retrieval/nearest.js";
import { dino, drawFolder, writeTinyCheckpoint } from "../../support/command-line.js";
import { families, writeModelOf } from "../../support/families.js";
import { rejection } from "../../support/rejection.js";

const rows = (...values: readonly (readonly number[])[]): FeatureRows => ({
  values: Float32Array.from(values.flat()),
  rows: values.length,
  dim: values[0]!.length,
});

describe("nearest neighbours in an index", () => {
  const index = rows([1, 0], [0, 1], [0.6, 0.8], [1, 0]);

  it("come by their cosine, the earlier of equals first", async () => {
    const queries = rows([1, 0], [-0.6, -0.8]);
    const found = await nearest({ queries, index, k: 3 });
    expect(found.map((neighbors) => neighbors.map(({ row }) => row))).to.deep.equal([
      [0, 3, 2],
      [0, 3, 1],
    ]);
    const similarities = found.map((neighbors) => neighbors.map(({ similarity }) => similarity));
    expect(similarities[0]).to.deep.equal([1, 1, Math.fround(0.6)]);
    expect(similarities[1]).to.deep.equal([-0.6, -0.6, -0.8].map(Math.fround));
  });

  it("are all there are where fewer than asked for", async () => {
    const [found] = await nearest({ queries: rows([0, 1]), index, k: 9 });
    expect(found!.map(({ row }) => row)).to.deep.equal([1, 2, 0, 3]);
  });
});

describe("dino search", function () {
  this.timeout(120_000);
  let folder: string;
  let index: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "search-"));
    index = join(folder, "index.npy");
    await writeTinyCheckpoint(join(folder, "made.safetensors"));
    await drawFolder(join(folder, "photos"), 5);
    await embedPhotos(join(folder, "made.safetensors"), index);
  });
  after(() => rm(folder, { recursive: true }));

  const embedPhotos = async (model: string, out: string): Promise<void> => {
    const words = ["--checkpoint", model, "--data", join(folder, "photos"), "--out", out];
    const { code, stderr } = await dino("embed", ...words);
    expect(code, stderr).to.equal(0);
  };
  const refusal = async (...words: readonly string[]) =>
    rejection((await program("search")).parseAsync(["search", "--index", index, ...words], { from: "user" }));
  const photo = (name: string): string => join(folder, "photos", name);

  for (const family of families) {
    it(`finds an image first for itself with ${family}, which made the index, and draws what it found`, async () => {
      const [model, own] = [join(folder, `${family}.safetensors`), join(folder, `${family}.npy`)];
      await writeModelOf(family, model);
      await embedPhotos(model, own);
      const sheet = join(folder, "sheets", `${family}.png`);
      const { code, stdout, stderr } = await dino(
        ...["search", "--index", own, photo("red/1.png"), photo("blue/3.png"), "-k", "4", "--out", sheet, "--json"],
      );
      expect(code, stderr).to.equal(0);
      interface Report {
        readonly images: number;
        readonly sheet: string;
        readonly found: readonly {
          readonly query: string;
          readonly neighbors: readonly { readonly path: string; readonly similarity: number }[];
        }[];
      }
      const { images, found, sheet: drawn } = JSON.parse(stdout) as Report;
      expect([images, drawn]).to.deep.equal([10, sheet]);
      expect(found.map(({ query }) => query)).to.deep.equal([photo("red/1.png"), photo("blue/3.png")]);
      for (const { query, neighbors } of found) {
        expect(neighbors).to.have.length(4);
        expect(neighbors[0]!.path).to.equal(query);
        expect(neighbors[0]!.similarity).to.be.closeTo(1, 1e-5);
        const similarities = neighbors.map(({ similarity }) => similarity);
        expect(similarities).to.deep.equal([...similarities].sort((a, b) => b - a));
      }
      expect((await sharp(sheet).metadata()).width).to.be.above(600);
    });
  }

  it("finds checkpoint and images elsewhere when told where they are, and says so when not", async () => {
    await rename(join(folder, "made.safetensors"), join(folder, "moved.safetensors"));
    await rename(join(folder, "photos"), join(folder, "pictures"));
    const query = join(folder, "pictures", "red", "0.png");
    expect(await refusal(query)).to.include(
      "made.safetensors, which does not exist; name its new place with --checkpoint",
    );
    const { code, stdout, stderr } = await dino(
      ...["search", "--index", index, query, "--checkpoint", join(folder, "moved.safetensors")],
      ...["--data", join(folder, "pictures"), "--neighbors", "2"],
    );
    expect(code, stderr).to.equal(0);
    const lines = stdout.trimEnd().split("\n");
    expect(lines).to.have.length(3);
    expect(lines[1]).to.equal(`   1.0000   ${query}`);
  });

  it("refuses what is no image and what did not make the index", async () => {
    const torn = join(folder, "torn.png");
    await writeFile(torn, "torn");
    await writeTinyCheckpoint(join(folder, "other.safetensors"), { dim: 32 });
    const wrong = await refusal(torn, "--checkpoint", join(folder, "other.safetensors"));
    expect(wrong).to.match(/holds 16 numbers per image, but .*other\.safetensors makes 32/);
    const broken = await refusal(torn, "--checkpoint", join(folder, "moved.safetensors"));
    expect(broken).to.include(`${torn}: expected an image`);
    expect(await refusal(torn, "--out", "sheet.jpg")).to.include("Expected a file ending in .png");
  });
});
