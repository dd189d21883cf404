import { formatMiB } from "../../dino/files/text.js";
import { openDevice } from "../../engine/adapters/node.js";
import { dryRun } from "../../engine/index.js";
import { createNetworks, type StepSize } from "./step.js";

/** Device memory of a training step. */
export interface StepMemory {
  /** Weights, teacher, optimizer state and crops. */
  readonly residentBytes: number;
  /** Activations and gradients: the planned buffers, and the peak of live bytes, a lower bound for any plan. */
  readonly plannedBytes: number;
  readonly leastBytes: number;
  readonly dispatches: number;
}

/** ViT-S/16 with the official crops and head. */
const VIT_S16 = { globalSize: 224, localSize: 96, dim: 384, prototypes: 65536 } as const;

/** Plans a step of any size in a dry run, which allocates nothing. */
export async function planStep(size: StepSize): Promise<StepMemory> {
  using nullDevice = await openDevice({ prefer: "null" });
  const { device, bytes } = dryRun(nullDevice);
  using made = await createNetworks(device, size);
  const { bytes: plannedBytes, lowerBoundBytes: leastBytes, dispatches } = made.step.program;
  return { residentBytes: bytes() - plannedBytes, plannedBytes, leastBytes, dispatches };
}

/** Describes the memory of a ViT-S/16 step, with and without the options that save memory, one per line. */
export async function describePlans({
  batch,
  accumulate,
}: Pick<Required<StepSize>, "batch" | "accumulate">): Promise<readonly string[]> {
  const { globalSize, localSize, prototypes } = VIT_S16;
  const lines = [
    `ViT-S/16, ${batch} images, crops of 2 x ${globalSize} and 8 x ${localSize} pixels, ${prototypes} prototypes`,
  ];
  for (const parts of new Set([1, accumulate])) {
    for (const recompute of [false, true]) {
      const size = { ...VIT_S16, batch, accumulate: parts, recompute };
      const plan = await planStep(size);
      if (lines.length === 1) lines.push(row("weights, optimizer, crops", formatMiB(plan.residentBytes, Math.round)));
      const flags = savingFlags(size).join(" ") || "a step";
      lines.push(row(flags, `${describeMemory(plan)}, ${plan.dispatches} dispatches`));
    }
  }
  return lines;
}

const row = (name: string, value: string) => `  ${name.padEnd(30)}${value}`;

export function describeMemory({ plannedBytes, leastBytes }: Pick<StepMemory, "plannedBytes" | "leastBytes">): string {
  return `${formatMiB(plannedBytes, Math.round)}, ${(plannedBytes / leastBytes).toFixed(2)} x the least`;
}

/** The flags by which a step saves memory. */
export function savingFlags({ accumulate = 1, recompute = false }: StepSize): string[] {
  return [...(accumulate > 1 ? [`--accumulate ${accumulate}`] : []), ...(recompute ? ["--recompute"] : [])];
}
