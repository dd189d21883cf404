/** A run's profile.json: kernel times of one step. */
import type { KernelTime } from "../../engine/index.js";

/** Contents of the file. */
export interface StepProfile {
  /** The profiled step. */
  readonly step: number;
  readonly device: string;
  /** Kernels by decreasing time. */
  readonly kernels: readonly KernelTime[];
}
