import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import fc from "fast-check";
import { type Extract, type Labelled, labelledFeatures } from "../../../dino/evaluation/labelled.js";
import {
  cachedBatches,
  cachedDataset,
  type ProbeDataset,
  augmentedBatches,
  augmentedDataset,
} from "../../../dino/evaluation/linear-batches.js";
import { createLinearProbe, type LinearLayer } from "../../../dino/evaluation/linear-probe.js";
import { type LinearOptions, trainLinear } from "../../../dino/evaluation/linear.js";
import { officialProbeCrop } from "../../../dino/images/augment.js";
import { memoryImages } from "../../../dino/images/image-set.js";
import { openImages } from "../../../dino/images/sources/folder-images.js";
import { fullSubset } from "../../../dino/images/split.js";
import { selectRows } from "../../../dino/math/feature-rows.js";
import { rng } from "../../../dino/math/random.js";
import { type Model, viewOf } from "../../../dino/model/backbone.js";
import { blocksDescriptor, clsDescriptor } from "../../../dino/model/descriptors.js";
import { extractFeatures } from "../../../dino/model/extract.js";
import { loadModel } from "../../../dino/weights/load-model.js";
import { drawFolder, writeTinyCheckpoint } from "../../support/command-line.js";
import { testDevice } from "../../support/device.js";
import { rejection } from "../../support/rejection.js";

/** Rows around a center for each class; `spread` decides whether they can be told apart. */
function clusters(rows: number, dim: number, classes: number, spread: number, seed = 0): Labelled {
  const centers = rng({ seed: 99, purpose: "centers" });
  const center = Float32Array.from({ length: classes * dim }, () => centers.normal());
  const random = rng({ seed, purpose: "clusters" });
  const labels = Int32Array.from({ length: rows }, (_, i) => i % classes);
  const values = Float32Array.from({ length: rows * dim }, (_, at) => {
    const label = labels[Math.floor(at / dim)]!;
    return center[label * dim + (at % dim)]! + spread * random.normal();
  });
  return { features: { values, rows, dim }, labels };
}

interface Layer64 {
  readonly weight: Float64Array;
  readonly bias: Float64Array;
}

/** The score of each class for a row, in float64. */
function scoresOf(
  { weight, bias }: LinearLayer | Layer64,
  { features: { values, dim } }: Labelled,
  row: number,
): number[] {
  return Array.from(bias, (b, c) => {
    let score = b;
    for (let d = 0; d < dim; d++) score += weight[c * dim + d]! * values[row * dim + d]!;
    return score;
  });
}

/** SGD with momentum, and decay of all parameters, as torch.optim.SGD has it; the rate falls as CosineAnnealingLR lets it. */
function trainPlainly(
  start: LinearLayer,
  options: Pick<LinearOptions, "batches" | "batch" | "epochs" | "classes" | "dim" | "weightDecay">,
  lr: number,
): Layer64 {
  const { batches, batch, epochs, classes, dim, weightDecay = 0 } = options;
  const layer = { weight: Float64Array.from(start.weight), bias: Float64Array.from(start.bias) };
  const velocity = { weight: new Float64Array(classes * dim), bias: new Float64Array(classes) };
  for (let epoch = 0; epoch < epochs; epoch++) {
    const rate = ((lr * batch) / 256) * 0.5 * (1 + Math.cos((Math.PI * epoch) / epochs));
    for (const rows of batches(epoch) as Iterable<Labelled>) {
      const gradient = { weight: new Float64Array(classes * dim), bias: new Float64Array(classes) };
      rows.labels.forEach((label, row) => {
        const scores = scoresOf(layer, rows, row);
        const total = scores.reduce((sum, score) => sum + Math.exp(score), 0);
        scores.forEach((score, c) => {
          const error = (Math.exp(score) / total - (c === label ? 1 : 0)) / rows.labels.length;
          gradient.bias[c]! += error;
          for (let d = 0; d < dim; d++) gradient.weight[c * dim + d]! += error * rows.features.values[row * dim + d]!;
        });
      });
      for (const name of ["weight", "bias"] as const) {
        velocity[name].forEach((v, i) => {
          velocity[name][i] = 0.9 * v + gradient[name][i]! + weightDecay * layer[name][i]!;
          layer[name][i]! -= rate * velocity[name][i];
        });
      }
    }
  }
  return layer;
}

function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance = 1e-5): void {
  expect(actual.length).to.equal(expected.length);
  const largest = Array.from(expected).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  for (let i = 0; i < expected.length; i++) {
    expect(actual[i], `at ${i}`).to.be.closeTo(expected[i]!, tolerance * largest);
  }
}

describe("linear evaluation", () => {
  /** Eleven rows in batches of four, so that the last of an epoch is smaller. */
  async function small(changes: Partial<LinearOptions> = {}): Promise<LinearOptions> {
    const train = clusters(11, 5, 3, 1);
    return {
      ...{ device: await testDevice(), dim: 5, classes: 3, batch: 4, seed: 1, epochs: 3, lrs: [3] },
      ...{ batches: cachedBatches(train, { batch: 4, seed: 1 }), test: clusters(20, 5, 3, 1, 7) },
      ...changes,
    };
  }

  for (const weightDecay of [0, 0.05]) {
    it(`is SGD with momentum along a cosine, as computed in float64, with weight decay ${weightDecay}`, async () => {
      for (const lr of [0.5, 8]) {
        const options = await small({ lrs: [lr], weightDecay });
        using probe = await createLinearProbe(options.device, { ...options, rates: [1] });
        const expected = trainPlainly(await probe.read(0), options, lr);
        const { layer } = await trainLinear(options);
        expectClose(layer.weight, expected.weight);
        expectClose(layer.bias, expected.bias);
      }
    });
  }

  it("trains many learning rates at once as each alone", async () => {
    const lrs = [0.1, 2, 8];
    const together = await trainLinear(await small({ lrs, weightDecay: 0.01 }));
    expect(together.results.map(({ lr }) => lr)).to.deep.equal(lrs);
    for (const [i, lr] of lrs.entries()) {
      const alone = await trainLinear(await small({ lrs: [lr], weightDecay: 0.01 }));
      const [one, other] = [together.results[i]!, alone.results[0]!];
      expect(one.history.map(({ epoch }) => epoch)).to.deep.equal([1, 2, 3]);
      one.history.forEach((moment, at) => {
        expect(moment.trainLoss).to.be.closeTo(other.history[at]!.trainLoss, 1e-5);
        expect(moment.test.loss).to.be.closeTo(other.history[at]!.test.loss, 1e-5);
        expect(moment.test.top1).to.equal(other.history[at]!.test.top1);
      });
      if (together.picked === one) expectClose(together.layer.weight, alone.layer.weight);
    }
  });

  it("tells apart what can be told apart", async () => {
    const [train, test] = [clusters(300, 16, 10, 0.1), clusters(100, 16, 10, 0.1, 3)];
    const batches = cachedBatches(train, { batch: 32, seed: 0 });
    const wide = { dim: 16, classes: 10, batch: 32, batches, test };
    const { picked } = await trainLinear(await small({ ...wide, epochs: 12, lrs: [0.001, 0.3] }));
    expect(picked).to.include({ lr: 0.3 });
    expect(picked.last.test.top1).to.equal(100);
    expect(picked.last.test.loss).to.be.below(picked.history[0]!.test.loss);
  });

  it("gives the same bytes for the same seed, and others for another", async () => {
    const run = async (seed: number) => trainLinear(await small({ seed }));
    const [a, b, c] = [await run(1), await run(1), await run(2)];
    expect(a).to.deep.equal(b);
    expect(a.layer).not.to.deep.equal(c.layer);
  });

  it("counts the first class and the first five, and the loss, over rows beyond one block", async () => {
    const device = await testDevice();
    const test = clusters(1500, 4, 7, 2);
    using probe = await createLinearProbe(device, { dim: 4, classes: 7, rates: [1, 30], batch: 8, seed: 0 });
    for (const batch of cachedBatches(clusters(40, 4, 7, 1), { batch: 8, seed: 0 })(0) as Iterable<Labelled>) {
      await probe.step(batch, 1);
    }
    const measured = await probe.measure(test);
    for (const rate of [0, 1]) {
      const layer = await probe.read(rate);
      const counted = { top1: 0, top5: 0, loss: 0 };
      test.labels.forEach((label, row) => {
        const scores = scoresOf(layer, test, row);
        const before = scores.filter((score) => score > scores[label]!).length;
        counted.top1 += before < 1 ? 100 / 1500 : 0;
        counted.top5 += before < 5 ? 100 / 1500 : 0;
        counted.loss += (Math.log(scores.reduce((sum, s) => sum + Math.exp(s), 0)) - scores[label]!) / 1500;
      });
      const one = 100 / 1500 + 1e-9; // a tie may round to either side
      expect(measured[rate]!.top1).to.be.closeTo(counted.top1, one).and.to.be.within(20, 90);
      expect(measured[rate]!.top5).to.be.closeTo(counted.top5, one);
      expect(measured[rate]!.loss).to.be.closeTo(counted.loss, 1e-4 * counted.loss);
    }
  });

  it("picks by the validation rows where there are any, and by the end, not the best epoch", async () => {
    const flipped = clusters(30, 5, 3, 0.1, 5);
    const against: Labelled = { ...flipped, labels: flipped.labels.map((label) => (label + 1) % 3) };
    const lrs = [1e-9, 4]; // the first learns nothing, and is right about a third
    const plain = await trainLinear(await small({ lrs, test: clusters(30, 5, 3, 0.1, 5) }));
    expect(plain.picked.lr).to.equal(4);
    expect(plain.picked.last).not.to.have.property("validation");
    const picked = await trainLinear(await small({ lrs, test: clusters(30, 5, 3, 0.1, 5), validation: against }));
    expect(picked.picked.lr).to.equal(1e-9);
    for (const { history, best, last } of picked.results) {
      expect(last).to.equal(history.at(-1));
      expect(best.validation!.top1).to.equal(Math.max(...history.map(({ validation }) => validation!.top1)));
    }
  });

  it("measures every so many epochs, and the last", async () => {
    const { results } = await trainLinear(await small({ epochs: 5, measureEvery: 2 }));
    expect(results[0]!.history.map(({ epoch }) => epoch)).to.deep.equal([2, 4, 5]);
  });

  it("passes over a rate that diverges, and says when all do", async () => {
    const exploding = { weightDecay: 1e9, epochs: 12 };
    const { picked, results } = await trainLinear(await small({ ...exploding, lrs: [1e6, 1e-9] }));
    expect(picked.lr).to.equal(1e-9);
    expect(results[0]!.last.test.top1).to.equal(0);
    expect(await rejection(trainLinear(await small({ ...exploding, lrs: [1e6] })))).to.include("every layer diverged");
  });

  it("refuses what cannot be learnt", async () => {
    const refusal = async (changes: Partial<LinearOptions>) => rejection(trainLinear(await small(changes)));
    expect(await refusal({ classes: 1 })).to.include("at least two classes, got 1");
    expect(await refusal({ classes: 2 })).to.include("expected labels from 0 to 1, got 2");
    expect(await refusal({ dim: 4 })).to.include("expected rows of 4 features");
    expect(await refusal({ batches: () => [] })).to.include("expected training images, got none");
    expect(await refusal({ batch: 3 })).to.include("expected 1 to 3 rows in a step, got 4");
    const device = await testDevice();
    const limits = { maxStorageBufferBindingSize: 100 } as GPUSupportedLimits;
    expect(await refusal({ device: { ...device, limits }, lrs: [1, 2] })).to.include("Take fewer learning rates");
  });
});

describe("batches to learn from", () => {
  let folder: string;
  let model: Model;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "linear-"));
    await writeTinyCheckpoint(join(folder, "checkpoint"));
    model = await loadModel(await testDevice(), join(folder, "checkpoint"));
  });
  after(async () => {
    model[Symbol.dispose]();
    await rm(folder, { recursive: true });
  });

  it("hold every row once an epoch, each time in another order", () => {
    const size = fc.integer({ min: 1, max: 40 });
    fc.assert(
      fc.property(size, size, fc.nat(), (rows, batch, seed) => {
        const values = Float32Array.from({ length: 2 * rows }, (_, i) => i);
        const labels = Int32Array.from({ length: rows }, (_, i) => i);
        const batches = cachedBatches({ features: { values, rows, dim: 2 }, labels }, { batch, seed });
        const read = (epoch: number) => Array.from(batches(epoch) as Iterable<Labelled>);
        for (const { features, labels: classes } of read(0)) {
          expect(classes.length).to.be.within(1, batch);
          classes.forEach((label, i) => expect(features.values[2 * i]).to.equal(2 * label));
        }
        const order = (epoch: number) => read(epoch).flatMap(({ labels: classes }) => [...classes]);
        expect(order(0).sort((a, b) => a - b)).to.deep.equal([...labels]);
        expect(order(1)).to.deep.equal(order(1));
        if (rows > 20) expect(order(0)).not.to.deep.equal(order(1));
      }),
      { numRuns: 50 },
    );
  });

  it("are features of new crops in every epoch, whatever the batch, without broken images", async () => {
    await drawFolder(join(folder, "photos"), 3);
    await writeFile(join(folder, "photos", "blue", "torn.png"), "torn");
    const subset = fullSubset(await openImages(join(folder, "photos")));
    const descriptor = blocksDescriptor(model, { lastBlocks: 1, meanPatch: true });
    const common = { view: viewOf(model.config), descriptor, seed: 0, crop: officialProbeCrop };

    /** The features of an epoch, in an order that does not depend on what was drawn. */
    const look = async (epoch: number, batch: number) => {
      const rows: number[][] = [];
      for await (const { features, labels } of augmentedBatches(model, subset, { ...common, batch })(epoch)) {
        expect(labels.length).to.equal(features.rows).and.to.be.at.most(batch);
        labels.forEach((label, i) => rows.push([label, ...selectRows(features, [i]).values]));
      }
      return rows.sort((a, b) => a[0]! - b[0]! || a[1]! - b[1]!);
    };
    const first = await look(0, 2);
    expect(first.map(([label]) => label)).to.deep.equal([0, 0, 0, 1, 1, 1]);
    (await look(0, 5)).forEach((row, i) => expectClose(row, first[i]!));
    expect(await look(1, 2)).not.to.deep.equal(first);
  });

  it("leave the same images to pick by, whether there are images or features of them", async () => {
    const levels = Array.from({ length: 40 }, (_, i) => i);
    const images = levels.map((level) => ({ rows: 16, cols: 16, pixels: new Uint8Array(768).fill(5 * level) }));
    const subset = fullSubset(
      memoryImages({ images, labels: levels, classes: levels.map((level) => `class ${level}`) }),
    );
    const parts = { train: subset, test: subset };
    const view = viewOf(model.config);
    const descriptor = clsDescriptor(model);
    const extract: Extract = ({ images: set, indices }) => extractFeatures(model, set, { view, indices });
    const options = { batch: 8, seed: 5, validation: 0.3 };
    const kept = cachedDataset(await labelledFeatures(parts, extract), options);
    const crop = officialProbeCrop;
    const shown = await augmentedDataset(model, parts, { ...options, extract, descriptor, view, crop });

    const learnt = async ({ batches }: ProbeDataset) => {
      const labels: number[] = [];
      for await (const batch of batches(0)) labels.push(...batch.labels);
      return labels.sort((a, b) => a - b);
    };
    for (const { validation, test, images: source, dim, ...material } of [kept, shown]) {
      expect(validation).to.deep.equal(kept.validation);
      expect(test.labels).to.deep.equal(Int32Array.from(levels));
      expect(validation!.labels.length)
        .to.be.within(5, 20)
        .and.to.equal(40 - source);
      const all = [...(await learnt({ validation, test, images: source, dim, ...material })), ...validation!.labels];
      expect(all.sort((a, b) => a - b)).to.deep.equal(levels);
      expect(dim).to.equal(16);
    }
    const two = { ...subset, indices: Int32Array.of(0) };
    expect(
      await rejection(
        augmentedDataset(model, { train: two, test: subset }, { ...options, extract, descriptor, view, crop }),
      ),
    ).to.include("a validation share of 0.3 of 1 train images leaves");
  });
});
