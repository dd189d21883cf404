/** Processes that are killed or asked to stop: a resumed run ends with the same bytes. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "chai";
import { rng } from "../../../dino/math/random.js";
import { runFiles } from "../../../dino/run/run-folder.js";
import { readCheckpoint, stepsDone } from "../../../dino/weights/checkpoint.js";
import { tiny } from "../../support/command-line.js";
import { compiledLauncher } from "../../support/compiled-program.js";
import { lossesOf } from "../../support/run-losses.js";
import { temporaryFolders } from "../../support/temporary-folders.js";

describe("faults of processes", () => {
  const folder = temporaryFolders("dino-processes");

  /** Runs `dino train` in a folder, with an --out that has to be quoted on command lines. */
  function start(cwd: string, ...flags: readonly string[]): ChildProcess & { readonly said: () => string } {
    const words = [compiledLauncher(), "train", "--out", "my run", ...flags];
    const child = spawn(process.execPath, words, { cwd, stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
    return Object.assign(child, { said: () => said });
  }

  const steps = 64;
  const flags = [
    ...[...tiny, "--data", "builtin", "--steps", String(steps), "--checkpoint-every", "1", "--hidden-dim", "512"],
    ...["--log-every", "4"],
  ];
  const checkpointIn = (cwd: string) => runFiles(join(cwd, "my run")).checkpoint;

  async function stepIn(cwd: string): Promise<number> {
    return existsSync(checkpointIn(cwd)) ? stepsDone(checkpointIn(cwd)) : 0;
  }

  async function reach(step: number, cwd: string, child: ReturnType<typeof start>): Promise<void> {
    while ((await stepIn(cwd)) < step) {
      if (child.exitCode !== null) throw new Error(`ended before step ${step}: ${child.said()}`);
      await sleep(5);
    }
  }

  let expected: Buffer;
  let undisturbed: string;
  before(async function () {
    this.timeout(120_000);
    undisturbed = await folder();
    const child = start(undisturbed, ...flags);
    const [code] = (await once(child, "exit")) as [number];
    expect(code, child.said()).to.equal(0);
    expected = await readFile(checkpointIn(undisturbed));
  });

  it("gives the same file when killed at two random instants", async () => {
    await killed(2, 6);
  }).timeout(180_000);

  it("gives the same file when killed at 20 random instants @long", async () => {
    const left = await Promise.all([killed(10, 7), killed(10, 8)]); // two at a time: most of it is starting on one core
    if (process.env["DEBUG"]) process.stderr.write(`killed while writing a checkpoint: ${left.join(" and ")} of 10\n`);
  }).timeout(600_000);

  /** Kills a run so many times, and sees what comes of it; returns how often it was writing a checkpoint. */
  async function killed(kills: number, seed: number): Promise<number> {
    const cwd = await folder();
    const random = rng({ seed, purpose: "instants" });
    const leftovers = async () => (await readdir(join(cwd, "my run"))).filter((name) => name.endsWith(".tmp"));
    let left = 0;
    for (let kill = 0; kill < kills; kill++) {
      const child = start(cwd, ...(kill === 0 ? flags : ["--resume"]));
      await reach((await stepIn(cwd)) + 1 + random.integer(3), cwd, child);
      await sleep(100 * random.uniform());
      child.kill("SIGKILL");
      await once(child, "close");
      if ((await leftovers()).length > 0) left++;
      if ((await stepIn(cwd)) === steps) throw new Error(`the run was over after ${kill + 1} kills`);
    }
    const child = start(cwd, "--resume");
    const [code] = (await once(child, "exit")) as [number];
    expect(code, child.said()).to.equal(0);
    expect((await readFile(checkpointIn(cwd))).equals(expected)).to.equal(true);
    expect(await lossesOf(join(cwd, "my run"))).to.deep.equal(await lossesOf(join(undisturbed, "my run")));
    expect(await leftovers()).to.deep.equal([]);
    return left;
  }

  it("ends in order at the first Ctrl-C or SIGTERM, says how to go on, and goes on to the same file", async () => {
    const cwd = await folder();
    for (const [signal, code] of [
      ["SIGINT", 130],
      ["SIGTERM", 143],
    ] as const) {
      const child = start(cwd, ...(signal === "SIGINT" ? flags : ["--resume"]));
      await reach((await stepIn(cwd)) + 3, cwd, child);
      child.kill(signal);
      expect((await once(child, "close"))[0]).to.equal(code);
      expect(child.said()).to.contain(`${signal}: ending after this step, with a checkpoint; once more ends at once`);
      const step = await stepIn(cwd);
      expect(child.said()).to.match(
        new RegExp(
          `dino: ${signal}: stopped after step ${step} of ${steps}, which my run/.+ --out 'my run' --resume goes on`,
        ),
      );
    }
    const child = start(cwd, "--resume");
    expect((await once(child, "close"))[0], child.said()).to.equal(0);
    expect((await readFile(checkpointIn(cwd))).equals(expected)).to.equal(true);
  }).timeout(180_000);

  it("gives the same file whatever the number of threads", async () => {
    const cwd = await folder();
    const child = start(cwd, ...flags, "--threads", "2");
    expect((await once(child, "close"))[0], child.said()).to.equal(0);
    const { config, ...two } = await readCheckpoint(checkpointIn(cwd));
    expect({ ...two, config: { ...config, threads: 1 } }).to.deep.equal(
      await readCheckpoint(checkpointIn(undisturbed)),
    );
  }).timeout(120_000);
});
