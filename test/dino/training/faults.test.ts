/** Runs that are stopped, damaged, crowded out, or lose their device: nothing is lost, and the bytes come out the same. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { appendFile, copyFile, open, rm, stat, truncate, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { expect } from "chai";
import fc from "fast-check";
import { resolveConfig } from "../../../dino/config/resolve.js";
import type { PartialConfig } from "../../../dino/config/settings.js";
import { openSplits } from "../../../dino/images/sources/open-splits.js";
import type { Splits } from "../../../dino/images/split.js";
import { readLog } from "../../../dino/run/log.js";
import { expectWritable, lockRunFolder, runFiles } from "../../../dino/run/run-folder.js";
import { adviseOnMemory, planMemory } from "../../../dino/training/memory-advice.js";
import { trainWithProgress } from "../../../dino/training/supervised.js";
import { train } from "../../../dino/training/train.js";
import { readCheckpoint, stepsDone } from "../../../dino/weights/checkpoint.js";
import { openDevice } from "../../../engine/adapters/node.js";
import { download, input, type Device } from "../../../engine/index.js";
import { withMethods } from "../../support/changed-device.js";
import { tinySettings, writeTinyCheckpoint } from "../../support/command-line.js";
import { compiledModule } from "../../support/compiled-program.js";
import { testDevice } from "../../support/device.js";
import { rejection } from "../../support/rejection.js";
import { lossesOf } from "../../support/run-losses.js";
import { temporaryFolders } from "../../support/temporary-folders.js";

const settings = {
  ...tinySettings,
  preset: "shapes",
  batch: 8,
  steps: 8,
  warmupEpochs: 0,
  localCropsNumber: 2,
  threads: 1,
  logEvery: 2,
  checkpointEvery: 2,
} as const satisfies PartialConfig;

describe("faults", () => {
  let splits: Splits;
  let wholeRun: string;
  const folder = temporaryFolders("dino-faults");

  before(async () => {
    const all = await openSplits("builtin", { heldOut: 0, seed: 0 });
    splits = { ...all, train: { ...all.train, indices: all.train.indices.slice(0, 40) } };
    wholeRun = await folder();
    await run(wholeRun);
  });

  interface Options {
    readonly resume?: boolean;
    readonly stopAt?: number;
    readonly changes?: PartialConfig;
    readonly device?: Device;
    readonly warnings?: string[];
  }

  async function run(out: string, options: Options = {}) {
    const { resume = false, stopAt, changes = {}, device, warnings = [] } = options;
    const stop = new AbortController();
    return train({
      device: device ?? (await testDevice()),
      splits,
      resume,
      explicit: new Set(),
      stop: stop.signal,
      config: resolveConfig({ ...settings, out, ...changes }),
      onProgress: ({ step }) => {
        if (step === stopAt) stop.abort();
      },
      onWarning: (words) => warnings.push(words),
    });
  }

  /** What a checkpoint holds beside the name of its folder. */
  async function expectSameState(out: string, other = wholeRun): Promise<void> {
    const [found, expected] = await Promise.all(
      [out, other].map(async (of) => {
        const { config, ...rest } = await readCheckpoint(runFiles(of).checkpoint);
        return { ...rest, config: { ...config, out: "" }, log: await lossesOf(of) };
      }),
    );
    expect(found).to.deep.equal(expected);
  }

  describe("of files", () => {
    it("knows a checkpoint of which any byte was changed", async () => {
      const path = join(await folder(), "checkpoint.safetensors");
      await writeTinyCheckpoint(path);
      const { size } = await stat(path);
      await readCheckpoint(path);
      await fc.assert(
        fc.asyncProperty(fc.nat(size - 1), fc.integer({ min: 1, max: 255 }), async (place, change) => {
          const file = await open(path, "r+");
          const byte = Buffer.alloc(1);
          await file.read(byte, 0, 1, place);
          const flip = async (): Promise<unknown> => file.write(Buffer.of((byte[0] = byte[0]! ^ change)), 0, 1, place);
          try {
            await flip();
            expect(await rejection(readCheckpoint(path))).to.contain(path);
            await flip();
          } finally {
            await file.close();
          }
        }),
        { seed: 1, numRuns: 60 },
      );
      await readCheckpoint(path);
    });

    it("goes on from the checkpoint before, where the last one is damaged, and keeps that", async () => {
      const out = await folder();
      await run(out, { stopAt: 6 });
      const { checkpoint } = runFiles(out);
      await truncate(checkpoint, 1000);
      const warnings: string[] = [];
      await run(out, { resume: true, warnings });
      expect(warnings.join()).to.match(
        /checkpoint\.safetensors: .+; going on from step 4, which .+-previous.+\.damaged/,
      );
      expect((await stat(`${checkpoint}.damaged`)).size).to.equal(1000);
      await expectSameState(out);
    });

    it("refuses to go on where no checkpoint is whole, naming each", async () => {
      const out = await folder();
      await run(out, { stopAt: 6 });
      const { checkpoint, previous } = runFiles(out);
      await Promise.all([truncate(checkpoint, 7), writeFile(previous, "no checkpoint")]);
      const message = await rejection(run(out, { resume: true }));
      expect(message).to.contain(`${checkpoint}: `).and.to.contain(`${previous}: `);
    });

    it("refuses a checkpoint of another network, and says in what it differs", async () => {
      const [out, other] = [await folder(), await folder()];
      await run(out, { stopAt: 2 });
      await run(other, { stopAt: 2, changes: { dim: 32 } });
      await copyFile(runFiles(other).checkpoint, runFiles(out).checkpoint);
      const message = await rejection(run(out, { resume: true }));
      expect(message).to.contain("is of a run with --dim 32, but").and.to.contain("says 16: it belongs to another run");
    });

    it("goes on where the log ends within a line", async () => {
      const out = await folder();
      await run(out, { stopAt: 6 });
      await appendFile(runFiles(out).log, '{"step":7,"los');
      expect((await readLog(runFiles(out).log)).steps.map(({ step }) => step)).to.deep.equal([2, 4, 6]);
      await run(out, { resume: true });
      await expectSameState(out);
    });

    it("keeps a second run out of a folder, and lets it in after the first", async () => {
      const out = await folder();
      const first = await lockRunFolder(out);
      const refused = await rejection(run(out));
      expect(refused).to.match(/^--out .+: process \d+ on .+ is training there; wait for it, stop it, or name/);
      await first[Symbol.asyncDispose]();
      await (await lockRunFolder(out))[Symbol.asyncDispose]();
    });

    it("says that a folder cannot be written to", async function () {
      const file = join(await folder(), "file");
      await writeFile(file, "");
      const inFile = await rejection(lockRunFolder(join(file, "run")));
      expect(inFile).to.match(/^--out .+: expected a folder to write to, but ENOTDIR.+; name another one$/);
      const missing = join(await folder(), "a", "b");
      await expectWritable(missing);
      expect(existsSync(dirname(missing)), "left as it was").to.equal(false);
      if (process.getuid?.() !== 0) this.skip(); // only root can try as somebody else
      const module = compiledModule("dino/run/run-folder.ts");
      const program = `
        const { expectWritable, lockRunFolder } = await import(${JSON.stringify(module)});
        process.setuid(65534);
        await lockRunFolder(${JSON.stringify(await folder())}).catch((error) => console.log(error.message));
        await expectWritable(${JSON.stringify(await folder())}).catch((error) => console.log(error.message));`;
      const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", program]);
      expect(stdout).to.match(/^(--out .+: expected a folder to write to, but EACCES.*\n){2}$/);
    });
  });

  describe("of disks", () => {
    let disk: string;

    before(async function () {
      disk = await folder();
      const mounted = await promisify(execFile)("mount", ["-t", "tmpfs", "-o", "size=1m", "none", disk]).then(
        () => true,
        () => false,
      );
      if (!mounted) this.skip(); // only where this process may mount
    });
    after(() => promisify(execFile)("umount", [disk]).catch(() => undefined));

    it("refuses to begin where checkpoints have no room", async () => {
      const message = await rejection(run(join(disk, "large"), { changes: { hiddenDim: 2048 } }));
      expect(message).to.match(
        /expected room for checkpoints of \d+ MiB, \d+ MiB in all, but 1 MiB are free; free some/,
      );
    });

    it("leaves the last checkpoint whole when the disk fills up, and goes on once there is room", async () => {
      const out = join(disk, "run");
      const stop = new AbortController();
      const config = resolveConfig({ ...settings, out });
      const filler = join(disk, "filler");
      const filled = train({
        device: await testDevice(),
        splits,
        resume: false,
        explicit: new Set(),
        config,
        stop: stop.signal,
        onProgress: ({ step }) => {
          if (step === 5) void writeFile(filler, new Uint8Array(2 ** 20)).catch(() => undefined);
        },
      });
      const message = await rejection(filled);
      expect(message).to.match(
        /expected to write there, but ENOSPC.+; the checkpoint of step 4 is whole: see to the disk/,
      );
      expect(await stepsDone(runFiles(out).checkpoint)).to.equal(4);
      await rm(filler);
      await run(out, { resume: true });
      await expectSameState(out);
    });
  });

  describe("of devices", () => {
    const training = (out: string, device: Device) => ({
      device,
      splits,
      resume: false,
      explicit: new Set<never>(),
      config: resolveConfig({ ...settings, out }),
    });

    /** A device that is lost when it has been written to so many times. */
    async function failing(writes: number): Promise<Device> {
      const device = await openDevice({ choices: {} });
      const write = device.gpu.queue.writeBuffer.bind(device.gpu.queue);
      device.gpu.queue.writeBuffer = (...words: Parameters<typeof write>) => {
        if (writes-- === 0) device.gpu.destroy();
        write(...words);
      };
      return device;
    }

    it("goes on from the last checkpoint on a new device, to the same bytes, when one is lost during a step", async () => {
      const out = await folder();
      const reopened: Device[] = [];
      using lost = await failing(40);
      const reopen = async () => {
        const device = await openDevice({ choices: {} });
        reopened.push(device);
        return device;
      };
      await trainWithProgress({ ...training(out, lost), reopen });
      expect(lost.failure()?.message).to.contain("the device was lost");
      expect(reopened).to.have.length(1);
      await expectSameState(out);
    });

    it("gives up when every device is lost at once", async () => {
      using lost = await failing(0);
      let opened = 0;
      const reopen = () => {
        opened++;
        return failing(0);
      };
      const error = await rejection(trainWithProgress({ ...training(await folder(), lost), reopen }));
      expect(error).to.contain("the device was lost");
      expect(opened).to.equal(3);
    });

    it("refuses to go on with an adapter that rounds otherwise", async () => {
      using lost = await failing(0);
      const reopen = async () => ({ ...(await openDevice({ choices: {} })), name: "another adapter" });
      const error = await rejection(trainWithProgress({ ...training(await folder(), lost), reopen }));
      expect(error).to.match(/there is only another adapter, which rounds otherwise; the last checkpoint is intact/);
    });

    it("says what takes less memory, and how much less, where there is not enough", async () => {
      const device = await testDevice();
      const limits = limitsOf(device, { maxBufferSize: 20_000 });
      const out = await folder();
      const error = await rejection(trainWithProgress(training(out, { ...device, limits })));
      expect(error).to.match(/^out of memory: .+; a step takes \d+ MiB, \d+ MiB of them for .+; it takes with --/);
      const config = resolveConfig({ ...settings, depth: 6, batch: 64, out });
      const whole = await planMemory(device, config);
      const [half, recomputed] = await Promise.all([
        planMemory(device, { ...config, batch: 32 }),
        planMemory(device, { ...config, recompute: true }),
      ]);
      expect(half.plannedBytes / whole.plannedBytes).to.be.within(0.4, 0.7);
      expect(recomputed.plannedBytes).to.be.below(whole.plannedBytes);
      expect(recomputed.residentBytes / whole.residentBytes).to.be.closeTo(1, 0.01);
      const words = await adviseOnMemory(device, config);
      for (const flag of ["--recompute", "--accumulate 4", "--recompute --accumulate 4", "--batch 32"]) {
        expect(words).to.contain(`with ${flag} `);
      }
    });

    it("stops waiting for a device that does not answer", async () => {
      const device = await testDevice();
      const silent: Device = { ...hanging(device), patienceMs: 50, fail: () => undefined };
      using tensor = input(silent, [4]);
      const error = await rejection(download(tensor));
      expect(error).to.match(/no answer for 0\.05 s, it seems to hang; .+DINO_PATIENCE/);
    });

    it("keeps the batch and the state of a step whose loss is not finite", async () => {
      const out = await folder();
      const message = await rejection(run(out, { changes: { lr: 1e38, clipGrad: 0 } }));
      const [, step] = /loss is \S+ at step \d+.+ holds the batch of step (\d+) and what it left/.exec(message)!;
      const dump = join(out, `not-finite-${step}.safetensors`);
      expect(message).to.contain(`and ${dump} holds`);
      const { tensors } = await readCheckpoint(dump);
      expect(tensors.get("batch.globals")!.shape).to.deep.equal([16, 3, 16, 16]);
      expect(tensors.get("batch.locals")!.shape).to.deep.equal([16, 3, 8, 8]);
      expect(tensors.get("knobs.lr")!.values[0]).to.be.above(1e30);
      expect(tensors.has("student.backbone.cls_token")).to.equal(true);
    });
  });
});

/** A device's limits, some of them changed. */
function limitsOf({ limits }: Device, changes: Partial<Record<keyof GPUSupportedLimits, number>>): GPUSupportedLimits {
  return new Proxy(limits, {
    get: (target, name) => changes[name as keyof GPUSupportedLimits] ?? (Reflect.get(target, name, target) as unknown),
  });
}

/** The device with buffers that are never mapped. */
function hanging(device: Device): Device {
  return withMethods(device, {
    createBuffer(descriptor) {
      const buffer = device.gpu.createBuffer(descriptor);
      buffer.mapAsync = () => new Promise(() => undefined);
      return buffer;
    },
  });
}
