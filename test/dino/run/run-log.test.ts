import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import fc from "fast-check";
import { resolveConfig } from "../../../dino/config/resolve.js";
import { openSplits } from "../../../dino/images/sources/open-splits.js";
import { type EpochLine, type EvaluationLine, type LogLine, readLog, type StepLine } from "../../../dino/run/log.js";
import { removeRun } from "../../../dino/run/run-folder.js";
import { openLog } from "../../../dino/run/run-log.js";
import { train } from "../../../dino/training/train.js";
import { tinySettings } from "../../support/command-line.js";
import { testDevice } from "../../support/device.js";
import { floatOf, integerOf, messages, readMessage, textOf } from "../../support/protobuf-reader.js";

/** CRC-32C bit by bit, as RFC 3720 defines it. */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    for (let bit = 0; bit < 8; bit++) {
      const isOdd = ((crc ^ (byte >> bit)) & 1) === 1;
      crc = (crc >>> 1) ^ (isOdd ? 0x82f63b78 : 0);
    }
  }
  return (crc ^ 0xffffffff) >>> 0;
}

/** What TensorFlow makes of it, in arithmetic instead of bits. */
function masked(crc: number): number {
  const rotated = Math.floor(crc / 2 ** 15) + (crc % 2 ** 15) * 2 ** 17;
  return (rotated + 0xa282ead8) % 2 ** 32;
}

interface Event {
  readonly wallTime: number;
  readonly step: number;
  readonly version: string | undefined;
  readonly isStart: boolean;
  readonly values: Readonly<Record<string, number>>;
}

/** Reads an event file. Throws where it ends within a record, and where a checksum is wrong. */
function readEvents(bytes: Buffer): readonly Event[] {
  const events: Event[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = Number(bytes.readBigUInt64LE(at));
    expect(bytes.readUInt32LE(at + 8)).to.equal(masked(crc32c(bytes.subarray(at, at + 8))));
    const content = bytes.subarray(at + 12, at + 12 + length);
    expect(bytes.readUInt32LE(at + 12 + length)).to.equal(masked(crc32c(content)));
    at += 16 + length;
    const event = readMessage(content);
    const values = messages(event, 5).flatMap((summary) => messages(summary, 1));
    events.push({
      wallTime: floatOf(event, 1)!,
      step: integerOf(event, 2) ?? 0,
      version: textOf(event, 3),
      isStart: messages(event, 7).some((session) => integerOf(session, 1) === 1),
      values: Object.fromEntries(values.map((value) => [textOf(value, 1)!, floatOf(value, 2)!])),
    });
  }
  return events;
}

const isEvents = (name: string) => name.includes("tfevents");

/** The events of a folder, which has to hold one file of them. */
async function eventsIn(folder: string): Promise<readonly Event[]> {
  const names = (await readdir(folder)).filter(isEvents);
  expect(names).to.have.length(1);
  return readEvents(await readFile(join(folder, names[0]!)));
}

/** The lines of a run of so many steps, with a line every `every` steps and an epoch every five. */
function linesOf(steps: number, every: number): readonly LogLine[] {
  return Array.from({ length: steps }, (_, i) => i + 1).flatMap((step): LogLine[] => {
    const epoch = Math.floor((step - 1) / 5);
    const means = { loss: 5 / step, lr: step / 1000, weightDecay: 0.04 + step / 100 };
    const line = { step, epoch, ...means, teacherEntropy: 1, gradientNorm: step === 3 ? Infinity : step } as StepLine;
    const ends = step % 5 === 0 || step === steps;
    const knn = { k: 20, top1: step, top5: 2 * step };
    return [
      ...(step % every === 0 ? [line] : []),
      ...(ends ? [{ type: "epoch", step, epoch, ...means, ...(epoch === 1 && { knn }) } satisfies EpochLine] : []),
      ...(step === 7 ? [{ type: "evaluation", step, epoch, knn } satisfies EvaluationLine] : []),
    ];
  });
}

describe("the logs of a run", () => {
  let folder: string;
  beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), "dino-log-"))));
  afterEach(() => rm(folder, { recursive: true }));

  const open = (step: number, tensorboard = true) => openLog({ out: folder, tensorboard }, step);

  it("check sums as RFC 3720 has them", () => {
    expect(crc32c(new TextEncoder().encode("123456789"))).to.equal(0xe3069283);
  });

  it("are those of a run that was never stopped, wherever it was stopped and went on", async () => {
    const logged = async () => ({
      whole: await readFile(join(folder, "log.jsonl"), "utf8"),
      official: await readFile(join(folder, "log.txt"), "utf8"),
      events: (await eventsIn(folder)).map((event) => ({ ...event, wallTime: "any" })),
    });
    const run = fc.record({ steps: fc.integer({ min: 1, max: 17 }), every: fc.integer({ min: 1, max: 4 }) });
    await fc.assert(
      fc.asyncProperty(run, fc.nat(17), fc.nat(17), fc.boolean(), async ({ steps, every }, one, other, before) => {
        const lines = linesOf(steps, every);
        const whole = await open(0);
        for (const line of lines) await whole(line);
        const expected = await logged();
        await removeRun(folder);

        const [saved, killed] = [Math.min(one, other), Math.max(one, other)];
        const first = await open(0, before);
        for (const line of lines) if (line.step <= killed) await first(line);
        const second = await open(saved);
        for (const line of lines) if (line.step > saved) await second(line);
        expect(await logged()).to.deep.equal(expected);
      }),
      { numRuns: 30 },
    );
  });

  it("give TensorBoard every number of log.jsonl that is one, with the time", async () => {
    const log = await open(0);
    const beganMs = Date.now();
    for (const line of linesOf(12, 3)) await log(line);
    const [version, start, ...events] = await eventsIn(folder);
    expect(version).to.include({ version: "brain.Event:2", step: 0 });
    expect(start).to.include({ isStart: true, step: 0 });
    for (const { wallTime } of events) expect(1000 * wallTime).to.be.within(beganMs, Date.now());
    expect(events.map(({ step }) => step)).to.deep.equal([3, 5, 6, 7, 9, 10, 12, 12]);
    expect(events[0]!.values).to.deep.equal({
      "train/epoch": 0,
      "train/loss": Math.fround(5 / 3),
      "train/teacherEntropy": 1,
      "train/lr": Math.fround(0.003),
      "train/weightDecay": Math.fround(0.07),
    });
    expect(events[3]!.values).to.deep.equal({ "knn/top1": 7, "knn/top5": 14 });
    expect(events[5]!.values).to.deep.equal({ "epoch/loss": 0.5, "knn/top1": 10, "knn/top5": 20 });
  });

  it("keep to themselves: other files stay when a run is removed", async () => {
    const log = await open(0);
    for (const line of linesOf(5, 1)) await log(line);
    const others = ["events.out.tfevents.1700000000.host", "notes.txt"];
    for (const name of others) await writeFile(join(folder, name), "mine");
    await removeRun(folder);
    expect(await readdir(folder)).to.have.members(others);
  });

  it("have the means of an epoch, also of one that was ended, and went on with more steps", async () => {
    const all = await openSplits("builtin", { heldOut: 0, seed: 0 });
    const parts = { ...all, train: { ...all.train, indices: all.train.indices.slice(0, 20) } };
    const run = async (steps: number, resume: boolean) =>
      train({
        device: await testDevice(),
        config: resolveConfig({
          ...tinySettings,
          localCropsNumber: 0,
          out: folder,
          data: "builtin",
          batch: 4,
          warmupEpochs: 0,
          steps,
          logEvery: 1,
          threads: 1,
          tensorboard: true,
        }),
        splits: parts,
        explicit: new Set<never>(),
        resume,
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
    const events = (await eventsIn(folder)).filter(({ values }) => "train/loss" in values);
    expect(events.map(({ step }) => step)).to.deep.equal(Array.from({ length: 10 }, (_, i) => i + 1));
    expect(events.map(({ values }) => values["train/loss"])).to.deep.equal(steps.map(({ loss }) => Math.fround(loss)));
  });
});
