/** Profiling of a step. */
import type { Device } from "../../engine/index.js";
import type { StepProfile } from "../run/step-profile.js";
import type { TrainingStep } from "./step-inputs.js";

/** Runs a step like `program.run()`, with the same result, and times its kernels. */
export async function runProfiled({ program }: TrainingStep, device: Device, step: number): Promise<StepProfile> {
  return { step, device: device.name, kernels: await program.profile() };
}
