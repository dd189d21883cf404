/** profile.json of a run: how long the kernels of one of its steps took. */
import type { KernelTime } from "../../engine/index.js";

/** What the file holds. */
export interface StepProfile {
  /** The step that was timed. */
  readonly step: number;
  readonly device: string;
  /** The costliest first. */
  readonly kernels: readonly KernelTime[];
}
