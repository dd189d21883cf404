import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect } from "chai";
import sharp, { type Sharp } from "sharp";
import { program } from "../../../dino/cli.js";
import { type ImageSet, memoryImages } from "../../../dino/images/image-set.js";
import { rng } from "../../../dino/math/random.js";
import { classBenchmark, retrieve, revisitedBenchmark } from "../../../dino/retrieval/retrieve.js";
import { openRevisited, queryBox, setups } from "../../../dino/retrieval/revisited.js";
import { dino, drawFolder, writeTinyCheckpoint } from "../../support/command-line.js";
import { testDevice } from "../../support/device.js";
import { families, writeModelOf } from "../../support/families.js";
import { rejection } from "../../support/rejection.js";

describe("retrieval", () => {
  /** Images of one pixel, whose features are [1, 0], [0, 1], ... by the pixel's value. */
  const setOf = (values: readonly number[], labels?: readonly number[]): ImageSet =>
    memoryImages({
      images: values.map((value) => ({ rows: 1, cols: 1, pixels: Uint8Array.of(value, 0, 0) })),
      ...(labels && { labels, classes: ["a", "b", "c"] }),
    });
  const extract = async (images: ImageSet) => {
    const dim = 4;
    const values = new Float32Array(images.count * dim);
    for (let i = 0; i < images.count; i++) {
      const image = await images.decode(i);
      if ("pixels" in image) values[i * dim + image.pixels[0]!] = 2; // not of length one
    }
    const indices = Int32Array.from({ length: images.count }, (_, i) => i);
    return { features: { values, rows: images.count, dim }, indices, failures: [] };
  };

  it("judges each query by each setup", async () => {
    const gnd = [
      { bbx: [0, 0, 1, 1] as [number, number, number, number], easy: [0], hard: [3], junk: [1] },
      { bbx: [0, 0, 1, 1] as [number, number, number, number], easy: [2], hard: [], junk: [] },
    ];
    const truth = {
      imlist: ["a", "b", "c", "d"] as [string, ...string[]],
      qimlist: ["x", "y"] as [string, ...string[]],
      gnd,
    };
    // Of query 0 the images 0 and 1 are alike, of query 1 image 2.
    const revisited = { database: setOf([0, 0, 1, 2]), queries: setOf([0, 1]), truth };
    const benchmark = revisitedBenchmark(revisited, { wholeQueries: true });
    const ranked: number[] = [];
    const report = await retrieve({
      ...{ benchmark, extract, ks: [1, 5], device: await testDevice() },
      onRanked: (done) => void ranked.push(done),
    });
    expect(ranked).to.deep.equal([1, 2]);
    expect(report).to.include({ databaseImages: 4, queryImages: 2 });
    const [easy, medium, hard] = report.setups;
    expect(easy).to.deep.equal({ name: "easy", meanAveragePrecision: 1, meanPrecisions: [1, 1], queries: 2 });
    // Query 0 by medium: order 0, (1), 2, 3: places 0 and 2; by hard: (0), (1), 2, 3: place 1.
    const medium0 = (1 + (1 / 2 + 2 / 3) / 2) / 2;
    expect(medium!.meanAveragePrecision).to.be.closeTo((medium0 + 1) / 2, 1e-12);
    expect(medium!.meanPrecisions[1]).to.be.closeTo((2 / 3 + 1) / 2, 1e-12);
    expect(hard).to.deep.equal({ name: "hard", meanAveragePrecision: 1 / 4, meanPrecisions: [0, 1 / 2], queries: 1 });
  });

  it("of classes asks with every image for the others of its class", async () => {
    const benchmark = classBenchmark(setOf([0, 0, 1, 1, 3], [0, 0, 1, 1, 2]));
    const { setups: found } = await retrieve({ benchmark, extract, ks: [1, 5], device: await testDevice() });
    // The image that is alone in its class has nothing to find.
    expect(found).to.deep.equal([{ name: "classes", meanAveragePrecision: 1, meanPrecisions: [1, 1], queries: 4 }]);
    expect(() => classBenchmark(setOf([0, 1]))).to.throw("the images have no classes");
  });

  it("divides annotations among the setups", () => {
    const annotation = {
      bbx: [0.5, 1.5, 10.4, 20.6] as [number, number, number, number],
      easy: [1],
      hard: [2],
      junk: [3],
    };
    expect(setups.easy(annotation)).to.deep.equal({ relevant: [1], junk: [3, 2] });
    expect(setups.medium(annotation)).to.deep.equal({ relevant: [1, 2], junk: [3] });
    expect(setups.hard(annotation)).to.deep.equal({ relevant: [2], junk: [3, 1] });
    expect(queryBox(annotation)).to.deep.equal({ left: 0, top: 2, width: 10, height: 19 });
  });
});

describe("dino retrieve", function () {
  this.timeout(120_000);
  let folder: string;
  let checkpoint: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "retrieve-"));
    checkpoint = join(folder, "checkpoint.safetensors");
    await writeTinyCheckpoint(checkpoint);
    await drawBenchmark(join(folder, "roxford5k"));
  });
  after(() => rm(folder, { recursive: true }));

  const run = (...words: readonly string[]) => dino("retrieve", "--checkpoint", checkpoint, "--data", folder, ...words);
  interface Result {
    readonly setup: string;
    readonly queries: number;
    readonly map: number;
    readonly mp: Readonly<Record<string, number>>;
  }

  it("finds copies of what the queries show, by the protocol", async () => {
    const { code, stdout, stderr } = await run("--dataset", "roxford5k", "--imsize", "40", "--multiscale", "--json");
    expect(code, stderr).to.equal(0);
    const report = JSON.parse(stdout) as { readonly results: readonly Result[]; readonly scales: readonly number[] };
    expect(report).to.include({
      dataset: "roxford5k",
      imsize: 40,
      databaseImages: 15,
      queryImages: 3,
      wholeQueries: false,
    });
    expect(report.scales).to.have.length(3);
    const [easy, medium, hard] = report.results;
    expect(easy).to.deep.equal({ setup: "easy", queries: 3, map: 100, mp: { 1: 100, 5: 100, 10: 100 } });
    expect(medium).to.include({ setup: "medium", queries: 3 });
    expect(medium!.mp[1]).to.equal(100);
    expect(hard!.map).to.be.within(0, 100);
  });

  it("looks at whole queries if asked, as the official code does, and so finds other things first", async () => {
    const { code, stdout, stderr } = await run("--dataset", "roxford5k", "--imsize", "40", "--whole-queries");
    expect(code, stderr).to.equal(0);
    expect(stdout).to.match(/^3 queries among 15 images, in percent\n/);
    const [, map, first] = /^easy +([\d.]+) +([\d.]+)/m.exec(stdout)!;
    expect(Number(map)).to.be.below(100);
    expect(Number(first)).to.equal(0); // the whole scene is in the database too, and is wrong
  });

  for (const family of families) {
    it(`takes the classes of a folder with ${family}, and names what it cannot read`, async () => {
      const [photos, model] = [join(folder, "photos"), join(folder, `${family}.safetensors`)];
      await writeModelOf(family, model);
      await drawFolder(photos, 4);
      await writeFile(join(photos, "red", "torn.png"), "torn");
      const { code, stdout, stderr } = await dino("retrieve", "--checkpoint", model, "--data", photos);
      expect(code, stderr).to.equal(0);
      expect(stderr).to.include("skipped red/torn.png");
      expect(stdout)
        .to.match(/^8 queries among 8 images/)
        .and.to.match(/^classes +\d+\.\d\d .* 8$/m);
    });
  }

  it("reads a pickled ground truth as it reads JSON, and runs nothing", async () => {
    // pickle.dumps(truth, protocol=3) of Python 3.11
    const hex =
      "80037d7100285803000000676e6471015d71027d710328580300000062627871045d7105284740611000000000004740410c" +
      "cccccccccd47408444000000000047408ddd999999999a6558040000006561737971065d71074b0061580400000068617264" +
      "71085d71094b016158040000006a756e6b710a5d710b75615806000000696d6c697374710c5d710d28580100000061710e58" +
      "0100000062710f65580700000071696d6c69737471105d7111580100000071711261752e";
    const gnd = [{ bbx: [136.5, 34.1, 648.5, 955.7], easy: [0], hard: [1], junk: [] }];
    const root = join(folder, "pickled");
    const [pickled, json] = (["roxford5k", "rparis6k"] as const).map((name) => join(root, name, `gnd_${name}`));
    for (const stem of [pickled!, json!]) await mkdir(dirname(stem), { recursive: true });
    await writeFile(`${pickled}.pkl`, Buffer.from(hex, "hex"));
    await writeFile(`${json}.json`, JSON.stringify({ imlist: ["a", "b"], qimlist: ["q"], gnd }));
    const { truth, database, queries } = await openRevisited(root, "roxford5k");
    expect(truth).to.deep.equal((await openRevisited(root, "rparis6k")).truth);
    expect([database.name(1), queries.name(0)]).to.deep.equal(["b.jpg", "q.jpg"]);
    await writeFile(`${pickled}.pkl`, "cposix\nsystem\n(X\x04\0\0\0truetR.");
    expect(await rejection(openRevisited(root, "roxford5k"))).to.match(/gnd_roxford5k\.pkl: .*"posix\.system"/);
  });

  it("refuses what is not a benchmark", async () => {
    expect(await rejection(openRevisited(folder, "rparis6k"))).to.include("gnd_rparis6k");
    const bad = join(folder, "bad", "roxford5k");
    await mkdir(bad, { recursive: true });
    await writeFile(join(bad, "gnd_roxford5k.json"), JSON.stringify({ imlist: ["a"], qimlist: ["b"], gnd: [] }));
    expect(await rejection(openRevisited(join(folder, "bad"), "roxford5k"))).to.include("an entry of gnd for each");
    const words = ["retrieve", "--checkpoint", checkpoint, "--data", folder, "--whole-queries"];
    expect(await rejection((await program("retrieve")).parseAsync(words, { from: "user" }))).to.include(
      "--whole-queries is for --dataset",
    );
  });
});

/**
 * Three queries, each a pattern within a scene. Of each the database holds the pattern itself (easy), mirrored and darker
 * (hard), within another scene (junk), and the very scene of the query, which is wrong as the others' are.
 */
async function drawBenchmark(folder: string): Promise<void> {
  await mkdir(join(folder, "jpg"), { recursive: true });
  const imlist: string[] = [];
  const qimlist: string[] = [];
  const gnd: unknown[] = [];
  const save = async (name: string, picture: Sharp): Promise<void> =>
    writeFile(join(folder, "jpg", `${name}.jpg`), await picture.png().toBuffer()); // without loss
  for (const query of [0, 1, 2]) {
    const pattern = await noise(query, 24, 16).png().toBuffer();
    const scene = (seed: number) => noise(seed, 40, 32).composite([{ input: pattern, left: 4, top: 10 }]);
    await save(`query${query}`, scene(10 + query));
    const first = imlist.length;
    const pictures = {
      easy: sharp(pattern),
      hard: sharp(pattern).flop().linear(0.7, 0),
      junk: scene(20 + query),
      scene: scene(10 + query),
      other: noise(30 + query, 24, 18),
    };
    for (const [kind, picture] of Object.entries(pictures)) {
      imlist.push(`${kind}${query}`);
      await save(`${kind}${query}`, picture);
    }
    qimlist.push(`query${query}`);
    gnd.push({ bbx: [4, 10, 28, 26], easy: [first], hard: [first + 1], junk: [first + 2] });
  }
  await writeFile(join(folder, "gnd_roxford5k.json"), JSON.stringify({ imlist, qimlist, gnd }));
}

function noise(seed: number, width: number, height: number): Sharp {
  const random = rng({ seed, purpose: "benchmark" });
  const pixels = Uint8Array.from({ length: width * height * 3 }, () => random.integer(256));
  return sharp(pixels, { raw: { width, height, channels: 3 } });
}
