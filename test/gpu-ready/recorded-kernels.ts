import { createCropMaker } from "../../dino/batches/crop-maker.js";
import { resolveConfig } from "../../dino/config/resolve.js";
import type { PartialConfig } from "../../dino/config/settings.js";
import { officialAugmentation } from "../../dino/images/augment.js";
import type { Peers } from "../../dino/training/collectives.js";
import { createTraining } from "../../dino/training/create-training.js";
import { withChoices } from "../../engine/core/kernel-choice.js";
import {
  attentionProbabilities,
  type Device,
  dryRun,
  fill,
  gradients,
  input,
  type Program,
  record,
  type Tensor,
} from "../../engine/index.js";
import type { OpRow } from "../engine/ops/check-op.js";
import { halfRows, matrixRows, rows } from "../engine/ops/op-table.js";
import { withMethods } from "../support/changed-device.js";
import { inProcess } from "../support/in-process.js";

/** A kernel and the constants that a program gives it. */
export interface KernelUse {
  readonly file: string;
  readonly constants: Readonly<Record<string, number>>;
}

type StepSettings = PartialConfig & { readonly peers?: Peers | undefined };

/** Settings of training steps that together use all of their kernels, at sizes of published models. */
const STEPS: readonly StepSettings[] = [
  { preset: "vit-s16", batch: 64 },
  { preset: "vit-s16", batch: 64, precision: "f16" },
  { preset: "vit-b8", batch: 8, precision: "f16", recompute: true, accumulate: 2 },
  { preset: "shapes" },
  { preset: "shapes", optimizer: "lars", centering: "sinkhorn", koleo: 0.1, registers: 4 },
  { preset: "shapes", optimizer: "sgd", peers: inProcess(2)[0], compressGradients: true },
  { method: "dinov2", patchSize: 14, localSize: { rows: 98, cols: 98 }, registers: 4, batch: 64, precision: "f16" },
  { method: "dinov2", preset: "shapes", ffn: "packed-swiglu", centering: "sinkhorn", separateHead: true },
];

/** Kernels that `Program.check` adds to a program when it runs. */
const CHECKS: readonly KernelUse[] = [
  { file: "nonfinite", constants: {} },
  { file: "nonfinite-f16", constants: { ODD: 0 } },
  { file: "nonfinite-f16", constants: { ODD: 1 } },
];

/**
 * Returns the kernels that a device runs, by file and constants: in the table of operations, computed in every way that `dino tune`
 * may choose, in training steps, and where crops and pictures are made. Nothing is allocated or computed.
 */
export async function recordedKernels(device: Device): Promise<readonly KernelUse[]> {
  const found = new Map(CHECKS.map((use) => [JSON.stringify(use), use]));
  const { device: dry } = dryRun(device);
  const collecting = withMethods(dry, {
    createComputePipelineAsync({ label, compute: { constants } }) {
      const use: KernelUse = { file: label!, constants: { ...constants } };
      found.set(JSON.stringify(use), use);
      return Promise.resolve({} as GPUComputePipeline);
    },
  });
  for (const row of [...rows, ...halfRows, ...matrixRows]) await inEveryWay(collecting, (on) => recordShapes(on, row));
  for (const settings of STEPS) await recordStep(collecting, settings);
  await recordCrops(collecting);
  await record(collecting, () => ({ seen: attentionProbabilities(fill([1, 197, 3 * 384], 0), 6, 1) }));
  return [...found.values()];
}

type Recorded = Pick<Program, "decisions">;

/** Records a program by the rules, then once more for each other way to compute something. */
async function inEveryWay(device: Device, recorded: (device: Device) => Promise<Recorded>): Promise<void> {
  const { decisions } = await recorded(device);
  for (const way of new Set(decisions.flatMap(({ ways }) => ways))) {
    const others = decisions.filter((decision) => decision.ways.includes(way) && decision.way !== way);
    if (others.length > 0)
      await recorded(withChoices(device, Object.fromEntries(others.map(({ what }) => [what, way]))));
  }
}

/** Records a row and its gradients, by the shapes of its inputs. */
export function recordShapes(device: Device, row: OpRow): Promise<Recorded> {
  const inputs = row.inputs.map((shape) => input(device, shape));
  const trained = inputs.filter((_, i) => !row.fixed?.includes(i));
  return record(device, () => {
    const y = row.gpu(...inputs);
    const found = gradients(y, fill(y.shape, 1), trained);
    return { y, ...Object.fromEntries(found.map((x, i): [string, Tensor] => [`gradient ${i}`, x!])) };
  });
}

async function recordStep(device: Device, { peers, ...settings }: StepSettings): Promise<void> {
  const config = resolveConfig(settings);
  await createTraining(device, config, { peers });
}

async function recordCrops(device: Device): Promise<void> {
  const { mean, std } = officialAugmentation;
  const groups = [224, 96].map((side) => ({ crops: 2, out: input(device, [2 * 64, 3, side, side]) }));
  const pictures = { pictures: 64, pixelsPerPicture: 500 * 375 };
  await createCropMaker(device, { ...pictures, groups, mean, std });
  const of13 = [{ crops: 2, out: input(device, [2 * 64, 13, 224, 224]) }];
  const normalization = { mean: new Array<number>(13).fill(0.5), std: new Array<number>(13).fill(0.25) };
  await createCropMaker(device, { ...pictures, groups: of13, isRgb: false, ...normalization });
}
