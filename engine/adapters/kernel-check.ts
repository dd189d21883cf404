/** Check, on the first use of an adapter, of what drivers get wrong most often: 16-bit floats and tensor cores. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Device } from "../core/device.js";
import { withChoices } from "../core/kernel-choice.js";
import { input, type Input } from "../core/memory.js";
import { evaluate } from "../core/program.js";
import type { Precision, Tensor } from "../core/tensor.js";
import { gradients } from "../gradients/gradients.js";
import { add } from "../ops/add.js";
import { attention } from "../ops/attention.js";
import { gelu } from "../ops/gelu.js";
import { layernorm } from "../ops/layernorm.js";
import { linear } from "../ops/matmul.js";
import { adapterFile, cacheFolder, writeCacheFile } from "./cache-folder.js";

/** A capability that is checked; tensor cores include the 8 x 8 matrices of Apple's GPUs. */
type Capability = "f16" | "tensorCores";

/** What is wrong with a capability, in words; capabilities without an entry passed or do not exist. */
export type Verdict = Readonly<Partial<Record<Capability, string>>>;

/**
 * Runs a transformer block and its gradients in f16, without and with tensor cores, and compares them with the plain f32
 * kernels of the same adapter.
 */
export async function checkKernels(device: Device): Promise<Verdict> {
  const hasF16 = device.features.has("shader-f16");
  const withoutMatrices = { ...device, tensorCores: false, matricesOf8: false };
  const plain = withChoices({ ...withoutMatrices, kernels: "cpu" }, {});
  const runs = [
    ...(hasF16 ? [{ capability: "f16", on: withoutMatrices, precision: "f16" } as const] : []),
    ...(device.tensorCores ? [{ capability: "tensorCores", on: device, precision: "f16" } as const] : []),
    ...(device.matricesOf8 ? [{ capability: "tensorCores", on: device, precision: "f32" } as const] : []),
  ];
  const verdict: Partial<Record<Capability, string>> = {};
  if (runs.length === 0) return verdict;
  const expected = await runBlock(plain, "f32");
  for (const { capability, on, precision } of runs) {
    const fault = await runBlock(on, precision).then(
      (found) => compare(found, expected),
      (error: unknown) => (error instanceof Error ? error.message : String(error)),
    );
    if (fault !== undefined) verdict[capability] ??= fault;
  }
  return verdict;
}

/** Returns the device without capabilities that failed, and with a sentence about each. */
export function withoutFaulty(device: Device, verdict: Verdict): Device {
  if (verdict.f16 === undefined && verdict.tensorCores === undefined) return device;
  const f16 = device.features.has("shader-f16") && verdict.f16 === undefined;
  const features = new Set([...device.features].filter((feature) => f16 || feature !== "shader-f16"));
  const sound = verdict.tensorCores === undefined;
  const tensorCores = device.tensorCores && f16 && sound;
  const matricesOf8 = device.matricesOf8 && sound;
  return { ...device, features, tensorCores, matricesOf8, faults: describeFaults(verdict) };
}

function describeFaults({ f16, tensorCores }: Verdict): readonly string[] {
  const unused = "they are not used";
  return [
    ...(f16 === undefined ? [] : [`16-bit floats give wrong results, so ${unused}: ${f16}`]),
    ...(tensorCores === undefined ? [] : [`tensor cores give wrong results, so ${unused}: ${tensorCores}`]),
  ];
}

/** Reads the verdict of these kernels on an adapter; undefined if there is none. */
export async function readVerdict(path: string, kernels: string): Promise<Verdict | undefined> {
  try {
    const kept = JSON.parse(await readFile(path, "utf8")) as { readonly kernels?: string; readonly verdict?: Verdict };
    return kept.kernels === kernels ? kept.verdict : undefined;
  } catch {
    return undefined; // missing or damaged: checked again
  }
}

export function writeVerdict(path: string, kernels: string, verdict: Verdict): Promise<void> {
  return writeCacheFile(path, { kernels, verdict });
}

/** Returns the path of the verdict on an adapter, whose name includes the driver version: `checked/ADAPTER.json` in the cache. */
export function verdictPath({ name, kernels }: Pick<Device, "name" | "kernels">, cache = cacheFolder()): string {
  return adapterFile("checked", `${name} ${kernels}`, cache);
}

/** Returns a hash of shader sources: other kernels need another check. */
export function hashOfKernels(sources: Iterable<string>): string {
  const hash = createHash("sha256");
  for (const source of sources) hash.update(source);
  return hash.digest("hex");
}

const SHAPE = { batch: 3, tokens: 50, dim: 128, heads: 2, hidden: 160 } as const;
type Values = Readonly<Record<string, Float32Array>>;

/** Runs a transformer block with branches of a precision on fixed values; returns its result and gradients. */
async function runBlock(device: Device, precision: Precision): Promise<Values> {
  const { batch, tokens, dim, heads, hidden } = SHAPE;
  const owned: Input[] = [];
  const fixed = (shape: readonly number[], scale: number): Input => {
    const x = input(device, shape);
    const seed = owned.push(x);
    const size = shape.reduce((product, axis) => product * axis, 1);
    // multiples of 2^-9 below 2, exact in f16
    x.write(Float32Array.from({ length: size }, (_, i) => (scale * (((i + seed) * 40503) % 1021)) / 512 - scale));
    return x;
  };
  try {
    const x = fixed([batch, tokens, dim], 1);
    const [gain, bias] = [fixed([dim], 1), fixed([dim], 0.5)];
    const [qkv, inner, outer] = [
      fixed([3 * dim, dim], 0.125),
      fixed([hidden, dim], 0.125),
      fixed([dim, hidden], 0.125),
    ];
    const dy = fixed([batch, tokens, dim], 1);
    const wrt = { x, gain, bias, qkv, inner, outer };
    return await evaluate(device, () => {
      const normalized = (rows: Tensor): Tensor => layernorm(rows, gain, bias, { precision });
      const attended = add(x, attention(linear(normalized(x), qkv), heads));
      const y = add(attended, linear(gelu(linear(normalized(attended), inner)), outer));
      const found = gradients(y, dy, Object.values(wrt));
      const outputs: Record<string, Tensor> = { "the result": y };
      Object.keys(wrt).forEach((name, i) => (outputs[`the gradient of ${name}`] = found[i]!));
      return outputs;
    });
  } finally {
    for (const each of owned) each[Symbol.dispose]();
  }
}

/** Norm of the error relative to the norm of the expected values; f16 rounding gives about 0.002 here. */
const TOLERANCE = 0.02;

/** Returns what is wrong; undefined if results agree. */
function compare(found: Values, expected: Values): string | undefined {
  for (const [name, values] of Object.entries(expected)) {
    const error = Math.hypot(...values.map((value, i) => found[name]![i]! - value)) / Math.hypot(...values);
    if (!(error <= TOLERANCE))
      return `${name} of a transformer block differs from that in f32 by ${(100 * error).toPrecision(2)} %`;
  }
  return undefined;
}
