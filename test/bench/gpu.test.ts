import { execFile } from "node:child_process";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { expect } from "chai";
import { type Facts, root } from "../../bench/gpu/facts.js";
import { type GpuResults, report, sharesOf } from "../../bench/gpu/report.js";
import { runStages } from "../../bench/gpu/run-stages.js";
import { besideTorch, cardOf, shareOf, sharesTable } from "../../bench/gpu/shares.js";
import { parseTap, planStage, type Stage, type StageResult } from "../../bench/gpu/stage.js";
import { names, stagesFor } from "../../bench/gpu/stages.js";
import { temporaryFolders } from "../support/temporary-folders.js";

/** A stage that runs a program in this Node. */
function stage(name: string, program: string, changes: Partial<Stage> = {}): Stage {
  const command = [process.execPath, "--eval", program] as const;
  return { name, command, expectedS: 0, limitS: 30, output: "json", ...changes };
}

async function run(stages: readonly Stage[], changes: { totalS?: number; stop?: AbortSignal } = {}) {
  const lines: string[] = [];
  const counts: number[] = [];
  const results = await runStages(stages, {
    cwd: root,
    totalS: 60,
    ...changes,
    print: (line) => lines.push(line),
    onResult: (all) => {
      counts.push(all.length);
      return Promise.resolve();
    },
  });
  return { results, lines, counts };
}

describe("bench:gpu", () => {
  const folder = temporaryFolders("bench-gpu");

  describe("plans a stage", () => {
    const planned = stage("", "", { expectedS: 20, limitS: 100 });
    it("for its limit, or what is left of the whole time", () => {
      expect(planStage(planned, 300)).to.deep.equal({ limitS: 100 });
      expect(planStage(planned, 60)).to.deep.equal({ limitS: 60 });
    });
    it("or leaves it out where it no longer fits, or cannot run", () => {
      expect(planStage(planned, 19.9)).to.deep.equal({ skip: "takes about 20 s, and 19 s are left" });
      expect(planStage(planned, -3)).to.deep.equal({ skip: "takes about 20 s, and 0 s are left" });
      expect(planStage({ ...planned, obstacle: "no f16" }, 300)).to.deep.equal({ skip: "no f16" });
    });
  });

  describe("runs stages", () => {
    it("and goes on after one that fails, crashes or does not start", async () => {
      const { results, counts } = await run([
        stage("good", "console.log(JSON.stringify({ a: 1 }))"),
        stage("throws", "console.log('1'); console.error('what was wrong'); process.exitCode = 3"),
        stage("crashes", "process.kill(process.pid, 'SIGSEGV')"),
        stage("missing", "", { command: ["/no/such/program"] }),
        stage("mute", ""),
        stage("last", "console.log(2)"),
      ]);
      expect(results.map(({ name, outcome, note }) => [name, outcome, note])).to.deep.equal([
        ["good", "passed", undefined],
        ["throws", "failed", "exit status 3: what was wrong"],
        ["crashes", "failed", "ended by SIGSEGV"],
        ["missing", "failed", "spawn /no/such/program ENOENT"],
        ["mute", "failed", "printed no JSON"],
        ["last", "passed", undefined],
      ]);
      expect(results.map(({ found }) => found)).to.deep.equal([{ a: 1 }, 1, undefined, undefined, undefined, 2]);
      expect(results[1]!.stderr).to.equal("what was wrong\n");
      expect(counts).to.deep.equal([1, 2, 3, 4, 5, 6]);
    });

    it("and kills one that hangs, with what it started, and keeps what it printed", async () => {
      const beats = join(await folder(), "beats");
      const hanging = `(while :; do printf . >>'${beats}'; sleep 0.02; done) & echo 1; trap "" TERM; wait`; // sh starts at once
      const { results, lines } = await run([
        stage("hangs", "", { command: ["sh", "-c", hanging], limitS: 3, output: "lines" }),
        stage("next", "console.log(1)"),
      ]);
      const [hung, next] = results;
      expect(hung).to.deep.include({ outcome: "failed", note: "killed after 3 s", found: [1] });
      expect(hung!.seconds).to.be.within(3, 8);
      const beaten = (await stat(beats)).size;
      await sleep(500);
      expect((await stat(beats)).size)
        .to.equal(beaten)
        .and.above(0);
      expect(next!.outcome).to.equal("passed");
      expect(lines[0]).to.match(/hangs: about 0 s on a fast GPU, 3 s at most$/);
    });

    it("and skips those for which no time is left", async () => {
      const { results } = await run(
        [stage("first", "console.log(1)"), stage("long", "console.log(1)", { expectedS: 50 })],
        { totalS: 40 },
      );
      expect(results.map(({ outcome }) => outcome)).to.deep.equal(["passed", "skipped"]);
      expect(results[1]!.note).to.match(/^takes about 50 s, and 3\d s are left$/);
    });

    it("and ends at an interruption, with the stage that runs", async () => {
      const stop = new AbortController();
      setTimeout(() => stop.abort(), 500);
      const { results } = await run([stage("runs", "setInterval(() => {}, 1000)"), stage("next", "")], {
        stop: stop.signal,
      });
      expect(results.map(({ outcome, note }) => [outcome, note])).to.deep.equal([
        ["failed", "interrupted"],
        ["skipped", "interrupted"],
      ]);
    });

    it("and judges tests by their results", async () => {
      const tap = (lines: string, exit: number) =>
        stage("tests", `console.log(${JSON.stringify(lines)}); process.exitCode = ${exit}`, { output: "tap" });
      const { results } = await run([
        tap("ok 1 a\nok 2 b # SKIP -", 0),
        tap("ok 1 a # SKIP -", 0),
        tap("ok 1 a\nnot ok 2 b\n  no\n", 1),
        tap("1..0", 0),
      ]);
      expect(results.map(({ outcome, note }) => [outcome, note])).to.deep.equal([
        ["passed", "1 passed, 0 failed, 1 skipped"],
        ["skipped", "0 passed, 0 failed, 1 skipped"],
        ["failed", "1 passed, 1 failed, 0 skipped"],
        ["failed", "no test ran"],
      ]);
    });
  });

  it("reads the results of tests, also of those that were killed", async () => {
    const spec = join(await folder(), "spec.cjs");
    const program =
      "it('a', () => {}); it('b', () => { throw new Error('1 against 2'); }); it('c', function () { this.skip(); });";
    await writeFile(spec, program);
    const mocha = join(root, "node_modules/mocha/bin/mocha.js");
    const options = ["--no-config", "--reporter", "tap", spec];
    const text = await promisify(execFile)(process.execPath, [mocha, ...options]).then(
      ({ stdout }) => stdout,
      (error: unknown) => (error as { readonly stdout: string }).stdout,
    );
    const { passed, skipped, failures } = parseTap(text);
    expect([passed, skipped, failures.length]).to.deep.equal([1, 1, 1]);
    expect(failures[0]!.title).to.equal("b");
    expect(failures[0]!.message).to.match(/^1 against 2\n/);
    expect(parseTap(text.slice(0, text.indexOf("not ok"))).failures).to.deep.equal([]);
  });

  describe("chooses stages", () => {
    const adapter = { kind: "gpu", f16: true, subgroupMatrices: ["f16 16x16x16 -> f32"], faults: [] };
    const packages = { torch: "2.0", torchvision: "0.15" };
    const facts = (changes: { adapter?: object; python?: object } = {}): Facts =>
      ({
        adapter: { ...adapter, ...changes.adapter },
        python: { packages, cuda: "H200", ...changes.python },
      }) as unknown as Facts;
    const options = { quick: false, work: "/w", official: "/o", cifar: "/c" };
    const obstacles = (...given: Parameters<typeof stagesFor>) =>
      Object.fromEntries(
        stagesFor(...given).flatMap(({ name, obstacle }) => (obstacle === undefined ? [] : [[name, obstacle]])),
      );

    it("that all run where everything is there", () => {
      const stages = stagesFor(facts(), options);
      expect(stages.map(({ name }) => name)).to.have.members(Object.values(names));
      expect(obstacles(facts(), options)).to.deep.equal({});
      expect(stages.every(({ expectedS, limitS }) => expectedS <= limitS)).to.equal(true);
      const expectedS = stages.reduce((total, each) => total + each.expectedS, 0);
      expect(expectedS).to.be.at.most(8 * 60);
    });

    it("and says what the others lack", () => {
      const plain = facts({ adapter: { f16: false, subgroupMatrices: [], faults: ["f16 is wrong"] } });
      expect(obstacles(plain, { quick: false, work: "/w" })).to.deep.equal({
        [names.f16]: "the adapter has no shader-f16",
        [names.matrices]: "the adapter has no products of f16 matrices by subgroups; f16 is wrong",
        [names.stepF16]: "the adapter has no shader-f16",
        [names.official]: "--official names no folder with the official code",
        [names.cifar]: "--cifar names no folder of CIFAR-10",
      });
      const cpu = obstacles(facts({ python: { cuda: null } }), options);
      expect(cpu).to.have.all.keys(names.torchF16, names.torchBf16, names.compiled);
      const without = obstacles({ ...facts(), python: { error: "python3 does not run" } }, options);
      expect(without).to.have.all.keys(
        ...[names.torchF16, names.torchF32, names.torchBf16, names.compiled, names.official, names.exports],
      );
      expect(new Set(Object.values(without))).to.deep.equal(new Set(["python3 does not run"]));
    });
  });

  const measured = { name: "matmul 4096", shape: "", medianMs: 2, minMs: 2, repeats: 3, spread: 0 };

  describe("computes shares of the peak", () => {
    const card = cardOf("NVIDIA H200, NVIDIA: 580.1")!;

    it("of the card that the adapter names, if it is known", () => {
      expect(card.name).to.equal("H200");
      expect(cardOf("llvmpipe")).to.equal(undefined);
    });

    it("by precision, of memory and of copies", () => {
      const peaks = { card, copyGbPerS: 4000 };
      expect(shareOf({ ...measured, gflopPerS: 6700, gbPerS: 480 }, false, peaks)).to.deep.equal({
        ...{ name: "matmul 4096", ms: 2, tflops: 6.7, ofProducts: 0.1, gbPerS: 480, ofMemory: 0.1, ofCopies: 0.12 },
      });
      expect(shareOf({ ...measured, gflopPerS: 98900 }, true, peaks).ofProducts).to.be.closeTo(0.1, 1e-12);
      const unknown = shareOf({ ...measured, gflopPerS: 1, gbPerS: 1 }, false, {
        card: undefined,
        copyGbPerS: undefined,
      });
      expect(unknown).to.have.all.keys("name", "ms", "tflops", "gbPerS");
    });

    it("beside PyTorch in the same precision, and in bf16", () => {
      const share = { name: "matmul qkv, f16", ms: 2 };
      const torch = ["matmul qkv", "matmul qkv, f16", "matmul qkv, bf16"].map((name, i) => ({
        ...{ name, medianMs: i + 4, minMs: 1 },
      }));
      expect(besideTorch(share, torch)).to.deep.equal({ ...share, torchMs: 5, bf16Ms: 6 });
      expect(besideTorch({ ...share, name: "matmul qkv" }, torch)).to.deep.equal({
        ...{ name: "matmul qkv", ms: 2, torchMs: 4 },
      });
    });

    it("and prints them as a table", () => {
      const [, , row] = sharesTable([{ name: "a", ms: 2, tflops: 6.7, ofProducts: 0.1, torchMs: 3 }]).split("\n");
      expect(row).to.equal("| a | 2.00 | 6.70 | 10 % |  |  |  | 3.00 | 1.50 |  |");
    });
  });

  it("reports what was found, and what failed", () => {
    const done = (name: string, found: unknown, changes: Partial<StageResult> = {}): StageResult => ({
      ...{ name, outcome: "passed", seconds: 1, found, ...changes },
    });
    const failures = [{ title: "in f16 gelu", message: "forward: 1 against 2\nat" }];
    const results: GpuResults = {
      device: "NVIDIA H200, 580.1",
      commit: "abc",
      date: "2026-01-01",
      quick: false,
      diagnosis: { machine: { node: "20", webgpu: "0.6", system: "Linux", processor: "16 x EPYC" } } as never,
      python: {},
      stages: [
        done(names.f16, { passed: 3, skipped: 0, failures }, { outcome: "failed", note: "3 passed, 1 failed" }),
        done(names.rows, [
          { kind: "copy", gbPerS: 4000, bytes: 1 },
          { kind: "row", row: { ...measured, gflopPerS: 6700 }, half: false },
          { kind: "failure", name: "softmax", message: "softmax: wrong result" },
        ]),
        done(names.stepF16, { rows: [{ name: "training step", medianMs: 50, shape: "64 images" }] }),
        done(names.torchF16, { rows: [{ name: "training step", medianMs: 40 }] }),
        done(names.cifar, undefined, { outcome: "failed", note: "killed after 100 s" }),
        done(names.exports, [{ library: "timm", version: "1.0", error: "KeyError: 'x'" }]),
      ],
    };
    const text = report(results);
    for (const words of [
      ...["# NVIDIA H200, 580.1", "Commit abc", "| operations in f16 | **failed** | 1.0 | 3 passed, 1 failed |"],
      ...["- operations in f16: in f16 gelu: forward: 1 against 2\n", "- softmax: softmax: wrong result"],
      ...["Copies reach 4000 GB/s.", "| matmul 4096 | 2.00 | 6.70 | 10 % |"],
      ...["| step in f16 | 50.0 | 1.00 | 64 images |", "| PyTorch with AMP in f16 | 40.0 | 0.80 |  |"],
      ...["| CIFAR-10 | **failed** | 1.0 | killed after 100 s |", "| timm | 1.0 | **KeyError: 'x'** |"],
    ])
      expect(text).to.include(words);
    expect(text).not.to.include("rehearsal");
    expect(sharesOf(results).copyGbPerS).to.equal(4000);
  });

  describe("refuses", () => {
    async function refusal(words: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<string> {
      const command = ["--import", "tsx", "bench/gpu/command.ts", ...words];
      const env = { ...process.env, ...environment };
      const error = await promisify(execFile)(process.execPath, command, { cwd: root, env }).then(
        () => undefined,
        (failure: unknown) => failure as { readonly stderr: string; readonly code: number },
      );
      expect(error?.code).to.equal(1);
      return error!.stderr.trim();
    }

    it("an unknown flag, and minutes that are none", async () => {
      expect(await refusal(["--fast"])).to.equal("error: unknown option '--fast'");
      expect(await refusal(["--minutes", "0"])).to.include("expected a number above 0");
    });

    it("a folder that it cannot write to, and one that is not there", async () => {
      const file = join(root, "package.json");
      expect(await refusal(["--out", join(file, "results")])).to.match(
        /^bench:gpu: --out .*package\.json\/results: cannot be written to: ENOTDIR/,
      );
      const out = await folder();
      expect(await refusal(["--out", out, "--cifar", "/no/images"])).to.equal(
        "bench:gpu: --cifar /no/images: there is no such folder",
      );
    });

    it("a machine without a GPU, and a software adapter unless it is asked for", async () => {
      const out = await folder();
      expect(await refusal(["--out", out], { DINO_ADAPTER: "gpu", VK_DRIVER_FILES: "/no/driver.json" })).to.match(
        /^bench:gpu: no adapter: /,
      );
      expect(await refusal(["--out", out], { DINO_ADAPTER: "swiftshader", VK_DRIVER_FILES: "" })).to.match(
        /^bench:gpu: the only adapter is swiftshader, a software one: .*; --quick rehearses on it, --software measures it$/,
      );
      expect(await readdir(out)).to.deep.equal([]);
    });

    it("an adapter that does not answer", async () => {
      const out = await folder();
      expect(await refusal(["--quick", "--minutes", "0.005", "--out", out], { PYTHON: "false" })).to.equal(
        "bench:gpu: dino doctor: no answer for 0.3 s",
      );
    });

    it("a choice of no stage", async () => {
      const out = await folder();
      expect(await refusal(["--quick", "--out", out, "--only", "nothing"], { PYTHON: "false" })).to.match(
        /^bench:gpu: --only nothing leaves no stage of: operations in f32, /,
      );
    });
  });

  it("measures a chosen stage, and writes values and a report", async () => {
    const out = await folder();
    const words = ["--quick", "--out", out, "--only", names.f32, "--minutes", "3"];
    const env = { ...process.env, PYTHON: "false", BENCH_COMMIT: "carried" };
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ["--import", "tsx", "bench/gpu/command.ts", ...words],
      { cwd: root, env },
    );
    expect(stdout).to.include("1 of 1 stages can run here, about 0.3 minutes on a fast GPU");
    expect(stdout).to.match(/operations in f32: passed after \S+ s, \d+ passed, 0 failed, 0 skipped/);
    const files = await readdir(out);
    expect(files.map((name) => name.replace(/^gpu-quick-.*\./, "*."))).to.have.members(["*.json", "*.md"]);
    const json = files.find((name) => name.endsWith(".json"))!;
    const results = JSON.parse(await readFile(join(out, json), "utf8")) as GpuResults;
    expect(results).to.include({ commit: "carried", quick: true });
    expect(results.stages.map(({ name, outcome }) => [name, outcome])).to.deep.equal([[names.f32, "passed"]]);
  });
});
