import type { TrainingStep } from "./step.js";
import type { Device } from "../../engine/index.js";
import type { StepProfile } from "../run/step-profile.js";

/** Takes a training step as `program.run()` does, with the same bytes, while it times its kernels. */
export async function runProfiled({ program }: TrainingStep, device: Device, step: number): Promise<StepProfile> {
  return { step, device: device.name, kernels: await program.profile() };
}
