import { expect } from "chai";
import { type Config, headConfig, resolveConfig, vitConfig } from "../../dino/config.js";
import { createNetwork, initialValues, type Network, type NetworkConfig, writeNetwork } from "../../dino/network.js";
import { createStep } from "../../dino/step.js";
import type { Device } from "../../engine/device.js";
import { sizeOf } from "../../engine/index.js";
import { openDevice } from "../../engine/node.js";
import { testDevice } from "../device.js";

const config: Config = resolveConfig({
  ...{ preset: "digits", dim: 16, depth: 2, heads: 2, outDim: 32, hiddenDim: 24, bottleneckDim: 12, batch: 4 },
  ...{ localCropsNumber: 2, localSize: { rows: 16, cols: 16 } },
});

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

/** The step that a config describes. */
function recordStep(device: Device, networks: Readonly<Record<"student" | "teacher", Network>>, config: Config) {
  return createStep(device, {
    ...{ ...networks, batch: config.batch, globalSize: config.imageSize, localSize: config.localSize },
    ...{ localCrops: config.localCropsNumber, optimizer: "adamw", clip: config.clipGrad },
    ...{ studentTemperature: config.studentTemp, centerMomentum: config.centerMomentum },
  });
}

describe("the training step", () => {
  it("creates no buffer, bind group or pipeline after the first run", async () => {
    const device = await testDevice();
    const shape = { vit: vitConfig(config), head: headConfig(config) };
    using student = createNetwork(device, shape, "student");
    using teacher = createNetwork(device, shape, "teacher");
    for (const network of [student, teacher]) writeNetwork(network, initialValues(shape, config));
    const make = () => recordStep(device, { student, teacher }, config);
    const once = async (step: Awaited<ReturnType<typeof make>>) => {
      step.globals.write(new Float32Array(sizeOf(step.globals.shape)));
      step.knobs.write({ lr: 0.001, weightDecay: 0.04, momentum: 0.99, teacherTemperature: 0.04, frozen: 0 });
      await step.program.run();
      await step.program.readScalar("loss");
    };
    let step: Awaited<ReturnType<typeof make>> | undefined;
    const recorded = await creations(device, async () => {
      step = await make();
      await once(step);
    });
    expect(recorded).to.include.members(["createBuffer", "createBindGroup"]);
    using recordedStep = step!;
    const replayed = await creations(device, async () => {
      for (let run = 0; run < 3; run++) await once(recordedStep);
    });
    expect(replayed).to.deep.equal([]);
  });

  it("has the logits of 65536 prototypes nowhere whole", async () => {
    using noGpu = await openDevice({ prefer: "null" });
    const large: Config = { ...config, outDim: 65536, bottleneckDim: 8, batch: 32 };
    const shape: NetworkConfig = { vit: vitConfig(large), head: headConfig(large) };
    using student = createNetwork(noGpu, shape, "student");
    using teacher = createNetwork(noGpu, shape, "teacher");
    using step = await recordStep(noGpu, { student, teacher }, large);
    const shapes = [...step.program.print().matchAll(/\[(\d[\d, ]*)\]/g)].map(([, axes]) =>
      axes!.split(", ").map(Number),
    );
    const rows = (2 + large.localCropsNumber) * large.batch;
    expect(shapes).to.deep.include([65536, 8]);
    expect(shapes).to.deep.include([rows, 65536 / 2]);
    expect(Math.max(...shapes.map(sizeOf))).to.equal((rows * 65536) / 2);
  });
});
