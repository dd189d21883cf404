import { formatMiB } from "../../dino/files/text.js";
import { openDevice } from "../../engine/adapters/node.js";
import { dryRun, type RecordedDispatch } from "../../engine/index.js";
import { createNetworks, type StepSize } from "./step.js";

/** Device memory of a training step, and its dispatches. */
export interface StepPlan {
  /** Weights, teacher, optimizer state and crops. */
  readonly residentBytes: number;
  /** Activations and gradients: the planned buffers, and the peak of live bytes, a lower bound for any plan. */
  readonly plannedBytes: number;
  readonly leastBytes: number;
  readonly recorded: readonly RecordedDispatch[];
}

/** Plans a step of any size in a dry run, which allocates nothing, on a device with tensor cores. */
export async function planStep(size: StepSize): Promise<StepPlan> {
  using nullDevice = await openDevice({ prefer: "null" });
  const { device, bytes } = dryRun({ ...nullDevice, tensorCores: true });
  using made = await createNetworks(device, size);
  const { program } = made.step;
  const { bytes: plannedBytes, lowerBoundBytes: leastBytes } = program;
  return { residentBytes: bytes() - plannedBytes, plannedBytes, leastBytes, recorded: program.recorded() };
}

/** Describes the memory of a ViT-S/16 step, with and without the options that save memory, one per line. */
export async function describePlans({ accumulate = 1, ...step }: StepSize): Promise<readonly string[]> {
  const { batch, globalSize, localSize, prototypes, precision = "f32" } = step;
  const lines = [
    `ViT-S/16, ${batch} images, crops of 2 x ${globalSize} and 8 x ${localSize} pixels, ${prototypes} prototypes, ${precision}`,
  ];
  for (const parts of new Set([1, accumulate])) {
    for (const recompute of [false, true]) {
      const size = { ...step, accumulate: parts, recompute };
      const plan = await planStep(size);
      if (lines.length === 1) lines.push(row("weights, optimizer, crops", formatMiB(plan.residentBytes, Math.round)));
      const flags = savingFlags(size).join(" ") || "a step";
      lines.push(row(flags, `${describeMemory(plan)}, ${plan.recorded.length} dispatches`));
    }
  }
  return lines;
}

const row = (name: string, value: string) => `  ${name.padEnd(30)}${value}`;

export function describeMemory({ plannedBytes, leastBytes }: Pick<StepPlan, "plannedBytes" | "leastBytes">): string {
  return `${formatMiB(plannedBytes, Math.round)}, ${(plannedBytes / leastBytes).toFixed(2)} x the least`;
}

/** The flags by which a step saves memory. */
export function savingFlags({ accumulate = 1, recompute = false }: StepSize): string[] {
  return [...(accumulate > 1 ? [`--accumulate ${accumulate}`] : []), ...(recompute ? ["--recompute"] : [])];
}
