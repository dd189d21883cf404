import { resolveConfig } from "../../dino/config/resolve.js";
import type { Config } from "../../dino/config/settings.js";
import { networkConfig } from "../../dino/model/configure.js";
import { initialValues, writeNetwork } from "../../dino/model/network.js";
import { createTraining, type Training } from "../../dino/training/create-training.js";
import { drawMasks } from "../../dino/training/dinov2-masks.js";
import type { StepOutput } from "../../dino/training/step-inputs.js";
import { maskOptions } from "../../dino/training/step-options.js";
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
  /** Side of a patch in pixels; default 16. */
  readonly patch?: number;
  /** Default: that of DINO. */
  readonly method?: Config["method"];
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

/** The same steps with the patches of DINOv2. */
export const DINOV2_STEP_SIZE = {
  gpu: { ...STEP_SIZE.gpu, patch: 14, localSize: 98 },
  software: { ...STEP_SIZE.software, patch: 14, globalSize: 98, localSize: 42 },
} as const satisfies Record<string, Omit<StepSize, "batch">>;

export interface Step extends Disposable {
  readonly program: Program<StepOutput>;
  /** Returns the relative deviation of the initial cross-entropy of CLS tokens from log(prototypes). */
  check(): Promise<number>;
}

/** Returns the settings of a step: the official ones, but no drop path. */
export function settingsOf({ batch, dim, prototypes, ...size }: StepSize): Config {
  const { depth = 12, patch = 16, method = "dino", accumulate = 1, recompute = false, precision = "f32" } = size;
  const square = (side: number) => ({ rows: side, cols: side });
  return resolveConfig({
    ...{ method, batch, accumulate, recompute, precision, patchSize: patch, dim, depth, heads: dim / 64 },
    ...{ imageSize: square(size.globalSize), localSize: square(size.localSize), outDim: prototypes, dropPathRate: 0 },
    ...(batch / accumulate < 2 && { koleo: 0 }), // one image has no neighbor
  });
}

/** Creates the training step and its networks, with zero parameters. */
export function createNetworks(device: Device, size: StepSize): Promise<Training> {
  return createTraining(device, settingsOf(size));
}

/** Creates the training step with initial parameters and noise crops. */
export async function recordStep(device: Device, size: StepSize): Promise<Step> {
  const made = await createNetworks(device, size);
  const { student, teacher, step } = made;
  const config = settingsOf(size);
  const values = initialValues(networkConfig(config), { seed: 1, initStd: 0.02 });
  for (const network of [student, teacher]) writeNetwork(network, values);
  step.hyperparameters.write({ lr: 1e-4, weightDecay: 0.04, momentum: 0.996, teacherTemperature: 0.04, frozen: 0 });
  for (const images of [step.globals, step.locals!]) images.write(numbers(images.shape, images.shape[2]!).data);
  if (step.masks.length > 0)
    drawMasks(step.masks, maskOptions(config), { seed: 1, step: 0, shard: { rank: 0, size: 1 } });
  const { program } = step;
  const parts = config.method === "dino" ? (["loss"] as const) : (["localLoss", "globalLoss"] as const);
  return {
    program,
    async check() {
      await program.run();
      const losses = await Promise.all(parts.map((name) => program.readScalar(name)));
      return Math.abs(losses.reduce((sum, loss) => sum + loss, 0) / Math.log(size.prototypes) - 1);
    },
    [Symbol.dispose]: () => made[Symbol.dispose](),
  };
}
