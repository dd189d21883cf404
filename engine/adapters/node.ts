/**
 * Opens devices under Node, by way of Dawn.
 * @module dino-webgpu/engine/node
 */
import { readFileSync, readdirSync } from "node:fs";
import { createDevice, type Device, type DeviceOptions } from "../core/device.js";
import { type AdapterOptions, chooseAdapter } from "./adapter.js";
import { limitPolling } from "./polling.js";
import { readChoices, tunedPath } from "./tuned.js";

export { type AdapterChoice, type AdapterOptions, chooseAdapter, type Preference } from "./adapter.js";
export { type AdapterKind, type KernelSet, type SubgroupMatrixConfig, subgroupMatrixConfigs } from "../core/device.js";
export { cacheFolder } from "./cache-folder.js";
export { forgetChoices, readChoices, tunedPath, writeChoices } from "./tuned.js";

/**
 * Opens the best adapter of this machine under Node (see `chooseAdapter`); `prefer` or the variable `DINO_ADAPTER` asks for
 * another one, `index` for one of several alike, the other options say what to make of it. Kernels are those that `dino tune` found the fastest there, unless
 * `choices` say otherwise; the variable `DINO_PATIENCE` says how many seconds it may be silent. Dispose of it to free its
 * memory; a process that forgets still ends.
 */
export async function openDevice(options: AdapterOptions & Omit<DeviceOptions, "shaders"> = {}): Promise<Device> {
  const { adapter, kind, name } = await chooseAdapter(options);
  if (kind !== "gpu") limitPolling();
  const choices = options.choices ?? readChoices(tunedPath(name));
  const patienceMs = options.patienceMs ?? parsePatience(process.env.DINO_PATIENCE);
  return createDevice(adapter, { shaders: readShader, ...options, choices, ...(patienceMs && { patienceMs }) });
}

/** Reads `DINO_PATIENCE`, seconds, as milliseconds; throws for a value that is no number above 0. */
function parsePatience(variable: string | undefined): number | undefined {
  if (variable === undefined || variable === "") return undefined;
  const seconds = Number(variable);
  if (seconds > 0 && seconds <= 2_000_000) return 1000 * seconds; // timers count to 2^31 ms
  throw new Error(`DINO_PATIENCE=${variable}: expected seconds above 0, at most 2000000`);
}

const SHADERS = new URL("../../shaders/", import.meta.url);

/** Text of `shaders/NAME.wgsl`; throws where there is no such file. */
export function readShader(name: string): string {
  try {
    return readFileSync(new URL(`${name}.wgsl`, SHADERS), "utf8");
  } catch (error) {
    const known = readdirSync(SHADERS).flatMap((file) => /^(.*)\.wgsl$/.exec(file)?.[1] ?? []);
    throw new Error(`shaders/${name}.wgsl does not exist; there are ${known.join(", ")}`, { cause: error });
  }
}
