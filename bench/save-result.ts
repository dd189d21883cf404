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

/** What is kept of a device: each comparison's latest result, with where it came from. */
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
  /** What each of our kernels has of a training step, as `theirs` has of operators. */
  readonly profile: readonly KernelTime[];
  readonly theirs: PeerResult;
};

const RESULTS = fileURLToPath(new URL("./results/", import.meta.url));

/** The file in which a device's results are kept. */
export function resultsPath(device: string, { prefix = "", folder = RESULTS } = {}): string {
  const stem = device.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-");
  return join(folder, `${prefix}${stem.replace(/^-|-$/g, "")}.json`);
}

/** Puts a comparison into `DEVICE.json` beside what else is kept there; returns the path. */
export async function saveResult(result: DeviceResults, folder = RESULTS): Promise<string> {
  await mkdir(folder, { recursive: true });
  const path = resultsPath(result.device, { folder });
  const before = existsSync(path) ? (JSON.parse(await readFile(path, "utf8")) as DeviceResults) : {};
  await writeFile(path, `${JSON.stringify({ ...before, ...result }, undefined, 2)}\n`);
  return path;
}
