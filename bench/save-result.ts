import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { KernelTime } from "../engine/index.js";
import type { PeerResult } from "./against.js";
import type { Billion } from "./billion.js";
import type { Origin } from "./figures/origin.js";
import type { Measured } from "./measure.js";
import type { PeerComparison } from "./peers/compare.js";
import type { RankResult } from "./ranks/command.js";
import type { Soak } from "./soak.js";
import type { Scaled } from "./steps/scaling.js";
import type { StepSize } from "./steps/step.js";

/** Contents of a results file: the latest result of each comparison on a device, with its origin. */
export interface DeviceResults {
  readonly device: string;
  /** PyTorch in f32, in tf32 and in mixed precision. */
  readonly torch?: TorchComparison;
  readonly "torch-tf32"?: TorchComparison;
  readonly "torch-amp"?: TorchComparison;
  readonly peers?: Origin & PeerComparison;
  readonly soak?: Origin & Soak;
  readonly billion?: Origin & Billion;
  readonly ranks?: Origin & RankResult;
  readonly scaling?: Origin & { readonly base: StepSize; readonly axes: readonly Scaled[] };
}

export type TorchComparison = Origin & {
  readonly ours: readonly Measured[];
  /** Time of each of our kernels in a training step, like `theirs.profile` for operators. */
  readonly profile: readonly KernelTime[];
  readonly theirs: PeerResult;
};

const RESULTS = fileURLToPath(new URL("./results/", import.meta.url));

/** Returns the path of a device's results file. */
export function resultsPath(device: string, { prefix = "", folder = RESULTS } = {}): string {
  const stem = device.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-");
  return join(folder, `${prefix}${stem.replace(/^-|-$/g, "")}.json`);
}

/** Saves a comparison in `DEVICE.json`, next to the other ones; returns the path. */
export async function saveResult(result: DeviceResults, folder = RESULTS): Promise<string> {
  await mkdir(folder, { recursive: true });
  const path = resultsPath(result.device, { folder });
  const previous = existsSync(path) ? (JSON.parse(await readFile(path, "utf8")) as DeviceResults) : {};
  await writeFile(path, `${JSON.stringify({ ...previous, ...result }, undefined, 2)}\n`);
  return path;
}
