import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import sharp from "sharp";
import { resolveConfig } from "../../../dino/config/resolve.js";
import type { PartialConfig } from "../../../dino/config/settings.js";
import { openSplits } from "../../../dino/images/sources/open-splits.js";
import type { Splits } from "../../../dino/images/split.js";
import { readLog } from "../../../dino/run/log.js";
import { pictureName, pictureOf } from "../../../dino/run/picture-names.js";
import { runFiles, removeRun } from "../../../dino/run/run-folder.js";
import type { StepProfile } from "../../../dino/run/step-profile.js";
import { train } from "../../../dino/training/train.js";
import { drawFolder, tinySettings } from "../../support/command-line.js";
import { testDevice } from "../../support/device.js";

describe("pictures on the way", () => {
  let inside: string;
  let few: Splits;
  /** A run that was never stopped. */
  let whole: string;
  before(async () => {
    inside = await mkdtemp(join(tmpdir(), "dino-run-pictures-"));
    const { train: all, test } = await openSplits("builtin", { heldOut: 0, seed: 0 });
    few = { train: { ...all, indices: all.indices.slice(0, 20) }, test };
    whole = await run("whole");
  });
  after(() => rm(inside, { recursive: true, force: true }));

  /** Trains 12 steps, 5 an epoch. */
  async function run(
    name: string,
    changes: PartialConfig = {},
    { parts: splits = few, resume = false, dieAt = -1 } = {},
  ): Promise<string> {
    const out = join(inside, name);
    const config = resolveConfig({
      ...{
        ...tinySettings,
        data: "builtin",
        out,
        batch: 4,
        steps: 12,
        logEvery: 3,
        checkpointEvery: 4,
        picturesEvery: 1,
      },
      ...{ localCropsNumber: 1, warmupEpochs: 0, ...changes },
    });
    await train({
      ...{ device: await testDevice(), config, splits, explicit: new Set<never>(), resume },
      onProgress: ({ step }) => {
        if (step === dieAt) throw new Error("killed");
      },
    });
    return out;
  }

  /** A checkpoint without its header, which holds the settings. */
  async function tensorBytes(out: string): Promise<Buffer> {
    const bytes = await readFile(runFiles(out).checkpoint);
    return bytes.subarray(8 + Number(bytes.readBigUInt64LE(0)));
  }

  async function picturesIn(out: string): Promise<ReadonlyMap<string, Buffer>> {
    const folder = runFiles(out).pictures;
    const names = (await readdir(folder)).sort();
    return new Map(await Promise.all(names.map(async (name) => [name, await readFile(join(folder, name))] as const)));
  }

  it("change no number of a training, nor does timing one of its steps", async () => {
    const without = await run("without", { picturesEvery: 0 });
    expect((await tensorBytes(whole)).equals(await tensorBytes(without))).to.equal(true);
    const lossesOf = async (out: string) => (await readLog(runFiles(out).log)).steps.map(({ loss }) => loss);
    expect(await lossesOf(whole)).to.deep.equal(await lossesOf(without));
    expect(await readdir(whole)).to.include.members(["pictures", "profile.json"]);
    for (const name of ["pictures", "profile.json"]) expect(await readdir(without)).to.not.include(name);
  });

  it("are drawn before the first step, after so many epochs and at the end, of the same images", async () => {
    const pictures = await picturesIn(await run("epochs", { picturesEvery: 2 }));
    const expected = [0, 10, 12].flatMap((step) => [pictureName(step, "attention"), pictureName(step, "features")]);
    expect([...pictures.keys()]).to.deep.equal(expected);
    const sizes = await Promise.all(
      [...pictures].map(async ([name, png]) => {
        const { width, height } = await sharp(png).metadata();
        return `${pictureOf(name)!.kind} ${width} x ${height}`;
      }),
    );
    expect(new Set(sizes).size).to.equal(2);
    expect(new Set([...pictures.values()].map((png) => png.toString("base64"))).size).to.equal(6);
  });

  it("come with the times of the kernels of a step, whose shares make a whole", async () => {
    const profile = JSON.parse(await readFile(runFiles(whole).profile, "utf8")) as StepProfile;
    expect(profile).to.include({ step: 10, device: (await testDevice()).name });
    expect(profile.kernels.map(({ kernel }) => kernel)).to.include.members(["attention", "adamw"]);
    expect(profile.kernels.reduce((sum, { share }) => sum + share, 0)).to.be.closeTo(1, 1e-9);
  });

  it("are those of a run that was never stopped when it goes on", async () => {
    const expected = await picturesIn(whole);
    const died = await run("broken", {}, { dieAt: 7 }).catch((error: unknown) => error);
    expect(died).to.be.an("error").with.property("message", "killed");
    const out = join(inside, "broken");
    const late = join(runFiles(out).pictures, pictureName(6, "attention"));
    await writeFile(late, "drawn at a step that is taken again");
    await run("broken", {}, { resume: true });
    const again = await picturesIn(out);
    expect([...again.keys()]).to.deep.equal([...expected.keys()]);
    for (const [name, png] of again) expect(png.equals(expected.get(name)!), name).to.equal(true);
  });

  it("go with the run that is removed, and nothing else does", async () => {
    const out = await run("removed", { steps: 1 });
    const mine = join(runFiles(out).pictures, "mine-attention.png");
    await writeFile(mine, "not of the run");
    await removeRun(out);
    expect(await readdir(runFiles(out).pictures)).to.deep.equal(["mine-attention.png"]);
    await rm(mine);
    await removeRun(out);
    expect(await readdir(out)).to.deep.equal([".lock"]);
  });

  it("show the first images where there are neither classes nor held-out ones, but for damaged ones", async () => {
    const folder = join(inside, "photos");
    await drawFolder(folder, 2);
    await mkdir(join(folder, "blue"), { recursive: true });
    await writeFile(join(folder, "blue", "0.png"), "no picture");
    const { train: all, test } = await openSplits(folder, { heldOut: 0, seed: 0 });
    const unlabelled = { train: { ...all, images: { ...all.images, labels: undefined, classes: [] } }, test };
    const out = await run("flat", { data: folder, steps: 1 }, { parts: unlabelled });
    expect([...(await picturesIn(out)).keys()].map((name) => pictureOf(name)!.step)).to.deep.equal([0, 0, 1, 1]);
  });

  it("have names that nothing else has", () => {
    for (const name of ["000400-attention.png", "1234567-features.png"]) {
      const { step, kind } = pictureOf(name)!;
      expect(pictureName(step, kind)).to.equal(name);
    }
    for (const name of ["400-attention.png", "0001234-attention.png", "000400-other.png", "../000400-attention.png"]) {
      expect(pictureOf(name), name).to.equal(undefined);
    }
  });
});
