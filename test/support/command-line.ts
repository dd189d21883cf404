/** Runs the command line as a process, and makes its inputs: image folders, tiny trainings and checkpoints. */
import { spawn } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import { resolveConfig } from "../../dino/config/resolve.js";
import type { Config, PartialConfig } from "../../dino/config/settings.js";
import { writeFeatures } from "../../dino/evaluation/feature-files.js";
import { rng } from "../../dino/math/random.js";
import { networkConfig } from "../../dino/model/configure.js";
import { bufferSpecs, initialValues, networkSpecs } from "../../dino/model/network.js";
import { writeCheckpoint } from "../../dino/weights/checkpoint.js";
import { compiledLauncher, sourceLauncher } from "./compiled-program.js";

/** A process that has ended. */
export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the compiled `dino` with arguments. */
export function dino(...args: readonly string[]): Promise<Finished> {
  return finished(compiledLauncher(), args);
}

/** Runs the compiled `dino` with environment variables. */
export function dinoIn(environment: Readonly<Record<string, string>>, ...args: readonly string[]): Promise<Finished> {
  return finished(compiledLauncher(), args, environment);
}

/** Runs `dino` from the sources, with the pages of this checkout. */
export function dinoFromSources(...args: readonly string[]): Promise<Finished> {
  return finished(sourceLauncher, args);
}

function finished(
  launcher: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, ...environment };
    const child = spawn(process.execPath, [launcher, ...args], { stdio: ["ignore", "pipe", "pipe"], env });
    const out = { stdout: "", stderr: "" };
    child.stdout.on("data", (chunk: Buffer) => (out.stdout += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (out.stderr += chunk.toString()));
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, ...out }));
  });
}

/** Writes images of two classes that differ in colour and stripes. */
export async function drawFolder(folder: string, count: number): Promise<void> {
  for (const [label, name] of ["red", "blue"].entries()) {
    await mkdir(join(folder, name), { recursive: true });
    for (let i = 0; i < count; i++) {
      const random = rng({ seed: label, index: i, purpose: "picture" });
      const [rows, cols] = [20 + random.integer(8), 20 + random.integer(8)];
      const pixels = Uint8Array.from({ length: rows * cols * 3 }, (_, at) => {
        const stripe = Math.floor(at / 3 / (label === 0 ? 3 : 3 * cols)) % 2 === 0 ? 1 : 0.6;
        return (at % 3 === 2 * label ? 200 : 30) * stripe + random.integer(20);
      });
      const picture = sharp(pixels, { raw: { width: cols, height: rows, channels: 3 } });
      await picture.png().toFile(join(folder, name, `${i}.png`));
    }
  }
}

/** Flags of a training of a few seconds. */
export const tiny = [
  ...["--patch-size", "8", "--image-size", "16", "--local-size", "8", "--dim", "16", "--depth", "1", "--heads", "2"],
  ...["--out-dim", "32", "--hidden-dim", "32", "--bottleneck-dim", "16", "--local-crops-number", "2", "--batch", "4"],
  ...["--warmup-epochs", "0", "--log-every", "2", "--threads", "1"],
];

/** Settings of a tiny network: 16 pixels, patches of 8. */
export const tinySettings = {
  imageSize: { rows: 16, cols: 16 },
  localSize: { rows: 8, cols: 8 },
  patchSize: 8,
  initStd: 0.2,
  dim: 16,
  depth: 1,
  heads: 2,
  outDim: 32,
  hiddenDim: 32,
  bottleneckDim: 16,
} as const satisfies PartialConfig;

/** Writes a checkpoint of an untrained network of `tinySettings`, unless other settings are given. */
export async function writeTinyCheckpoint(path: string, settings: PartialConfig = {}): Promise<Config> {
  const config = resolveConfig({ ...tinySettings, data: "builtin", ...settings });
  const network = networkConfig(config);
  const values = initialValues(network, config);
  const tensors = [...networkSpecs(network), ...bufferSpecs(network)].flatMap(({ name, shape }) =>
    ["", "student."].map((prefix) => [prefix + name, { shape, values: values.get(name)! }] as const),
  );
  const none = { sum: 0, count: 0 };
  const unlogged = { interval: none, epoch: none };
  await writeCheckpoint(path, { config, step: 0, unlogged, choices: {}, tensors: new Map(tensors) });
  return config;
}

/** Writes features as dino embed does: two numbers of each of 20 images, of two classes far apart. Returns the path. */
export async function writeTwoClasses(path: string): Promise<string> {
  const labels = Array.from({ length: 20 }, (_, i) => i % 2);
  const values = Float32Array.from(labels.flatMap((label, i) => [label === 0 ? 1 : -1, i / 40]));
  const files = labels.map((_, i) => `${i}.png`);
  const list = { data: "photos", checkpoint: "none", which: "teacher", files, labels, classes: ["a", "b"] } as const;
  await writeFeatures(path, {
    features: { values, rows: 20, dim: 2 },
    list: { ...list, classes: [...list.classes], failures: [] },
  });
  return path;
}
