import { expect } from "chai";
import { type Shard, shardPositions, shardRows } from "../../../dino/batches/batch-shard.js";
import { cropPosition } from "../../../dino/batches/crop-layout.js";
import { resolveConfig } from "../../../dino/config/resolve.js";
import type { Config } from "../../../dino/config/settings.js";
import { rng } from "../../../dino/math/random.js";
import { headConfig, networkConfig } from "../../../dino/model/configure.js";
import {
  backboneOf,
  createNetwork,
  forward,
  initialValues,
  readNetwork,
  writeNetwork,
} from "../../../dino/model/network.js";
import { vit } from "../../../dino/model/vit.js";
import type { TrainingStep } from "../../../dino/training/step-inputs.js";
import { stepConfig } from "../../../dino/training/step-options.js";
import { createStep, type StepOptions } from "../../../dino/training/step.js";
import { openDevice } from "../../../engine/adapters/node.js";
import type { Device } from "../../../engine/core/device.js";
import {
  add,
  download,
  evaluate,
  fill,
  gradients,
  type Input,
  koleo,
  l2Normalize,
  scale,
  sizeOf,
} from "../../../engine/index.js";
import { relmax } from "../../golden/golden.js";
import { testDevice } from "../../support/device.js";
import { inProcess } from "../../support/in-process.js";
import { rejection } from "../../support/rejection.js";

const small: Config = resolveConfig({
  preset: "shapes",
  patchSize: 8,
  dim: 16,
  depth: 2,
  heads: 2,
  outDim: 32,
  hiddenDim: 24,
  bottleneckDim: 12,
  batch: 4,
  localCropsNumber: 2,
  localSize: { rows: 16, cols: 16 },
  dropPathRate: 0.5,
  useBnInHead: false,
});

/** What is shared, and among how many. */
interface Shared extends Partial<StepOptions> {
  readonly config?: Config;
  readonly size: number;
  /** Lower bound of the largest number of a tensor, which differences are relative to. */
  readonly least?: number;
  readonly tolerance?: number;
}

/** What may be made while a step is recorded, and no more once it runs. */
const CREATORS = [
  "createBuffer",
  "createBindGroup",
  "createBindGroupLayout",
  "createComputePipeline",
  "createComputePipelineAsync",
  "createShaderModule",
  "createQuerySet",
] as const satisfies readonly (keyof GPUDevice)[];

/** Counts what a device creates while `fn` runs. */
async function creations({ gpu }: Device, fn: () => Promise<void>): Promise<string[]> {
  const created: string[] = [];
  for (const name of CREATORS) {
    const create = gpu[name].bind(gpu) as (...given: unknown[]) => unknown;
    Object.defineProperty(gpu, name, {
      configurable: true,
      value: (...given: unknown[]) => {
        created.push(name);
        return create(...given);
      },
    });
  }
  try {
    await fn();
  } finally {
    for (const name of CREATORS) Reflect.deleteProperty(gpu, name);
  }
  return created;
}

/** Student and teacher at their start values, and the step that trains them. */
async function makeStep(changes: Partial<StepOptions> = {}, on?: { readonly device: Device; readonly config: Config }) {
  const { device, config } = on ?? { device: await testDevice(), config: small };
  const shape = { ...networkConfig(config), heads: { head: headConfig(config) } };
  const student = createNetwork(device, shape, "student");
  const teacher = createNetwork(device, shape, "teacher");
  for (const network of [student, teacher]) writeNetwork(network, initialValues(shape, config));
  const step = await createStep(device, { student, teacher, ...stepConfig(config), ...changes });
  const dispose = () => [step, student, teacher].forEach((owned) => owned[Symbol.dispose]());
  return { step, student, teacher, [Symbol.dispose]: dispose };
}

const knobs = { lr: 0.001, weightDecay: 0.04, momentum: 0.99, teacherTemperature: 0.04, frozen: 0 };

function fillWithNoise(x: Input): void {
  const random = rng({ seed: 0, purpose: "noise" });
  x.write(Float32Array.from({ length: sizeOf(x.shape) }, () => random.normal()));
}

async function run(step: TrainingStep): Promise<void> {
  step.hyperparameters.write(knobs);
  await step.program.run();
}

describe("the training step", () => {
  it("leaves alone what its crops do not use: a token for masks, and a norm of patches only", async () => {
    const config: Config = { ...small, maskToken: "optional", clsNorm: true, dropPathRate: 0 };
    using made = await makeStep({}, { device: await testDevice(), config });
    const { step, student } = made;
    const before = await readNetwork(student);
    for (const crops of [step.globals, step.locals!]) fillWithNoise(crops);
    await run(step);
    const after = await readNetwork(student);
    const same = [...before].flatMap(([name, values]) => (relmax(after.get(name)!, values) === 0 ? [name] : []));
    expect(same).to.have.members(["mask_token", "norm.weight", "norm.bias"].map((name) => `backbone.${name}`));
  });

  it("trains the norm of local crops, where the network has one, by these crops alone", async () => {
    const device = await testDevice();
    const config = { ...small, localClsNorm: true, dropPathRate: 0 };
    using made = await makeStep({}, { device, config });
    const { step, student } = made;
    const names = ["norm", "local_cls_norm"].map((name) => `backbone.${name}.weight`);
    const gains = async () => (await readNetwork(student)).get(names[1]!)!;
    const before = await gains();
    for (const crops of [step.globals, step.locals!]) fillWithNoise(crops);
    await run(step);
    const moved = await readNetwork(student);
    for (const name of names) expect(moved.get(name), name).to.not.deep.equal(before); // both start at 1

    const images = { globals: step.globals, locals: step.locals! };
    const { own, all } = await evaluate(device, () => ({
      own: vit(student.config.vit, backboneOf(student).params, images.locals, { localCrops: true }),
      all: forward(student, [images.globals, images.locals]).features,
    }));
    expect(relmax(all.subarray(-own.length), own)).to.be.below(1e-5);
  });

  it("creates no buffer, bind group or pipeline after the first run", async () => {
    const once = async ({ step }: { readonly step: TrainingStep }) => {
      step.globals.write(new Float32Array(sizeOf(step.globals.shape)));
      await run(step);
      await step.program.readScalar("loss");
    };
    let made: Awaited<ReturnType<typeof makeStep>> | undefined;
    const recorded = await creations(await testDevice(), async () => {
      made = await makeStep();
      await once(made);
    });
    expect(recorded).to.include.members(["createBuffer", "createBindGroup"]);
    using recordedStep = made!;
    const replayed = await creations(await testDevice(), async () => {
      for (let replay = 0; replay < 3; replay++) await once(recordedStep);
    });
    expect(replayed).to.deep.equal([]);
  });

  it("has the logits of 65536 prototypes nowhere whole", async () => {
    using device = await openDevice({ prefer: "null" });
    const large: Config = { ...small, outDim: 65536, bottleneckDim: 8, batch: 32 };
    using made = await makeStep({}, { device, config: large });
    const shapes = [...made.step.program.print().matchAll(/\[(\d[\d, ]*)\]/g)].map(([, axes]) =>
      axes!.split(", ").map(Number),
    );
    const rows = (2 + large.localCropsNumber) * large.batch;
    expect(shapes).to.deep.include([65536, 8]);
    expect(shapes).to.deep.include([rows, 65536 / 2]);
    expect(Math.max(...shapes.map(sizeOf))).to.equal((rows * 65536) / 2);
  });

  /**
   * All that three steps on noise change and report. What an image and its crops are depends neither on the parts nor on who
   * takes the image.
   */
  async function trained(
    { step, student, teacher }: Awaited<ReturnType<typeof makeStep>>,
    parts = 1,
    sharer: Shard = { rank: 0, size: 1 },
  ) {
    const taken = shardPositions(small.batch, parts, sharer);
    const images = taken.length;
    const each = images / parts;
    const uses = step.drops.length / parts;
    for (let i = 0; i < 3; i++) {
      const noise = (purpose: string, image: number) => rng({ seed: i, index: image, purpose });
      for (const x of [step.globals, step.locals!]) {
        const crops = x.shape[0]! / images;
        const all = new Float32Array(sizeOf(x.shape));
        const size = all.length / x.shape[0]!;
        for (let crop = 0; crop < crops; crop++) {
          for (const [place, image] of taken.entries()) {
            const random = noise(`crop ${crop} of ${crops}`, image);
            const start = size * cropPosition({ crops, images, parts }, crop, place);
            for (let n = 0; n < size; n++) all[start + n] = random.normal();
          }
        }
        x.write(all);
      }
      step.drops.forEach((drop, n) => {
        const first = each * Math.floor(n / uses);
        const draw = (row: number) =>
          noise(`use ${n % uses} in crop ${Math.floor(row / each)}`, taken[first + (row % each)]!).uniform();
        drop.write(Float32Array.from({ length: sizeOf(drop.shape) }, (_, row) => draw(row)));
      });
      await run(step);
    }
    const vectors = ["meanTargets", "norms"] as const;
    const outputs = ["loss", "teacherEntropy", "studentCoherence", "teacherCoherence", ...vectors] as const;
    const all = new Map([["center", await download(step.centers.center)]]);
    for (const name of outputs) all.set(name, await step.program.read(name));
    for (const [name, values] of await readNetwork(student)) all.set(`student ${name}`, values);
    for (const [name, values] of await readNetwork(teacher)) all.set(`teacher ${name}`, values);
    return all;
  }

  it("changes no bit with recompute, and needs less memory", async () => {
    const deep: Config = { ...small, depth: 4 };
    const on = { device: await testDevice(), config: deep };
    using plain = await makeStep({}, on);
    using again = await makeStep({ recompute: true }, on);
    expect(plain.step.drops.length).to.be.above(0);
    expect(await trained(again)).to.deep.equal(await trained(plain));
    for (const bytes of ["bytes", "lowerBoundBytes"] as const) {
      expect(again.step.program[bytes], bytes).to.be.below(0.5 * plain.step.program[bytes]);
    }
  });

  function expectSame(
    found: ReadonlyMap<string, Float32Array>,
    expected: ReadonlyMap<string, Float32Array>,
    { tolerance, least = 1e-6 }: { readonly tolerance: number; readonly least?: number },
  ): void {
    expect([...found.keys()]).to.deep.equal([...expected.keys()]);
    for (const [name, values] of expected) {
      const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), least);
      values.forEach((value, i) => {
        expect(Math.abs(found.get(name)![i]! - value) / largest, `${name} at ${i}`).to.be.below(tolerance);
      });
    }
  }

  it("gives the same to rounding where a batch goes through in parts, and needs less memory", async () => {
    const optimizer = "sgd"; // AdamW makes steps of one size even of gradients that are rounding alone
    using whole = await makeStep({ optimizer });
    const expected = await trained(whole);
    for (const [parts, less] of [
      [2, 0.7],
      [4, 0.45],
    ] as const) {
      using inParts = await makeStep({ optimizer, accumulate: parts });
      expectSame(await trained(inParts, parts), expected, { tolerance: 1e-5 });
      for (const bytes of ["bytes", "lowerBoundBytes"] as const) {
        expect(inParts.step.program[bytes], bytes).to.be.below(less * whole.step.program[bytes]);
      }
    }
  });

  describe("shared among devices", () => {
    const batchNorm: Config = { ...small, useBnInHead: true };
    for (const [what, { config = small, accumulate = 1, size, least, tolerance = 2e-5, ...changes }] of [
      ["drop path", { size: 4 }],
      // biases before a batch norm change no loss: rounding alone is what gradients they get
      ["batch norm in the head, of each part of the batch", { config: batchNorm, accumulate: 2, size: 2, least: 0.01 }],
      ["Sinkhorn-Knopp, in each part of the batch", { sinkhorn: { iterations: 3 }, accumulate: 2, size: 2 }],
      ["KoLeo", { koleoWeight: 0.3, size: 2 }],
      ["gradients of half the size", { compress: true, size: 2, tolerance: 2e-3 }], // lavapipe measured 5e-4
    ] as readonly (readonly [string, Shared])[]) {
      it(`gives each what one alone gives: ${what}`, async () => {
        const on = { device: await testDevice(), config };
        const options = { optimizer: "sgd", accumulate, ...changes } as const;
        using whole = await makeStep(options, on);
        const expected = await trained(whole, accumulate);
        const all = await Promise.all(
          inProcess(size).map(async (peers) => {
            using made = await makeStep({ ...options, batch: small.batch / size, peers }, on);
            return await trained(made, accumulate, peers);
          }),
        );
        for (const found of all) {
          expectSame(found, expected, { tolerance, ...(least && { least }) });
          expect(found).to.deep.equal(all[0]);
        }
      });
    }

    it("refuses shares that are not equal", () => {
      expect(() => shardPositions(12, 2, { rank: 0, size: 4 })).to.throw(
        "--batch 12: expected a multiple of 8, so that 4 ranks have equal shares of each of the 2 parts of --accumulate; " +
          "it is the number of images of a step on all ranks together",
      );
    });

    it("gives each device the numbers of its rows", () => {
      const rows = Float32Array.from({ length: 8 }, (_, i) => i); // 2 crops of 4 images
      expect([...shardRows(rows, 2, { rank: 1, size: 2 })]).to.deep.equal([2, 3, 6, 7]);
      expect(shardPositions(8, 2, { rank: 1, size: 2 })).to.deep.equal([2, 3, 6, 7]);
    });
  });

  describe("with --koleo", () => {
    const koleoWeight = 0.3;
    const config: Config = { ...small, dropPathRate: 0 };
    const optimizer = "sgd";

    /** The KoLeo loss of the student's features at the start, and its gradient, of images that go through together. */
    async function expected(parts: number) {
      using made = await makeStep({ optimizer }, { device: await testDevice(), config });
      const { step, student } = made;
      fillWithNoise(step.globals);
      const backbone = (name: string) => student.params.get(`backbone.${name}`);
      const trainedParams = student.params.layout.entries.filter(({ name }) => name.startsWith("backbone."));
      const [rows, crops] = [(2 * config.batch) / parts, sizeOf(step.globals.shape) / parts];
      const found = await evaluate(await testDevice(), () => {
        const losses = Array.from({ length: parts }, (_, part) => {
          const offset = step.globals.offset + 4 * part * crops;
          const features = vit(student.config.vit, backbone, {
            ...step.globals,
            shape: step.globals.shape.with(0, rows),
            offset,
          });
          return koleo(l2Normalize(features), 2);
        });
        const loss = scale(
          losses.reduce((sum, each) => add(sum, each)),
          1 / parts,
        );
        const dParams = gradients(
          loss,
          fill([], 1),
          trainedParams.map(({ name }) => student.params.get(name)),
        );
        return { loss, ...Object.fromEntries(trainedParams.map(({ name }, i) => [name, dParams[i]!])) };
      });
      return new Map(Object.entries(found));
    }

    async function updated(changes: Partial<StepOptions>) {
      using made = await makeStep({ optimizer, clip: 0, ...changes }, { device: await testDevice(), config });
      fillWithNoise(made.step.globals);
      made.step.hyperparameters.write({ ...knobs, lr: 1, weightDecay: 0 }); // SGD then takes off the gradient itself
      await made.step.program.run();
      const read = async (name: "loss" | "koleo") => made.step.program.readScalar(name);
      return {
        loss: await read("loss"),
        koleo: changes.koleoWeight ? await read("koleo") : 0,
        student: await readNetwork(made.student),
      };
    }

    for (const accumulate of [1, 2]) {
      it(`adds weight times the loss of each view${accumulate > 1 ? ", of the images of a part" : ""}`, async () => {
        const without = await updated({ accumulate });
        const found = await updated({ accumulate, koleoWeight });
        const reference = await expected(accumulate);
        expect(found.loss).to.equal(without.loss);
        expect(found.koleo).to.be.closeTo(reference.get("loss")![0]!, 1e-5);
        for (const [name, values] of found.student) {
          const gradient = reference.get(name) ?? values.map(() => 0); // none to the head
          const largest = gradient.reduce((most, g) => Math.max(most, Math.abs(g)), 1e-3);
          values.forEach((value, i) => {
            const step = without.student.get(name)![i]! - value;
            expect(step / (2 * koleoWeight * largest), `${name} at ${i}`).to.be.closeTo(gradient[i]! / largest, 1e-3);
          });
        }
      });
    }
  });

  for (const accumulate of [1, 2]) {
    it(`makes all prototypes equally frequent by Sinkhorn-Knopp, ${small.batch / accumulate} images at a time`, async () => {
      using made = await makeStep({ sinkhorn: { iterations: 60 }, accumulate });
      using centered = await makeStep({ accumulate });
      const found = await trained(made, accumulate);
      const others = await trained(centered, accumulate);
      const off = (targets: Float32Array) => Math.max(...targets.map((share) => Math.abs(share * small.outDim - 1)));
      expect(off(found.get("meanTargets")!)).to.be.below(1e-2);
      expect(off(others.get("meanTargets")!)).to.be.above(0.3);
      expect(found.get("center")!.every((x) => x === 0)).to.equal(true);
      expect(found.get("teacherEntropy")![0]).to.be.within(0, Math.log(small.outDim) - 1e-3);
      expect(found.get("loss")![0]).to.be.above(found.get("teacherEntropy")![0]!);
    });
  }

  it("refuses parts that are not equal", async () => {
    expect(await rejection(makeStep({ accumulate: 3 }))).to.equal(
      "crops: a batch of 4 images has no 3 equal parts; take a number that divides it",
    );
  });

  for (const recompute of [false, true]) {
    it(`leaves frozen blocks and what comes before them alone${recompute ? ", computing blocks again" : ""}`, async () => {
      const config: Config = { ...small, freezeBlocks: 1, recompute };
      const shape = networkConfig(config);
      using made = await makeStep({}, { device: await testDevice(), config });
      await trained(made);
      const before = initialValues(shape, config);
      const [student, teacher] = [await readNetwork(made.student), await readNetwork(made.teacher)];
      const isFrozen = (name: string) => /^backbone\.(cls_token|pos_embed|patch_embed|blocks\.0)/.test(name);
      expect([...before.keys()].filter(isFrozen)).to.have.length(4 + 12);
      for (const [name, values] of before) {
        if (name === "head.last_layer.weight_g") continue;
        expect(String(student.get(name)) === String(values), name).to.equal(isFrozen(name));
        expect(String(teacher.get(name)) === String(values), name).to.equal(isFrozen(name));
      }
      for (const { layout } of Object.values(made.step.optimizer.state))
        expect(layout.entries.filter(({ name }) => isFrozen(name))).to.deep.equal([]);
    });
  }
});
