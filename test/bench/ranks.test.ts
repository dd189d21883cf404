import { expect } from "chai";
import fc from "fast-check";
import { billionTable, measureBillion } from "../../bench/billion.js";
import { type Algorithm, algorithms, fastest, flatRing, type Link, twoLevels } from "../../bench/ranks/collectives.js";
import { assumed, type ConstantName, mergeConstants, readAssumption } from "../../bench/ranks/constants.js";
import { fitLine, measureSums, predict, RANK_EFFORT, type RankSums, sharedMemory } from "../../bench/ranks/measure.js";
import { efficiencyChart, leastImagesTable, scalingTable, valuesOf, sendingTable } from "../../bench/ranks/report.js";
import {
  efficiency,
  GPUS,
  isDominated,
  leastImages,
  modelNames,
  models,
  timeOf,
  sendingNames,
} from "../../bench/ranks/scenarios.js";
import { lastUploadS, piecesOf, type RankStep, rankStep, stepTime } from "../../bench/ranks/step-time.js";
import { flopsOf } from "../../bench/steps/scaling.js";

const link: Link = { latencyS: 1e-5, sPerByte: 1e-9, addSPerByte: 2e-10 };
const free: Link = { latencyS: 0, sPerByte: 0, addSPerByte: 0 };
const all = Object.keys(algorithms) as Algorithm[];
const values = valuesOf(mergeConstants({}, new Map()));

describe("all-reduce on paper", () => {
  it("takes no time with one rank, nor over links that take none", () => {
    for (const algorithm of all) {
      expect(algorithms[algorithm](1, 1e9, link), algorithm).to.equal(0);
      for (const ranks of [2, 5, 512]) expect(algorithms[algorithm](ranks, 1e9, free), algorithm).to.equal(0);
    }
  });

  it("is what a step by step count of messages gives", () => {
    const bytes = 4096;
    const message = (part: number, added: boolean) =>
      link.latencyS + part * bytes * (link.sPerByte + (added ? link.addSPerByte : 0));
    const rounds = (parts: readonly number[], added: boolean) =>
      parts.reduce((sum, part) => sum + message(part, added), 0);
    const close = (algorithm: Algorithm, ranks: number, seconds: number) =>
      expect(algorithms[algorithm](ranks, bytes, link) / seconds, algorithm).to.be.closeTo(1, 1e-12);
    const fifths = [0.2, 0.2, 0.2, 0.2];
    close("ring", 5, rounds(fifths, true) + rounds(fifths, false));
    close("recursive doubling", 8, rounds([1, 1, 1], true));
    close("Rabenseifner", 8, rounds([1 / 2, 1 / 4, 1 / 8], true) + rounds([1 / 8, 1 / 4, 1 / 2], false));
    // five of them are four and one that hands over all, and gets all
    close("recursive doubling", 5, rounds([1, 1, 1], true) + message(1, false));
  });

  it("sends no fewer bytes than any all-reduce has to, takes longer for more of them, and is chosen by size", () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 600 }), fc.integer({ min: 0, max: 1e8 }), (ranks, bytes) => {
        const bound = 2 * ((ranks - 1) / ranks) * bytes * link.sPerByte;
        for (const algorithm of ["ring", "Rabenseifner"] as const)
          expect(algorithms[algorithm](ranks, bytes, link)).to.be.at.least(bound);
        for (const algorithm of all)
          expect(algorithms[algorithm](ranks, bytes + 1, link)).to.be.above(algorithms[algorithm](ranks, bytes, link));
        const { algorithm, seconds } = fastest(ranks, bytes, link);
        expect(seconds).to.equal(Math.min(...all.map((each) => algorithms[each](ranks, bytes, link))));
        expect(seconds).to.equal(algorithms[algorithm](ranks, bytes, link));
      }),
      { seed: 1, numRuns: 200 },
    );
    expect(fastest(64, 4, link).algorithm).to.equal("recursive doubling");
    expect(fastest(64, 1e8, link).algorithm).to.equal("Rabenseifner");
  });

  it("in two levels is the ring of a machine alone, and never slower than one ring where machines are alike", () => {
    const one = { machines: 1, ranksPerMachine: 8, within: link, between: link };
    expect(twoLevels(one, 1e6)).to.equal(algorithms.ring(8, 1e6, link));
    expect(flatRing(one, 1e6)).to.equal(algorithms.ring(8, 1e6, link));
    const alone = { machines: 8, ranksPerMachine: 1, within: free, between: link };
    expect(twoLevels(alone, 1e6)).to.equal(fastest(8, 1e6, link).seconds);
    const many = { machines: 64, ranksPerMachine: 8, within: link, between: link };
    expect(twoLevels(many, 1e4)).to.be.below(flatRing(many, 1e4));
  });
});

describe("a step on paper", () => {
  const size = { ...models["ViT-S/16"], batch: 64 };
  const step = rankStep(size, { flopPerS: 1e14, bytesPerS: 1e12 });
  const pieces = (pieceBytes: number, valueBytes: 2 | 4 = 4) => piecesOf(step, { pieceBytes, valueBytes });
  const total = (stages: Parameters<typeof lastUploadS>[1], pieceBytes: number) =>
    lastUploadS(pieces(pieceBytes), stages);
  const computedS = step.forwardS + step.backwardS.head + step.backwardS.locals + step.backwardS.globals;

  it("computes what the step's operations take, and knows the sizes of the networks", () => {
    expect(computedS).to.be.closeTo(flopsOf(size) / 1e14, 1e-9);
    expect(step.backboneValues).to.be.within(21.6e6, 21.8e6); // 21.7 million, as published
    expect(step.values - step.backboneValues).to.be.within(22.2e6, 22.5e6);
    const base = rankStep({ ...size, dim: 768 }, { flopPerS: 1e14, bytesPerS: 1e12 });
    expect(base.backboneValues).to.be.within(85.6e6, 86e6);
  });

  it("cuts gradients into pieces that are all of them, each ready no earlier than the one before", () => {
    for (const pieceBytes of [Infinity, 2 ** 24, 2 ** 20]) {
      const cut = pieces(pieceBytes);
      expect(cut.reduce((sum, { bytes }) => sum + bytes, 0)).to.equal(4 * step.values);
      for (const [i, { bytes, readyS }] of cut.entries()) {
        expect(bytes).to.be.at.most(pieceBytes);
        expect(readyS).to.be.at.least(cut[i - 1]?.readyS ?? step.forwardS);
      }
      expect(cut.at(-1)!.readyS).to.be.closeTo(computedS, 1e-12);
    }
    expect(pieces(2 ** 24, 2).map(({ bytes }) => 2 * bytes)).to.deep.equal(pieces(2 ** 24).map(({ bytes }) => bytes));
  });

  it("waits at least for the slowest stage and for the last piece, and at most for all stages in turn", () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0, max: 1e-8, noNaN: true }), { minLength: 3, maxLength: 3 }),
        fc.integer({ min: 20, max: 28 }),
        ([a, b, c], power) => {
          const [readBack, sum, upload] = [a!, b!, c!].map((each) => (bytes: number) => bytes * each);
          const stages = { readBack: readBack!, sum: sum!, upload: upload! };
          const cut = pieces(2 ** power);
          const done = lastUploadS(cut, stages);
          const inTurn = 4 * step.values * (a! + b! + c!);
          expect(done).to.be.at.most(computedS + inTurn + 1e-9);
          expect(done).to.be.at.least(computedS + cut.at(-1)!.bytes * (a! + b! + c!) - 1e-9);
          expect(done).to.be.at.least(cut[0]!.readyS + 4 * step.values * Math.max(a!, b!, c!) - 1e-9);
        },
      ),
      { seed: 2, numRuns: 100 },
    );
    const stages = {
      readBack: (n: number) => n * 1e-10,
      sum: (n: number) => n * 1e-9,
      upload: (n: number) => n * 1e-10,
    };
    expect(total(stages, Infinity)).to.be.closeTo(computedS + 4 * step.values * 1.2e-9, 1e-9);
    expect(total(stages, 2 ** 20)).to.be.below(total(stages, 2 ** 24)); // finer pieces of a stage without latency
    const nothing = () => 0;
    const none = { readBack: nothing, sum: nothing, upload: nothing };
    const sending = { pieceBytes: 2 ** 24, valueBytes: 4 } as const;
    expect(stepTime(step, sending, none).waitS).to.equal(0);
    expect(stepTime(step, sending, undefined)).to.deep.equal({
      seconds: computedS + step.optimizerS,
      waitS: 0,
      communicationS: 0,
    });
  });

  it("hides what is faster than the backward, but for the last piece", () => {
    const even: RankStep = {
      forwardS: 1,
      backwardS: { head: 0, locals: 0, globals: 4 },
      optimizerS: 0.5,
      values: 400,
      backboneValues: 400,
    };
    const stages = { readBack: () => 0, sum: () => 0.25, upload: () => 0 };
    expect(stepTime(even, { pieceBytes: 400, valueBytes: 4 }, stages)).to.deep.equal({
      seconds: 5.75,
      waitS: 0.25,
      communicationS: 1,
    });
  });
});

describe("clusters on paper", () => {
  it("are no faster with more GPUs, a slower network or less memory bandwidth, and f16 never costs", () => {
    for (const model of modelNames) {
      for (const sending of sendingNames) {
        const times = GPUS.map((gpus) => timeOf(values, { model, sending, gpus }));
        for (const [i, { seconds, waitS, communicationS }] of times.entries()) {
          expect(seconds).to.be.at.least(times[i - 1]?.seconds ?? 0);
          expect(waitS).to.be.at.most(communicationS + 1e-12);
        }
        expect(efficiency(values, { model, sending, gpus: 1 })).to.equal(1);
        for (const worse of [{ networkGbit: 10 }, { sharedGB: 1 }, { hostLinkGB: 5 }]) {
          const slow = timeOf({ ...values, ...worse }, { model, sending, gpus: 64 });
          expect(slow.seconds, JSON.stringify(worse)).to.be.above(times[2]!.seconds);
        }
      }
      for (const gpus of [8, 64, 512]) {
        const of = (sending: (typeof sendingNames)[number]) => timeOf(values, { model, sending, gpus }).seconds;
        expect(of("pieces, f16")).to.be.below(of("pieces"));
        expect(of("pieces")).to.be.below(of("one piece"));
      }
    }
  });

  it("work longer than they wait from the least number of images on", () => {
    const scenario = { model: "ViT-S/16", sending: "pieces", gpus: 64 } as const;
    const images = leastImages(values, scenario)!;
    expect(images).to.be.within(2, 1000);
    expect(isDominated({ ...values, images }, scenario)).to.equal(false);
    expect(isDominated({ ...values, images: images - 1 }, scenario)).to.equal(true);
    expect(leastImages(values, { ...scenario, gpus: 1 })).to.equal(1);
  });

  it("are shown as tables of one width and as lines from 100 % down", () => {
    for (const table of [scalingTable(values), sendingTable(values), leastImagesTable(values)]) {
      const widths = table.split("\n").map((line) => line.split("|").length);
      expect(new Set(widths).size).to.equal(1);
      expect(table).to.not.match(/NaN|undefined|e\+/);
    }
    for (const { series } of efficiencyChart(values).panels) {
      for (const { points } of series) {
        expect(points[0]).to.deep.equal(["1", 100]);
        for (const [i, [, y]] of points.entries()) expect(y).to.be.at.most(points[i - 1]?.[1] ?? 100);
      }
    }
  });

  it("take constants by name, measured ones before assumed ones and said ones before both", () => {
    expect(readAssumption("networkGbit=100")).to.deep.equal(["networkGbit", 100]);
    expect(() => readAssumption("speed=1")).to.throw("--assume speed=1: expected NAME=NUMBER with one of tflops, ");
    for (const text of ["images=0", "images=x", "images"]) expect(() => readAssumption(text)).to.throw("above 0");
    const measured = { callUs: { value: 1, source: "here" }, sharedUs: { value: 2, source: "here" } };
    const found = mergeConstants(measured, new Map<ConstantName, number>([["callUs", 7]]));
    expect(found.callUs).to.include({ value: 7, unit: "us", source: "`--assume`" });
    expect(found.sharedUs).to.include({ value: 2, source: "here" });
    expect(found.tflops).to.deep.equal(assumed.tflops);
  });
});

describe("what is measured of ranks", () => {
  const timed = (ms: number) => ({ leastMs: ms, quartilesMs: [ms, ms, ms] as const, repeats: 1 });

  it("fits latency and time of a byte", () => {
    const points = [64, 4096, 2 ** 20].map((bytes) => ({ bytes, ms: 0.2 + 3e-7 * bytes }));
    expect(fitLine(points).latencyMs).to.be.closeTo(0.2, 1e-12);
    expect(fitLine(points).msPerByte).to.be.closeTo(3e-7, 1e-15);
    const falling = points.map(({ bytes }, i) => ({ bytes, ms: 1 / (i + 1) }));
    expect(fitLine(falling).msPerByte).to.be.above(0);
  });

  it("finds the constants that the times were made of, and predicts these from them", () => {
    const callS = 3e-5;
    const made = (ranks: number): RankSums => ({
      ranks,
      library: "paper",
      call: timed(1000 * callS),
      sums: [64, 2 ** 20, 2 ** 24].map((bytes) => ({
        bytes,
        ...timed(1000 * (callS + fastest(ranks, bytes, link).seconds)),
      })),
      gathers: [64, 2 ** 20, 2 ** 24].map((bytes) => ({
        bytes,
        ...timed(1000 * (callS + link.latencyS + (bytes * link.sPerByte) / ranks)),
      })),
    });
    const shared = sharedMemory(made(2));
    expect(shared.callS).to.equal(callS);
    expect(shared.link.latencyS / link.latencyS).to.be.closeTo(1, 0.05);
    expect(shared.link.sPerByte / link.sPerByte).to.be.closeTo(1, 0.01);
    expect(shared.link.addSPerByte / link.addSPerByte).to.be.closeTo(1, 0.1);
    for (const { predictedMs, measured } of predict(made(4), shared, 4))
      expect(predictedMs / measured.leastMs).to.be.closeTo(1, 0.05);
    const crowded = predict(made(4), shared, 2);
    for (const [i, { predictedMs }] of predict(made(4), shared, 4).entries())
      expect(crowded[i]!.predictedMs).to.be.closeTo(2 * predictedMs, 1e-9);
  });

  it("is measured under mpirun where there is one", async function () {
    this.timeout(60_000);
    expect(await measureSums(2, RANK_EFFORT.quick, "no-such-launcher")).to.equal(undefined);
    const found = await measureSums(2, { ...RANK_EFFORT.quick, rounds: 3 });
    if (!found) return this.skip();
    expect(found.library).to.match(/Open MPI|MPICH/);
    expect(found.sums.map(({ bytes }) => bytes)).to.deep.equal(RANK_EFFORT.quick.sizes);
    for (const { leastMs, repeats } of [...found.sums, ...found.gathers]) {
      expect(leastMs).to.be.above(0);
      expect(repeats).to.equal(3);
    }
  });
});

describe("a billion images", () => {
  it("are reckoned from shards and orders that are measured", async function () {
    this.timeout(60_000);
    const { shard, orders } = await measureBillion([3000, 300_000], { shards: 2, imagesPerShard: 50 });
    expect(shard.images).to.equal(50);
    expect(shard.listBytes).to.be.within(41 * 50, 41 * 50 + 1000); // name and end of it, start, size and label
    expect(shard.readBytes).to.be.within(50 * 512, 60 * 110_512);
    const { images, memoryBytes } = orders[1]!;
    expect(memoryBytes / (4 * images)).to.be.within(0.9, 1.5); // the images to train on; their order takes none
    const lines = billionTable({ shard, orders }).split("\n");
    expect(lines.filter((line) => line.includes("100000 shards"))).to.have.length(1);
    expect(lines.join()).to.not.match(/NaN|undefined/);
  });
});
