import { exec, execFile, type ExecFileException } from "node:child_process";
import { existsSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect } from "chai";
import sharp from "sharp";
import { program } from "../../dino/cli.js";
import { parseConfig } from "../../dino/config/resolve.js";
import { parseNpy } from "../../dino/files/npy.js";
import { type EpochLine, readLog as readRunLog } from "../../dino/run/log.js";
import { tunedPath, writeChoices } from "../../engine/adapters/node.js";
import { dino, dinoIn, drawFolder, type Finished, tiny } from "../support/command-line.js";
import { testDevice } from "../support/device.js";
import { rejectedWith } from "../support/rejection.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const everyCommand = (await program()).commands;

describe("dino on the command line", function () {
  this.timeout(120_000);
  let folder: string;
  let photos: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "dino-"));
    photos = join(folder, "photos");
    await drawFolder(photos, 8);
    await mkdir(join(folder, "empty"));
    await mkdir(join(folder, "broken"));
    for (const name of ["a.png", "b.jpg"]) await writeFile(join(folder, "broken", name), "no picture");
    await writeFile(join(folder, "no.safetensors"), "no checkpoint");
  });
  after(() => rm(folder, { recursive: true }));

  it("explains itself", async () => {
    const { code, stdout, stderr } = await dino("--help");
    expect(code, stderr).to.equal(0);
    expect(stdout)
      .to.include("Usage: dino")
      .and.match(/Examples?:\n {2}dino/);
  });

  it("says in one line what is missing where nothing is installed", async () => {
    const bare = join(folder, "bare");
    await mkdir(join(bare, "dino"), { recursive: true });
    for (const file of ["package.json", "dino/dino.js", "dino/cli.ts"])
      await copyFile(join(root, file), join(bare, file));
    const run = promisify(execFile)(process.execPath, [join(bare, "dino/dino.js"), "doctor"]);
    const { code, stdout, stderr } = (await rejectedWith(run)) as ExecFileException;
    expect({ code, stdout, stderr }).to.deep.equal({
      ...{ code: 1, stdout: "" },
      stderr: `dino: tsx is not installed; run npm ci in ${bare}/\n`,
    });
  });

  it("ends quietly where nobody reads on", async function () {
    if (process.platform === "win32") this.skip();
    const script = `"${process.execPath}" dino/dino.js search --help | head -c 1`;
    const { stdout, stderr } = await promisify(exec)(script, { cwd: root });
    expect([stdout, stderr]).to.deep.equal(["U", ""]);
  });

  for (const command of everyCommand) {
    const name = command.name();
    it(`explains ${name}, with an example`, () => {
      let help = "";
      command.configureOutput({ writeOut: (text) => (help += text) }).outputHelp();
      expect(help)
        .to.include(`Usage: dino ${name}`)
        .and.match(new RegExp(`Examples?:\\n {2}dino ${name}`));
    });
    it(`${name} has --json`, () => {
      expect(command.options.map(({ long }) => long)).to.include("--json");
    });
  }

  const misuses: readonly (readonly [string, readonly string[], string])[] = [
    ["no command", [], "expected a command: train, "],
    ["an unknown command", ["trian"], "unknown command 'trian' (Did you mean train?)"],
    ["an unknown flag", ["train", "--bathc", "3"], "unknown option '--bathc' (Did you mean --batch?)"],
    ["an unknown preset", ["train", "--data", "x", "--preset", "shaps"], "--preset: expected one of shapes, "],
    ["a patch size that is no number", ["train", "--patch-size", "five"], "--patch-size: expected a whole number"],
    [
      "a patch size that does not divide the image",
      ["train", "--data", "x", "--patch-size", "5", "--image-size", "32"],
      "--patch-size 5 does not divide --image-size 32",
    ],
    ["no images to train on", ["train"], "--data: expected a folder"],
    ["a word too many", ["train", "--data", "x", "--seed", "1", "more"], "too many arguments"],
    ["an unquoted pattern", ["train", "--data", "package.json", "README.md"], "quote patterns, or the shell"],
    ["no checkpoint to look with", ["knn", "--data", "x"], "--checkpoint"],
    ["half a pair of folders", ["knn", "--checkpoint", "x", "--train", "y"], "--train and --test belong together"],
    ["a switch that is neither on nor off", ["train", "--data", "x", "--use-fp16", "half"], "expected true or false"],
    ["to tune for no images", ["tune", "--batch", "0"], "--batch: expected a whole number of 1 or more, got 0"],
    ["a preset that nobody tunes for", ["tune", "--preset", "vit-x"], "--preset"],
    ["a split that leaves nothing", ["knn", "--checkpoint", "x", "--split", "1"], "--split"],
  ];
  for (const [what, args, message] of misuses) {
    it(`refuses ${what} with code 2`, async () => {
      const { code, stdout, stderr } = await dino(...args);
      expect(stderr).to.include(message);
      expect(stderr.trimEnd().split("\n"), stderr).to.have.length(1);
      expect(stdout).to.equal("");
      expect(code).to.equal(2);
    });
  }

  it("forgets what was measured on the adapter, and says so", async () => {
    const cache = join(folder, "cache");
    const { name } = await testDevice();
    const path = tunedPath(name, join(cache, "dino-webgpu"));
    await writeChoices(path, { what: "way" });
    const [first, second] = [
      await dinoIn({ XDG_CACHE_HOME: cache }, "tune", "--forget"),
      await dinoIn({ XDG_CACHE_HOME: cache }, "tune", "--forget"),
    ];
    expect(first).to.include({ code: 0, stdout: `deleted ${path}\n` });
    expect(second).to.include({ code: 0, stdout: `no measurements of ${name}\n` });
    expect(existsSync(path)).to.equal(false);
  });

  const failures: readonly (readonly [string, (inside: string) => readonly string[], string])[] = [
    [
      "a missing folder",
      (inside) => ["train", "--data", join(inside, "none"), "--out", join(inside, "run0")],
      "got nothing of that name",
    ],
    [
      "an empty folder",
      (inside) => ["train", "--data", join(inside, "empty"), "--out", join(inside, "run0")],
      "got an empty folder",
    ],
    [
      "a folder of files that are no images",
      (inside) => ["train", "--data", join(inside, "broken"), "--out", join(inside, "run0"), ...tiny, "--batch", "2"],
      "could be decoded",
    ],
    [
      "a batch larger than the folder",
      (inside) => ["train", "--data", join(inside, "photos"), "--out", join(inside, "run0"), ...tiny, "--batch", "17"],
      "; --batch 16 is the largest that works",
    ],
    [
      "a folder for the run that is a file, before anything else",
      (inside) => ["train", "--data", join(inside, "none"), "--out", join(inside, "no.safetensors")],
      "no.safetensors: expected a folder to write to, but EEXIST",
    ],
    [
      "a missing checkpoint",
      (inside) => ["knn", "--checkpoint", join(inside, "gone.safetensors"), "--data", join(inside, "photos")],
      "gone.safetensors",
    ],
    [
      "a file that is no checkpoint",
      (inside) => ["attend", "--checkpoint", join(inside, "no.safetensors"), "x.png", "--out", join(inside, "maps")],
      "no.safetensors",
    ],
    [
      "a run that is not there",
      (inside) => ["train", "--resume", "--out", join(inside, "empty")],
      "holds no run; leave --resume out",
    ],
  ];
  for (const [what, args, message] of failures) {
    it(`fails on ${what} with code 1`, async () => {
      const { code, stderr } = await dino(...args(folder));
      const lines = stderr.trimEnd().split("\n");
      expect(lines.at(-1))
        .to.match(/^dino: /)
        .and.to.include(message);
      expect(stderr).not.to.match(/^ +at /m);
      expect(code).to.equal(1);
    });
  }

  it("takes --use-fp16 as --precision f16, where the adapter has that", async () => {
    const out = join(folder, "halves");
    const words = ["train", "--data", photos, "--out", out, ...tiny, "--steps", "2", "--use-fp16", "true"];
    const { code, stderr } = await dino(...words);
    const { features, name } = await testDevice();
    if (features.has("shader-f16")) {
      expect(code, stderr).to.equal(0);
      expect(parseConfig(await readFile(join(out, "config.json"), "utf8")).precision).to.equal("f16");
    } else {
      expect(stderr).to.include(`dino: --precision f16: ${name} has no f16`);
      expect(code).to.equal(1);
    }
  });

  it("tells about the machine as JSON", async () => {
    const { stdout } = await dino("doctor", "--json");
    expect(JSON.parse(stdout)).to.have.all.keys("chosen", "devices", "others", "machine", "advice");
  });

  describe("after a tiny training", () => {
    let run: string;
    let checkpoint: string;
    let trained: Finished;
    before(async () => {
      run = join(folder, "run");
      checkpoint = join(run, "checkpoint.safetensors");
      await writeFile(join(photos, "red", "torn.png"), "torn");
      trained = await dino("train", "--data", photos, "--out", run, ...tiny, "--steps", "6", "--lr", "0.01", "--json");
    });

    it("leaves settings, a log and a checkpoint", async () => {
      expect(trained.code, trained.stderr).to.equal(0);
      const config = parseConfig(await readFile(join(run, "config.json"), "utf8"));
      expect(config).to.include({ patchSize: 8, steps: 6, lr: 0.01, data: photos, out: run, optimizer: "adamw" });
      const log = await readLog(run);
      const steps = log.filter(({ step }) => step !== undefined);
      expect(steps.length).to.be.at.least(3);
      for (const line of steps) expect(line).to.include.keys("step", "epoch", "loss");
      expect(existsSync(checkpoint)).to.equal(true);
      expect(JSON.parse(trained.stdout)).to.include({ checkpoint, steps: 6, data: photos, hasClasses: true });
    });

    it("says how well k-NN does in the end where the images have classes, and nothing of it where they have none", async () => {
      const [first, again] = [join(folder, "with-classes"), join(folder, "without-classes")];
      const labelled = await dino("train", "--data", photos, "--out", first, ...tiny, "--steps", "2");
      expect(labelled.code, labelled.stderr).to.equal(0);
      expect(labelled.stdout).to.match(
        /^accuracy +k-NN [\d.]+ % of 3 images right by 1[23] others, all of them trained on without labels$/m,
      );
      const [{ step, knn }] = (await readRunLog(join(first, "log.jsonl"))).evaluations as [EpochLine];
      expect([step, knn?.areTrainedOn]).to.deep.equal([2, true]);
      const bare = await dino("train", "--data", join(photos, "red"), "--out", again, ...tiny, "--steps", "2");
      expect(bare.code, bare.stderr).to.equal(0);
      expect(bare.stdout + bare.stderr).to.not.include("k-NN");
      expect((await readRunLog(join(again, "log.jsonl"))).evaluations).to.deep.equal([]);
    });

    it("does not overwrite a run unless asked", async () => {
      const { code, stderr } = await dino("train", "--data", photos, "--out", run, ...tiny, "--steps", "6");
      expect(stderr).to.include("already holds a run; --resume continues it, --overwrite replaces it");
      expect(code).to.equal(1);
    });

    it("classifies by neighbours, as JSON and as a table", async () => {
      const { code, stdout, stderr } = await dino(
        "knn",
        "--checkpoint",
        checkpoint,
        "--json",
        "--split",
        "0.4",
        "-k",
        "1",
        "5",
      );
      expect(code, stderr).to.equal(0);
      const report = JSON.parse(stdout) as Record<string, unknown>;
      expect(report).to.include({ classes: 2, temperature: 0.07, which: "teacher" });
      expect((report["trainImages"] as number) + (report["testImages"] as number)).to.equal(16);
      expect(report["failures"]).to.have.length(1);
      const results = report["results"] as readonly Record<string, number>[];
      expect(results.map(({ k }) => k)).to.deep.equal([1, 5]);
      for (const { top1, top5 } of results) expect(top1).to.be.within(0, top5!);

      const table = await dino(
        "knn",
        "--checkpoint",
        checkpoint,
        "--train",
        photos,
        "--test",
        photos,
        "--which",
        "student",
      );
      expect(table.code, table.stderr).to.equal(0);
      const lines = table.stdout.trimEnd().split("\n").slice(1);
      expect(lines).to.have.length(3);
      expect(lines[0]).to.match(/^k +10 +top-1 .* %$/);
      expect(lines[1]).to.match(/^k +20 +top-1 .* % +\(only 16 train images\)$/);
      expect(lines[2]).to.equal("k 100, 200 would let the same images vote as a k above");
      expect(table.stderr).to.include("skipped red/torn.png");
    });

    it("writes features and the list of their images", async () => {
      const out = join(folder, "features", "photos.npy");
      const { code, stderr } = await dino("embed", "--checkpoint", checkpoint, "--data", photos, "--out", out);
      expect(code, stderr).to.equal(0);
      const { shape, values } = parseNpy(await readFile(out));
      expect(shape).to.deep.equal([16, 16]);
      expect(values.every(Number.isFinite)).to.equal(true);
      const files = (await readFile(join(folder, "features", "photos.txt"), "utf8")).trimEnd().split("\n");
      const list = JSON.parse(await readFile(join(folder, "features", "photos.json"), "utf8")) as Record<
        string,
        unknown
      >;
      expect(files).to.have.length(16).and.to.include("red/0.png");
      expect(list["files"]).to.deep.equal(files);
      expect(list["labels"]).to.have.length(16);
    });

    it("trains in parts of a batch and computes blocks again, and goes on so", async () => {
      const parts = join(folder, "parts");
      const memory = ["--accumulate", "2", "--recompute"];
      const first = await dino("train", "--data", photos, "--out", parts, ...tiny, ...memory, "--steps", "4");
      expect(first.code, first.stderr).to.equal(0);
      const config = parseConfig(await readFile(join(parts, "config.json"), "utf8"));
      expect(config).to.include({ accumulate: 2, recompute: true });
      const other = await dino("train", "--resume", "--out", parts, "--accumulate", "4");
      expect(other.stderr).to.include("--resume: the run has --accumulate 2, the command line 4");
      const more = await dino("train", "--resume", "--out", parts, "--steps", "6", "--recompute", "false");
      expect(more.code, more.stderr).to.equal(0);
      expect((await readLog(parts)).at(-1)).to.include({ step: 6 });
    });

    it("chooses what is left open by the images, says why, and keeps to it", async () => {
      const out = join(folder, "auto");
      const given = [...tiny, "--use-bn-in-head", "false", "--steps", "2"];
      const { code, stdout, stderr } = await dino(
        "train",
        "--data",
        photos,
        "--out",
        out,
        "--preset",
        "auto",
        ...given,
        "--json",
      );
      expect(code, stderr).to.equal(0);
      expect(stderr).to.include("--init-std 0.25: 1 / sqrt(16); 0.02 is made for 384 or more\n");
      const { choices } = JSON.parse(stdout) as { readonly choices: readonly { readonly settings: object }[] };
      expect(choices.map(({ settings }) => settings)).to.deep.include({ initStd: 0.25 });
      const chosen = choices.reduce((all, { settings }) => ({ ...all, ...settings }), {});
      const config = parseConfig(await readFile(join(out, "config.json"), "utf8"));
      expect(config).to.deep.include({ ...chosen, preset: "auto", dim: 16, batch: 4 });
      const more = await dino("train", "--resume", "--out", out, "--steps", "4", "--json");
      expect(more.code, more.stderr).to.equal(0);
      expect(more.stderr).to.not.include("--init-std");
      const { steps, ...kept } = parseConfig(await readFile(join(out, "config.json"), "utf8"));
      expect({ ...kept, steps: 2 }).to.deep.equal(config);
      expect(steps).to.equal(4);
    });

    it("resumes, longer, but with no other network", async () => {
      const other = await dino("train", "--resume", "--out", run, "--lr", "0.1");
      expect(other.stderr).to.include("--resume: the run has --lr 0.01, the command line 0.1");
      expect(other.code).to.equal(1);
      const { code, stderr } = await dino("train", "--resume", "--out", run, "--steps", "8");
      expect(code, stderr).to.equal(0);
      const steps = (await readLog(run)).map(({ step }) => step).filter((step) => step !== undefined);
      expect(steps.at(-1)).to.be.at.least(7);
      expect(steps).to.deep.equal([...steps].sort((a, b) => a - b));
    });
  });

  it("runs the demo over a former one", async () => {
    const out = join(folder, "demo");
    await mkdir(out);
    const former = ["config.json", "checkpoint.safetensors", "checkpoint0020.safetensors", "log.jsonl", "log.txt"];
    for (const name of [...former, "events.out.tfevents.1700000000.dino"]) {
      await writeFile(join(out, name), "from before");
    }
    const { code, stdout, stderr } = await dino("demo", "--quick", "--steps", "2", "--out", out, "--json");
    expect(code, stderr).to.equal(0);
    expect(stderr).to.include("npx dino train");
    expect(await readdir(out)).to.have.members([
      ...["config.json", "checkpoint.safetensors", "log.jsonl", "log.txt"],
      ...["summary.json", "neighbors.png", "map.png", "attention.png", ".lock"],
      ...["features.npy", "features.txt", "features.json"],
    ]);
    const summary = JSON.parse(await readFile(join(out, "summary.json"), "utf8")) as Record<string, unknown>;
    expect(JSON.parse(stdout)).to.deep.equal(summary);
    const pictures = ["neighbors", "map", "attention"];
    expect(summary).to.have.all.keys("knn", ...pictures, "checkpoint", "index", "seconds", "device");
    for (const name of [...pictures, "checkpoint", "index"]) expect(existsSync(summary[name] as string)).to.equal(true);
    for (const name of pictures)
      expect((await sharp(summary[name] as string).metadata()).width, name).to.be.within(1000, 2000);
    expect(stderr).to.match(/^time +about \d+ .+ in all/m);
    const places = pictures.map((name) => stderr.indexOf(`  ${summary[name] as string}   `));
    expect(places.every((place) => place >= 0)).to.equal(true);
    expect(places).to.deep.equal([...places].sort((a, b) => a - b));
    const { evaluations } = await readRunLog(join(out, "log.jsonl"));
    const { untrained, trained } = summary["knn"] as Record<string, number>;
    expect(summary["knn"]).to.have.all.keys("untrained", "trained", "pixels");
    expect(evaluations.at(0))
      .to.deep.include({ type: "evaluation", step: 0 })
      .and.to.have.nested.property("knn.top1", untrained);
    expect(evaluations.at(-1))
      .to.deep.include({ type: "epoch", step: 2 })
      .and.to.have.nested.property("knn.top1", trained);
  });
});

async function readLog(run: string): Promise<readonly { readonly step?: number; readonly loss?: number }[]> {
  const text = await readFile(join(run, "log.jsonl"), "utf8");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { step?: number; loss?: number });
}
