/**
 * Opens devices under Node, through Dawn.
 * @module dino-webgpu/engine/node
 */
import { readFileSync, readdirSync } from "node:fs";
import { createDevice, type Device, type DeviceOptions } from "../core/device.js";
import { type AdapterOptions, chooseAdapter } from "./adapter.js";
import { checkKernels, hashOfKernels, readVerdict, verdictPath, withoutFaulty, writeVerdict } from "./kernel-check.js";
import { limitPolling } from "./polling.js";
import { readChoices, tunedPath } from "./tuned.js";

export { type AdapterChoice, type AdapterOptions, chooseAdapter, type Preference } from "./adapter.js";
export { type AdapterKind, type KernelSet, type SubgroupMatrixConfig, subgroupMatrixConfigs } from "../core/device.js";
export { cacheFolder } from "./cache-folder.js";
export { forgetChoices, readChoices, tunedPath, writeChoices } from "./tuned.js";

/**
 * Opens the best adapter of this machine under Node (see `chooseAdapter`). `prefer` or the variable `DINO_ADAPTER` requests
 * another kind, `index` one of several adapters. Kernels default to the fastest that `dino tune` measured; `choices` override
 * them. The variable `DINO_PATIENCE` sets the timeout, in seconds. The first device of an adapter is checked, see
 * `checkKernels`; capabilities that fail are not used, and `faults` of the device describes them. Dispose of the device to free
 * its memory; an open device does not keep the process alive.
 */
export async function openDevice(options: OpenOptions = {}): Promise<Device> {
  const device = await openUnchecked(options);
  const isPlain = !device.features.has("shader-f16") && !device.matricesOf8;
  if (isPlain || device.adapterKind === "null") return device;
  const path = verdictPath(device);
  const kernels = hashOfKernels(shaderNames().map(readShader));
  const known = await readVerdict(path, kernels);
  if (known) return withoutFaulty(device, known);
  const verdict = await checkKernels(device);
  await writeVerdict(path, kernels, verdict);
  if (!device.failure()) return withoutFaulty(device, verdict);
  device[Symbol.dispose]();
  return withoutFaulty(await openUnchecked(options), verdict);
}

/** Options of `openDevice`. */
export type OpenOptions = AdapterOptions & Omit<DeviceOptions, "shaders">;

async function openUnchecked(options: OpenOptions): Promise<Device> {
  const { adapter, kind, name } = await chooseAdapter(options);
  if (kind !== "gpu") limitPolling();
  const choices = options.choices ?? readChoices(tunedPath(name));
  const patienceMs = options.patienceMs ?? parsePatience(process.env.DINO_PATIENCE);
  return createDevice(adapter, { shaders: readShader, ...options, choices, ...(patienceMs && { patienceMs }) });
}

/** Parses `DINO_PATIENCE`, in seconds, to milliseconds. Throws unless it is a number above 0. */
function parsePatience(variable: string | undefined): number | undefined {
  if (variable === undefined || variable === "") return undefined;
  const seconds = Number(variable);
  if (seconds > 0 && seconds <= 2_000_000) return 1000 * seconds; // timers are limited to 2^31 ms
  throw new Error(`DINO_PATIENCE=${variable}: expected seconds above 0, at most 2000000`);
}

const SHADERS = new URL("../../shaders/", import.meta.url);

/** Reads the source of `shaders/NAME.wgsl`. Throws if there is no such file. */
export function readShader(name: string): string {
  try {
    return readFileSync(new URL(`${name}.wgsl`, SHADERS), "utf8");
  } catch (error) {
    throw new Error(`shaders/${name}.wgsl does not exist; there are ${shaderNames().join(", ")}`, { cause: error });
  }
}

function shaderNames(): readonly string[] {
  return readdirSync(SHADERS).flatMap((file) => /^(.*)\.wgsl$/.exec(file)?.[1] ?? []);
}
