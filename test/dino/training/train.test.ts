import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { parseConfig, resolveConfig } from "../../../dino/config/resolve.js";
import type { PartialConfig } from "../../../dino/config/settings.js";
import { openSplits } from "../../../dino/images/sources/open-splits.js";
import type { Splits } from "../../../dino/images/split.js";
import { readLog, type StepLine } from "../../../dino/run/log.js";
import { checkBatch, checkCrops, checkEvaluations, checkPrecision } from "../../../dino/training/checks.js";
import type { TrainOptions } from "../../../dino/training/run.js";
import { train } from "../../../dino/training/train.js";
import { readCheckpoint } from "../../../dino/weights/checkpoint.js";
import { type Choices, withChoices } from "../../../engine/index.js";
import { testDevice } from "../../support/device.js";

/** A network small enough to train in seconds; local crops, drop path and batch norm take part. */
const tiny = {
  preset: "shapes",
  patchSize: 8,
  dim: 16,
  depth: 2,
  heads: 2,
  outDim: 32,
  hiddenDim: 24,
  bottleneckDim: 12,
  batch: 8,
  steps: 8,
  warmupEpochs: 0,
  localCropsNumber: 2,
  localSize: { rows: 16, cols: 16 },
  localCropsScale: [0.2, 0.5],
  dropPathRate: 0.3,
  logEvery: 2,
  checkpointEvery: 4,
} as const satisfies PartialConfig;

const addedByDinov2 = { registers: 2, koleo: 0.1, centering: "sinkhorn" } as const satisfies PartialConfig;

const dinov2 = {
  ...{ method: "dinov2", separateHead: true, registers: 2, accumulate: 2, logEvery: 1 },
} as const satisfies PartialConfig;

describe("training", () => {
  let splits: Splits;
  const folders: string[] = [];

  before(async () => {
    const all = await openSplits("builtin", { heldOut: 0, seed: 0 });
    splits = {
      train: { ...all.train, indices: all.train.indices.slice(0, 40) },
      test: { ...all.test, indices: all.test.indices.slice(0, 20) },
    };
  });
  after(() => Promise.all(folders.map((path) => rm(path, { recursive: true, force: true }))));

  async function folder(): Promise<string> {
    const out = await mkdtemp(join(tmpdir(), "dino-train-"));
    folders.push(out);
    return out;
  }

  async function run(
    out: string,
    changes: PartialConfig = {},
    options: { resume?: boolean; dieAt?: number; choices?: Choices } & Partial<
      Pick<TrainOptions, "splits" | "visit" | "onEvaluated" | "onEvaluating">
    > = {},
  ) {
    const { resume = false, dieAt, choices = {}, ...others } = options;
    return train({
      device: withChoices(await testDevice(), choices),
      config: resolveConfig({ ...tiny, out, ...changes }),
      splits,
      explicit: new Set(),
      resume,
      ...others,
      onProgress: ({ step }) => {
        if (step === dieAt) throw new Error("killed");
      },
    });
  }

  const weights = (out: string) => readFile(join(out, "checkpoint.safetensors"));
  const log = async (out: string) =>
    (await readFile(join(out, "log.jsonl"), "utf8"))
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);

  /** A checkpoint without its header, which has settings that change no number. */
  async function tensorBytes(out: string): Promise<Buffer> {
    const bytes = await weights(out);
    return bytes.subarray(8 + Number(bytes.readBigUInt64LE(0)));
  }

  it("gives the same bytes for the same seed, and others for another", async () => {
    const [a, b, c] = [await folder(), await folder(), await folder()];
    await run(a);
    await run(b, { threads: 1 });
    await run(c, { seed: 1 });
    expect((await tensorBytes(a)).equals(await tensorBytes(b))).to.equal(true);
    expect((await tensorBytes(a)).equals(await tensorBytes(c))).to.equal(false);
  });

  it("gives the same checkpoint in another folder", async () => {
    const [a, b] = [await folder(), await folder()];
    await run(a);
    await run(b);
    expect((await weights(a)).equals(await weights(b))).to.equal(true);
  });

  it("notes the device in config.json, for readers only", async () => {
    const out = await folder();
    await run(out);
    const { name, kernels, faults } = await testDevice();
    const text = await readFile(join(out, "config.json"), "utf8");
    expect((JSON.parse(text) as { device: object }).device).to.deep.include({ name, kernels, faults });
    expect(parseConfig(text)).not.to.have.property("device");
  });

  it("resumes to the bytes and the log of a run that was never stopped", async () => {
    const [whole, broken] = [await folder(), await folder()];
    await run(whole);
    const died = await run(broken, {}, { dieAt: 7 }).catch((error: unknown) => error);
    expect(died).to.be.an("error").with.property("message", "killed");
    await run(broken, {}, { resume: true });
    expect((await tensorBytes(broken)).equals(await tensorBytes(whole))).to.equal(true);
    const lossesOf = async (out: string) => (await log(out)).map(({ step, loss }) => [step, loss]);
    expect(await lossesOf(broken)).to.deep.equal(await lossesOf(whole));
  });

  it("in f16 resumes to the bytes of a run that was never stopped, the scale of the loss included", async function () {
    if (!(await testDevice()).features.has("shader-f16")) this.skip(); // SwiftShader has none
    const [whole, broken] = [await folder(), await folder()];
    await run(whole, { precision: "f16" });
    const died = await run(broken, { precision: "f16" }, { dieAt: 7 }).catch((error: unknown) => error);
    expect(died).to.be.an("error").with.property("message", "killed");
    await run(broken, { precision: "f16" }, { resume: true });
    expect((await tensorBytes(broken)).equals(await tensorBytes(whole))).to.equal(true);
    const { tensors } = await readCheckpoint(join(whole, "checkpoint.safetensors"));
    const [scale, good] = tensors.get("loss_scale")!.values;
    expect(scale, "the first steps overflow").to.be.within(1, 32768);
    expect(good).to.be.within(1, 7);
    const lines = (await log(whole)).filter(({ type }) => type === undefined);
    expect(lines.at(-1)).to.include({ step: 8, lossScale: scale });
    expect(lines.at(-1)!["gradientNorm"]).to.be.within(0, 1000);
  });

  it("resumes in parts of a batch, to the same bytes whether the blocks are computed again or not", async () => {
    const [whole, broken] = [await folder(), await folder()];
    await run(whole, { accumulate: 2, recompute: true });
    await run(broken, { accumulate: 2, recompute: true }, { dieAt: 7 }).catch(() => undefined);
    await run(broken, { accumulate: 2, recompute: false }, { resume: true });
    expect((await log(broken)).at(-1)).to.include({ step: 8 });
    expect((await tensorBytes(broken)).equals(await tensorBytes(whole))).to.equal(true);
  });

  it("resumes with all that DINOv2 adds, blocks computed again or not, and logs it", async () => {
    const beyond = { ...addedByDinov2, accumulate: 2 } as const;
    const [whole, broken] = [await folder(), await folder()];
    await run(whole, beyond);
    await run(broken, { ...beyond, recompute: true }, { dieAt: 7 }).catch(() => undefined);
    await run(broken, beyond, { resume: true });
    expect((await tensorBytes(broken)).equals(await tensorBytes(whole))).to.equal(true);
    const lines = (await log(whole)).filter(({ type }) => type === undefined);
    for (const { loss, koleo } of lines) {
      expect(koleo).to.be.a("number").above(-Math.log(2)); // unit vectors are at most 2 apart
      expect(loss).to.be.below(2 * Math.log(tiny.outDim));
    }
    const { tensors } = await readCheckpoint(join(whole, "checkpoint.safetensors"));
    expect(tensors.get("backbone.register_tokens")!.shape).to.deep.equal([1, 2, tiny.dim]);
    expect(Math.hypot(...tensors.get("center")!.values), "what Sinkhorn-Knopp does not need").to.equal(0);
  });

  it("trains with the method of DINOv2, logs the parts of its loss, and resumes to the same bytes", async () => {
    const [whole, broken] = [await folder(), await folder()];
    await run(whole, dinov2);
    await run(broken, { ...dinov2, recompute: true }, { dieAt: 7 }).catch(() => undefined);
    await run(broken, dinov2, { resume: true });
    expect((await tensorBytes(broken)).equals(await tensorBytes(whole))).to.equal(true);
    const lines = (await log(whole)).filter(({ type }) => type === undefined) as unknown as StepLine[];
    expect(lines).to.have.length(8);
    const share = 0.5; // of the global crops have a mask
    for (const { loss, clsLoss, patchLoss, koleo, teacherEntropy, klDivergence } of lines) {
      expect(clsLoss! + share * patchLoss! + 2 * 0.1 * koleo!).to.be.closeTo(loss, 1e-4);
      expect(clsLoss! - teacherEntropy).to.be.closeTo(klDivergence, 1e-5);
      expect(patchLoss).to.be.within(0.1, 2 * Math.log(tiny.outDim));
    }
    const { tensors } = await readCheckpoint(join(whole, "checkpoint.safetensors"));
    for (const name of ["backbone.mask_token", "dino_head.mlp.0.weight", "ibot_head.mlp.0.weight", "ibot_center"]) {
      expect(Math.hypot(...tensors.get(name)!.values), name).to.be.above(0);
      if (name !== "ibot_center") expect([...tensors.keys()]).to.include(`student.${name}`);
    }
    expect([...tensors.keys()].filter((name) => name.startsWith("head."))).to.deep.equal([]);
  });

  for (const [what, changes] of [
    ["all that DINOv2 adds to DINO", addedByDinov2],
    ["the method of DINOv2", { ...dinov2, layerScale: 1 }], // with 1e-5, features are alike and KoLeo's gradients large
  ] as const satisfies readonly (readonly [string, PartialConfig])[]) {
    it(`in f16 trains with ${what}`, async function () {
      if (!(await testDevice()).features.has("shader-f16")) this.skip(); // SwiftShader has none
      const out = await folder();
      await run(out, { ...changes, precision: "f16" });
      const last = (await log(out)).findLast(({ type }) => type === undefined)!;
      for (const name of ["loss", "koleo", "gradientNorm"]) expect(last[name], name).to.be.within(-1, 1000);
    });
  }

  it("goes on with the kernels it was begun with, whatever was tuned since", async () => {
    const attentionIn = (way: string): Choices =>
      Object.fromEntries(
        [8, 16, 32, 64].flatMap((sequences) =>
          [4, 16].map((tokens) => [`attention f32 ${sequences} x ${tokens} x 8`, way]),
        ),
      );
    const [whole, broken, other] = [await folder(), await folder(), await folder()];
    await run(whole, {}, { choices: attentionIn("vectors") });
    await run(broken, {}, { choices: attentionIn("vectors"), dieAt: 7 }).catch(() => undefined);
    await run(broken, {}, { choices: attentionIn("tiles"), resume: true });
    await run(other, {}, { choices: attentionIn("tiles") });
    expect((await tensorBytes(broken)).equals(await tensorBytes(whole))).to.equal(true);
    expect((await tensorBytes(other)).equals(await tensorBytes(whole)), "kernels that round otherwise").to.equal(false);
  });

  for (const [how, changes] of [
    ["", {}],
    [", in parts of a batch", { accumulate: 2, useBnInHead: false }], // statistics of four images blow rounding up
  ] as const satisfies readonly (readonly [string, PartialConfig])[]) {
    it(`trains on crops made on the device as on those made on the CPU${how}`, async () => {
      const [cpu, gpu] = [await folder(), await folder()];
      await run(cpu, { cropsOn: "cpu", steps: 4, ...changes });
      await run(gpu, { cropsOn: "gpu", steps: 4, ...changes });
      const losses = async (out: string) =>
        (await log(out)).flatMap(({ type, loss }) => (type ? [] : [loss as number]));
      const [expected, found] = [await losses(cpu), await losses(gpu)];
      expect(found).to.have.length(expected.length);
      found.forEach((loss, i) => expect(loss).to.be.closeTo(expected[i]!, 2e-3 * expected[i]!));
    });
  }

  it("logs every interval and every epoch", async () => {
    const out = await folder();
    await run(out, { knnEvery: 1, linearEvery: 2 });
    const lines = await log(out);
    const intervals = lines.filter(({ type }) => type === undefined);
    expect(intervals.map(({ step }) => step)).to.deep.equal([2, 4, 6, 8]);
    for (const line of intervals) {
      expect(line).to.include.keys(
        "epoch",
        "loss",
        "teacherEntropy",
        "klDivergence",
        "studentSpread",
        "gradientNorm",
        "lr",
      );
      for (const value of Object.values(line)) expect(Number.isFinite(value)).to.equal(true);
    }
    const epochs = lines.filter(({ type }) => type === "epoch");
    expect(epochs.map(({ step }) => step)).to.deep.equal([5, 8]); // 40 images make 5 steps of 8
    for (const { knn } of epochs) expect(knn).to.include({ k: 20, images: 20, among: 40, areTrainedOn: false });
    expect(epochs.map((line) => "linear" in line)).to.deep.equal([false, true]);
    expect(epochs[1]!["linear"]).to.have.all.keys("lr", "top1", "top5");
  });

  it("measures k-NN after the last step unasked, with the same weights as without", async () => {
    const [auto, without] = [await folder(), await folder()];
    const evaluated: unknown[] = [];
    const looked: (readonly [number, number])[] = [];
    const { knn } = await run(
      auto,
      {},
      { onEvaluated: (line) => evaluated.push(line), onEvaluating: (done, total) => looked.push([done, total]) },
    );
    expect(looked.at(-1), "progress").to.deep.equal([60, 60]);
    await run(without, { knnEvery: 0 });
    const epochs = async (out: string) => (await log(out)).filter(({ type }) => type === "epoch");
    expect((await epochs(auto)).map((line) => line["knn"])).to.deep.equal([undefined, knn]);
    expect(knn).to.include({ images: 20, among: 40, areTrainedOn: false });
    expect(evaluated).to.deep.equal((await epochs(auto)).slice(1));
    expect((await epochs(without)).map((line) => "knn" in line)).to.deep.equal([false, false]);
    expect((await tensorBytes(auto)).equals(await tensorBytes(without))).to.equal(true);
  });

  it("goes on without a k-NN accuracy that nobody asked for, where it cannot be measured", async () => {
    const damaged = { ...splits.test.images, decode: () => Promise.resolve({ path: "a.png", reason: "damaged" }) };
    const broken = { ...splits, test: { ...splits.test, images: damaged } };
    const { done, knn, warnings } = await run(await folder(), {}, { splits: broken });
    expect([done, knn]).to.deep.equal([8, undefined]);
    expect(warnings).to.include(
      "k-NN could not be measured: features: expected images, but not one of 20 could be decoded",
    );
  });

  it("keeps the epoch whose requested evaluation fails, and goes on from it", async () => {
    const damaged = { ...splits.test.images, decode: () => Promise.resolve({ path: "a.png", reason: "damaged" }) };
    const broken = { ...splits, test: { ...splits.test, images: damaged } };
    const out = await folder();
    const asked = await run(out, { knnEvery: 1 }, { splits: broken }).catch((error: unknown) => error);
    expect(asked).to.be.an("error");
    const epochs = async () =>
      (await log(out)).filter(({ type }) => type === "epoch").map(({ step, knn }) => [step, knn === undefined]);
    expect(await epochs()).to.deep.equal([[5, true]]);
    const { done } = await run(out, { knnEvery: 1 }, { resume: true });
    expect(done).to.equal(8);
    expect(await epochs()).to.deep.equal([
      [5, true],
      [8, false],
    ]);
  });

  it("logs the accuracies of a visit at its step, and measures nothing in addition", async () => {
    const out = await folder();
    const steps: number[] = [];
    const { knn } = await run(
      out,
      {},
      {
        visit: {
          times: 4,
          look: ({ step }) => {
            steps.push(step);
            return Promise.resolve({ knn: { k: 1, top1: step, top5: 99 } });
          },
        },
      },
    );
    expect(steps).to.deep.equal([0, 2, 4, 6, 8]);
    const { evaluations } = await readLog(join(out, "log.jsonl"));
    expect(evaluations.map(({ type, step, knn: accuracy }) => [type, step, accuracy?.top1])).to.deep.equal([
      ...[0, 2, 4, 6].map((step) => ["evaluation", step, step]),
      ["epoch", 8, 8],
    ]);
    expect(knn).to.include({ top1: 8 });
  });

  it("stops on a loss that is not finite, and names where it came from", async () => {
    const out = await folder();
    const error = await run(out, { lr: 1e38, clipGrad: 0 }).catch((e: unknown) => e);
    expect(error).to.be.an("error");
    expect((error as Error).message).to.match(
      /train: loss is (NaN|-?Infinity) at step \d+; the first tensor that is not finite is .+Lower --lr/,
    );
  });

  it("refuses to measure images without classes, and without images held out", () => {
    const bare = { ...splits.train, images: { ...splits.train.images, labels: undefined } };
    const config = resolveConfig({ ...tiny, linearEvery: 1 });
    expect(() => checkEvaluations(config, { ...splits, train: bare })).to.throw(
      "--linear-every: the train images have no classes",
    );
    const none = { ...splits.test, indices: new Int32Array(0) };
    expect(() => checkEvaluations(config, { ...splits, test: none })).to.throw(
      "--linear-every: expected test images, got none",
    );
    expect(() => checkEvaluations({ ...config, knnEvery: 1 }, { ...splits, train: bare })).to.throw(
      "--knn-every: the train images have no classes",
    );
    checkEvaluations(resolveConfig({ ...tiny, knnEvery: 1 }), { ...splits, test: none });
    checkEvaluations(config, splits);
    checkEvaluations(resolveConfig(tiny), { train: bare, test: none });
  });

  it("refuses a batch of more images than there are, and says which is the largest that works", () => {
    const config = resolveConfig({ ...tiny, batch: 48, accumulate: 3, data: "photos" });
    expect(() => checkBatch(config, splits, 1)).to.throw(
      "--batch 48 is more than the 40 training images of --data photos; --batch 39 is the largest that works",
    );
    expect(() => checkBatch(config, splits, 4)).to.throw("; --batch 36 is the largest that works");
    expect(() => checkBatch(config, splits, 16)).to.throw("; give more images");
    checkBatch({ ...config, batch: 40 }, splits, 1);
  });

  it("refuses a norm of local crops without such crops", () => {
    const check = (localCropsNumber: number) =>
      checkCrops(resolveConfig({ ...tiny, localClsNorm: true, localCropsNumber }));
    check(2);
    expect(() => check(0)).to.throw("--local-crops-number 0 leaves the norm of --local-cls-norm without crops");
  });

  it("refuses f16 on a device that has none, and says what to do", async () => {
    const device = { ...(await testDevice()), features: new Set<string>() };
    expect(() => checkPrecision(device, resolveConfig({ ...tiny, precision: "f16" }))).to.throw(
      `--precision f16: ${device.name} has no f16 (shader-f16); leave --precision at f32, or take another adapter`,
    );
    checkPrecision(device, resolveConfig(tiny));
  });

  it("says on resuming that the number of images has changed, and nothing of it otherwise", async () => {
    const out = await folder();
    await run(out, { steps: 4 });
    expect((await run(out, { steps: 6 }, { resume: true })).warnings.join()).not.to.include("training images");
    const fewer = { ...splits, train: { ...splits.train, indices: splits.train.indices.slice(0, 32) } };
    const { warnings } = await run(out, { steps: 8 }, { resume: true, splits: fewer });
    expect(warnings.join()).to.include("32 training images instead of the 40 up to step 6: epochs have another number");
  });

  it("refuses to resume a run that is longer than asked for", async () => {
    const out = await folder();
    await run(out);
    const error = await run(out, { steps: 4 }, { resume: true }).catch((e: unknown) => e);
    expect((error as Error).message).to.match(/8 steps are done, more than the run's 4/);
  });
});
