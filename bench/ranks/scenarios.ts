/** Predictions for clusters of GPUs: step time and efficiency. */
import type { Sized } from "../steps/scaling.js";
import { STEP_SIZE } from "../steps/step.js";
import { type Cluster, flatRing, twoLevels } from "./collectives.js";
import type { ConstantName } from "./constants.js";
import { rankStep, type Sending, type StepTime, stepTime } from "./step-time.js";

/** The values of the constants. */
export type Values = Readonly<Record<ConstantName, number>>;

/** The networks of the paper with patches of 16, and the official head and crops. */
export const models = {
  "ViT-S/16": { ...STEP_SIZE.gpu, depth: 12 },
  "ViT-B/16": { ...STEP_SIZE.gpu, depth: 12, dim: 768 },
} as const satisfies Record<string, Omit<Sized, "batch">>;

export type ModelName = keyof typeof models;
export const modelNames = Object.keys(models) as ModelName[];

/** Numbers of GPUs: one, a machine, 8 machines, and 64 machines. */
export const GPUS = [1, 8, 64, 512] as const;

/** Ways to send gradients: in one piece after the backward, in pieces during it, or in pieces of half the bytes. */
const sendings = {
  "one piece": { pieceBytes: Infinity, valueBytes: 4 },
  pieces: { pieceBytes: 2 ** 24, valueBytes: 4 },
  "pieces, f16": { pieceBytes: 2 ** 24, valueBytes: 2 },
} as const satisfies Record<string, Sending>;

export type SendingName = keyof typeof sendings;
export const sendingNames = Object.keys(sendings) as SendingName[];

/** A case to predict. */
export interface Scenario {
  readonly model: ModelName;
  readonly gpus: number;
  readonly sending: SendingName;
  /** Uses one ring over all GPUs instead of two levels. */
  readonly flat?: boolean;
}

/** Returns the cluster for a number of GPUs; treats the last machine as full. */
function clusterOf(values: Values, gpus: number): Cluster {
  const ranksPerMachine = Math.min(gpus, values.gpusPerMachine);
  return {
    machines: Math.ceil(gpus / ranksPerMachine),
    ranksPerMachine,
    within: {
      latencyS: 1e-6 * values.sharedUs,
      sPerByte: 1e-9 / values.sharedGB,
      addSPerByte: 1e-9 / values.sharedAddGB,
    },
    between: {
      latencyS: 1e-6 * values.networkUs,
      sPerByte: 8e-9 / values.networkGbit,
      addSPerByte: 1e-9 / values.networkAddGB,
    },
  };
}

/** Predicts the time of a step. f16 values are added at the rate of f32 values. */
export function timeOf(values: Values, { model, gpus, sending, flat = false }: Scenario): StepTime {
  const step = rankStep(
    { ...models[model], batch: values.images },
    { flopPerS: 1e12 * values.tflops, bytesPerS: 1e12 * values.memoryTB },
  );
  const { valueBytes } = sendings[sending];
  const cluster = clusterOf(values, gpus);
  const slower = (link: Cluster["within"]) => ({ ...link, addSPerByte: (link.addSPerByte * 4) / valueBytes });
  const adding = { ...cluster, within: slower(cluster.within), between: slower(cluster.between) };
  const sum = (bytes: number) => 1e-6 * values.callUs + (flat ? flatRing : twoLevels)(adding, bytes);
  const cross = (bytes: number) => 1e-6 * values.crossingUs + (1e-9 * bytes) / values.hostLinkGB;
  return stepTime(step, sendings[sending], gpus === 1 ? undefined : { readBack: cross, sum, upload: cross });
}

/** Returns the time of a step on one GPU over that on many, with the same number of images per GPU. */
export function efficiency(values: Values, scenario: Scenario): number {
  return timeOf(values, { ...scenario, gpus: 1 }).seconds / timeOf(values, scenario).seconds;
}

/** Whether a GPU waits for the others longer than it works. */
export function isDominated(values: Values, scenario: Scenario): boolean {
  const { seconds, waitS } = timeOf(values, scenario);
  return waitS > seconds / 2;
}

/** Returns the minimum images per GPU with which it works at least as long as it waits; undefined if a million are too few. */
export function leastImages(values: Values, scenario: Scenario): number | undefined {
  const MAX_IMAGES = 2 ** 20;
  const enough = (images: number) => !isDominated({ ...values, images }, scenario);
  if (!enough(MAX_IMAGES)) return undefined;
  let [low, high] = [0, MAX_IMAGES];
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (enough(middle)) high = middle;
    else low = middle;
  }
  return high;
}
