/** Planning of a step's device memory, and advice on reducing it. */
import { type Device, dryRun } from "../../engine/index.js";
import type { Choice } from "../config/auto.js";
import { backboneSize } from "../config/derive.js";
import type { Config, PartialConfig } from "../config/settings.js";
import { formatMiB } from "../files/text.js";
import { createTraining } from "./create-training.js";

/** Memory of a training step, in bytes. */
export interface StepMemory {
  /** Weights, teacher, optimizer state and crops. */
  readonly residentBytes: number;
  /** Activations and gradients. */
  readonly plannedBytes: number;
}

/** Plans the step of a run in a dry run, without allocating device memory. */
export async function planMemory(device: Device, config: Config): Promise<StepMemory> {
  const dry = dryRun(device);
  using training = await createTraining(dry.device, config);
  const { bytes: plannedBytes } = training.step.program;
  return { residentBytes: dry.bytes() - plannedBytes, plannedBytes };
}

/**
 * Returns settings with which a step fits into `bytes` besides the weights, with the reason: blocks computed again, then the first
 * half of them frozen too; undefined if it fits as it is. Settings in `explicit` stay.
 */
export async function fitStep(
  device: Device,
  config: Config,
  { bytes, explicit }: { readonly bytes: number; readonly explicit: PartialConfig },
): Promise<Choice | undefined> {
  const again = explicit.recompute === undefined ? { recompute: true } : {};
  const half = Math.floor(backboneSize(config).depth / 2);
  const frozen = explicit.freezeBlocks === undefined ? { freezeBlocks: half } : {};
  let settings = {};
  let planned = (await planMemory(device, config)).plannedBytes;
  for (const more of [again, { ...again, ...frozen }]) {
    if (planned <= bytes) break;
    settings = more;
    planned = (await planMemory(device, { ...config, ...more })).plannedBytes;
  }
  if (Object.keys(settings).length === 0) return undefined;
  return { settings, because: `a step then takes ${formatMiB(planned)} of the ${formatMiB(bytes)} it may take` };
}

/** Describes the memory of a run's step and the flags that reduce it, the cheapest first. */
export async function adviseOnMemory(device: Device, config: Config): Promise<string> {
  const { residentBytes, plannedBytes } = await planMemory(device, config);
  const alternatives = [];
  for (const [flags, changes] of savings(config)) {
    const plan = await planMemory(device, { ...config, ...changes });
    const bytes = plan.residentBytes + plan.plannedBytes;
    if (bytes < residentBytes + plannedBytes) alternatives.push(`${flags} ${formatMiB(bytes)}`);
  }
  const whole = `a step takes ${formatMiB(residentBytes + plannedBytes)}, ${formatMiB(residentBytes)} of them for weights, optimizer and crops`;
  if (alternatives.length === 0) return `${whole}; a smaller --arch, --out-dim or --image-size takes less`;
  return `${whole}; it takes with ${alternatives.join(", with ")}`;
}

/** Lists flags that reduce memory. None changes a result beyond rounding, except the smaller batch. */
function savings(config: Config): readonly (readonly [string, Partial<Config>])[] {
  const parts = [4, 2].map((times) => config.accumulate * times).find((count) => config.batch % count === 0);
  const recompute = config.recompute ? [] : [["--recompute", { recompute: true }] as const];
  const accumulate = parts === undefined ? [] : [[`--accumulate ${parts}`, { accumulate: parts }] as const];
  const both = recompute.flatMap(([flag, on]) =>
    accumulate.map(([other, divided]) => [`${flag} ${other}`, { ...on, ...divided }] as const),
  );
  const half = config.batch / 2;
  const fewer = half >= 1 && half % config.accumulate === 0 ? [[`--batch ${half}`, { batch: half }] as const] : [];
  return [...recompute, ...accumulate, ...both, ...fewer];
}
