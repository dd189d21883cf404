/** profile.json of a run: how long the kernels of one of its steps took. */
import type { Device, KernelTime } from "../../engine/index.js";
import type { TrainingStep } from "../step.js";

/** What the file holds. */
export interface StepProfile {
  /** The step that was timed. */
  readonly step: number;
  readonly device: string;
  /** The costliest first. */
  readonly kernels: readonly KernelTime[];
}

/** Takes a training step as `program.run()` does, with the same bytes, while it times its kernels. */
export async function runProfiled({ program }: TrainingStep, device: Device, step: number): Promise<StepProfile> {
  return { step, device: device.name, kernels: await program.profile() };
}
