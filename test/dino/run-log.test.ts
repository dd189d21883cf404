import { expect } from "chai";
import fc from "fast-check";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { resolveConfig } from "../../dino/config.js";
import { openParts } from "../../dino/evaluate.js";
import { type EpochLine, type LogLine, readLog, type StepLine } from "../../dino/log.js";
import { removeRun } from "../../dino/run-folder.js";
import { openLog } from "../../dino/run-log.js";
import { train } from "../../dino/train.js";
import { testDevice } from "../device.js";
import { tinySettings } from "./command-line.js";

/** The lines of a run of so many steps, with a line every `every` steps and an epoch every five. */
function linesOf(steps: number, every: number): readonly LogLine[] {
  return Array.from({ length: steps }, (_, i) => i + 1).flatMap((step): LogLine[] => {
    const epoch = Math.floor((step - 1) / 5);
    const means = { loss: 5 / step, lr: step / 1000, weightDecay: 0.04 + step / 100 };
    const line = { step, epoch, ...means, gradientNorm: step === 3 ? Infinity : step } as StepLine;
    const ends = step % 5 === 0 || step === steps;
    const knn = { k: 20, top1: step, top5: 2 * step };
    return [
      ...(step % every === 0 ? [line] : []),
      ...(ends ? [{ type: "epoch", step, epoch, ...means, ...(epoch === 1 && { knn }) } satisfies EpochLine] : []),
    ];
  });
}

describe("the logs of a run", () => {
  let folder: string;
  beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), "dino-log-"))));
  afterEach(() => rm(folder, { recursive: true }));

  const open = (step: number) => openLog({ out: folder }, step);

  it("are those of a run that was never stopped, wherever it was stopped and went on", async () => {
    const logged = async () => ({
      whole: await readFile(join(folder, "log.jsonl"), "utf8"),
      official: await readFile(join(folder, "log.txt"), "utf8"),
    });
    const run = fc.record({ steps: fc.integer({ min: 1, max: 17 }), every: fc.integer({ min: 1, max: 4 }) });
    await fc.assert(
      fc.asyncProperty(run, fc.nat(17), fc.nat(17), async ({ steps, every }, one, other) => {
        const lines = linesOf(steps, every);
        const whole = await open(0);
        for (const line of lines) await whole(line);
        const expected = await logged();
        await removeRun(folder);

        const [saved, killed] = [Math.min(one, other), Math.max(one, other)];
        const first = await open(0);
        for (const line of lines) if (line.step <= killed) await first(line);
        const second = await open(saved);
        for (const line of lines) if (line.step > saved) await second(line);
        expect(await logged()).to.deep.equal(expected);
      }),
      { numRuns: 30 },
    );
  });

  it("keep to themselves: other files stay when a run is removed", async () => {
    const log = await open(0);
    for (const line of linesOf(5, 1)) await log(line);
    const others = ["log.csv", "notes.txt"];
    for (const name of others) await writeFile(join(folder, name), "mine");
    await removeRun(folder);
    expect(await readdir(folder)).to.have.members(others);
  });

  it("have the means of an epoch, also of one that was ended, and went on with more steps", async () => {
    const all = await openParts("builtin", { heldOut: 0, seed: 0 });
    const parts = { ...all, train: { ...all.train, indices: all.train.indices.slice(0, 20) } };
    const run = async (steps: number, resume: boolean) =>
      train({
        device: await testDevice(),
        config: resolveConfig({
          ...{ ...tinySettings, localCropsNumber: 0, out: folder, data: "builtin", batch: 4, warmupEpochs: 0 },
          ...{ steps, logEvery: 1, threads: 1 },
        }),
        ...{ parts, given: new Set<never>(), resume },
      });
    await run(8, false);
    const { steps: before } = await readLog(join(folder, "log.jsonl"));
    await run(10, true);
    const { steps } = await readLog(join(folder, "log.jsonl"));
    const text = await readFile(join(folder, "log.txt"), "utf8");
    const lines = text.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line) as Record<string, number>]));
    expect(lines.map(({ epoch }) => epoch)).to.deep.equal([0, 1]);
    const means = (own: readonly StepLine[], name: "loss" | "lr" | "weightDecay") =>
      own.reduce((sum, line) => sum + line[name], 0) / own.length;
    const [first, second] = [before.slice(0, 5), steps.slice(5)];
    expect(lines[0]!["train_loss"]).to.be.closeTo(means(first, "loss"), 1e-9);
    expect(lines[0]!["train_lr"]).to.be.closeTo(means(first, "lr"), 1e-12);
    expect(lines[0]!["train_wd"]).to.be.closeTo(means(first, "weightDecay"), 1e-12);
    expect(Object.keys(lines[0]!)).to.deep.equal(["train_loss", "train_lr", "train_wd", "epoch"]);
    expect(lines[1]!["train_loss"]).to.be.closeTo(means(second, "loss"), 1e-9);
  });
});
