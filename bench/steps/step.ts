import {
  createNetwork,
  type DinoHeads,
  initialValues,
  type Network,
  type NetworkConfig,
  writeNetwork,
} from "../../dino/model/network.js";
import type { StepOutput, TrainingStep } from "../../dino/training/step-inputs.js";
import { createStep } from "../../dino/training/step.js";
import type { Device } from "../../engine/core/device.js";
import type { Precision, Program } from "../../engine/index.js";
import { numbers } from "./row.js";

/** Size of a step. */
export interface StepSize {
  /** Images; each gives 2 global and 8 local crops. */
  readonly batch: number;
  readonly globalSize: number;
  readonly localSize: number;
  readonly dim: number;
  readonly prototypes: number;
  /** Blocks of the ViT; default 12. */
  readonly depth?: number;
  /** Gradient accumulation parts, and whether blocks are recomputed; default 1 and false. */
  readonly accumulate?: number;
  readonly recompute?: boolean;
  /** Precision of the networks; default f32. */
  readonly precision?: Precision;
}

/** Sizes by adapter, with patches of 16: ViT-S with the official crops and head on a GPU, a ViT-Ti step of seconds in software. */
export const STEP_SIZE = {
  gpu: { globalSize: 224, localSize: 96, dim: 384, prototypes: 65536 },
  software: { globalSize: 96, localSize: 48, dim: 192, prototypes: 8192 },
} as const satisfies Record<string, Omit<StepSize, "batch">>;

export interface Step extends Disposable {
  readonly program: Program<StepOutput>;
  /** Returns the relative deviation of the initial loss from log(prototypes). */
  check(): Promise<number>;
}

interface Networks extends Disposable {
  readonly config: NetworkConfig<DinoHeads>;
  readonly student: Network;
  readonly teacher: Network;
  readonly step: TrainingStep;
}

/** Returns the network of a step: a ViT with patches of 16, and the official head. */
export function networkOf({
  globalSize,
  dim,
  prototypes,
  depth = 12,
  precision = "f32",
}: StepSize): NetworkConfig<DinoHeads> {
  return {
    vit: {
      imageRows: globalSize,
      imageCols: globalSize,
      patch: 16,
      channels: 3,
      dim,
      depth,
      heads: dim / 64,
      mlpRatio: 4,
      dropPathRate: 0,
    },
    heads: {
      head: {
        inDim: dim,
        hidden: 2048,
        bottleneck: 256,
        out: prototypes,
        layers: 3,
        batchNorm: false,
        normLastLayer: true,
      },
    },
    precision,
  };
}

/** Creates the training step and its networks, with zero parameters. */
export async function createNetworks(device: Device, size: StepSize): Promise<Networks> {
  const { batch, globalSize, localSize, accumulate = 1, recompute = false } = size;
  const config = networkOf(size);
  const student = createNetwork(device, config, "student");
  const teacher = createNetwork(device, config, "teacher");
  const step = await createStep(device, {
    student,
    teacher,
    batch,
    globalSize: { rows: globalSize, cols: globalSize },
    localSize: { rows: localSize, cols: localSize },
    localCrops: 8,
    optimizer: "adamw",
    studentTemperature: 0.1,
    centerMomentum: 0.9,
    clip: 3,
    accumulate,
    recompute,
  });
  return {
    config,
    student,
    teacher,
    step,
    [Symbol.dispose]() {
      for (const x of [step, student, teacher]) x[Symbol.dispose]();
    },
  };
}

/** Creates the training step with initial parameters and noise crops. */
export async function recordStep(device: Device, size: StepSize): Promise<Step> {
  const made = await createNetworks(device, size);
  const { config, student, teacher, step } = made;
  const values = initialValues(config, { seed: 1, initStd: 0.02 });
  for (const network of [student, teacher]) writeNetwork(network, values);
  step.hyperparameters.write({ lr: 1e-4, weightDecay: 0.04, momentum: 0.996, teacherTemperature: 0.04, frozen: 0 });
  for (const images of [step.globals, step.locals!]) images.write(numbers(images.shape, images.shape[2]!).data);
  const { program } = step;
  return {
    program,
    async check() {
      await program.run();
      return Math.abs((await program.readScalar("loss")) / Math.log(size.prototypes) - 1);
    },
    [Symbol.dispose]: () => made[Symbol.dispose](),
  };
}
