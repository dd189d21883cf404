import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { ablations, parseAxis } from "../../../dino/experiments/sweep.js";
import { dino, drawFolder, tiny } from "../../support/command-line.js";

describe("axes of a sweep", () => {
  it("are a setting and its values, each once", () => {
    expect(parseAxis("teacher-temp=0.02,0.04,0.02")).to.deep.equal({ setting: "teacherTemp", words: ["0.02", "0.04"] });
  });

  for (const name of Object.keys(ablations)) {
    it(`are the paper's ablation of ${name}`, () => expect(parseAxis(name).words).to.have.length.above(1));
  }

  const refused: readonly (readonly [string, string])[] = [
    ["no-such-setting=1", "expected SETTING=VALUE,VALUE,..."],
    ["lr", "expected SETTING=VALUE,VALUE,..."],
    ["lr=", "expected SETTING=VALUE,VALUE,..."],
    ["lr=0.1,fast", "--lr: expected a number"],
    ["out=a,b", "--out is the same for all runs of a sweep"],
  ];
  for (const [word, message] of refused) {
    it(`are not ${word}`, () => expect(() => parseAxis(word)).to.throw(message));
  }
});

describe("dino sweep", function () {
  this.timeout(120_000);
  let folder: string;
  let photos: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "dino-sweep-"));
    photos = join(folder, "photos");
    await drawFolder(photos, 8);
  });
  after(() => rm(folder, { recursive: true }));

  it("trains one setting at a time around the baseline, compares, and goes on where it was", async () => {
    const out = join(folder, "sweep");
    const words = ["--data", photos, "--held-out", "0.4", "--out", out, ...tiny, "--steps", "2", "--json"];
    const first = await dino("sweep", "batch=2,4", ...words);
    expect(first.code, first.stderr).to.equal(0);
    interface Found {
      readonly rows: readonly { name: string; values: object; top1: number[]; meanTop1: number }[];
    }
    const { rows } = JSON.parse(first.stdout) as Found;
    expect(rows.map(({ name }) => name)).to.deep.equal(["baseline", "batch-2"]);
    expect(JSON.parse(await readFile(join(out, "sweep.json"), "utf8"))).to.deep.equal(JSON.parse(first.stdout));

    const second = await dino("sweep", "batch=2,4", "center-momentum=0.5", ...words);
    expect(second.code, second.stderr).to.equal(0);
    expect(second.stderr.match(/\(already exists\)/g)).to.have.length(2);
    const more = (JSON.parse(second.stdout) as Found).rows;
    expect(more.slice(0, 2)).to.deep.equal(rows);
    expect(more[2]!.values).to.deep.equal({ "center-momentum": "0.5" });
    expect(existsSync(join(out, "sweep.png"))).to.equal(true);

    const other = await dino("sweep", "batch=2,4", ...words, "--lr", "0.5");
    expect(other.stderr).to.include("holds a run with --lr 0.0005, not 0.5; --overwrite replaces it");
    expect(other.code).to.equal(1);
  });

  it("trains all combinations with several seeds", async () => {
    const out = join(folder, "grid");
    const { code, stdout, stderr } = await dino(
      ...["sweep", "batch=2,4", "flip=0", "--grid", "--seeds", "0", "1", "--data", photos, "--held-out", "0.4"],
      ...["--out", out, ...tiny, "--steps", "1"],
    );
    expect(code, stderr).to.equal(0);
    expect(stdout).to.match(/batch-2_flip-0 +[\d.]+ % .*\([\d.]+, [\d.]+\)\n.*batch-4_flip-0/);
    expect(existsSync(join(out, "batch-4_flip-0_seed-1", "checkpoint.safetensors"))).to.equal(true);
  });

  it("needs classes", async () => {
    const { code, stderr } = await dino("sweep", "batch=2,4", "--data", join(photos, "red"));
    expect(stderr).to.include("accuracy needs classes");
    expect(code).to.equal(1);
  });
});
