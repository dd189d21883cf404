import { readFileSync, readdirSync } from "node:fs";
import { chooseAdapter, type Preference } from "./adapter.js";
import { createDevice, type Device, type DeviceOptions } from "./device.js";
import { readChoices, tunedPath } from "./tuned.js";

export { type AdapterChoice, chooseAdapter, type Preference } from "./adapter.js";
export { type AdapterKind, type KernelSet, subgroupMatrixConfigs } from "./device.js";
export { forgetChoices, readChoices, tunedPath, writeChoices } from "./tuned.js";

/**
 * Opens the best adapter of this machine under Node (see `chooseAdapter`); `prefer` or the variable `DINO_ADAPTER` asks for
 * another one, the other options say what to make of it. Kernels are those that `dino tune` found the fastest there, unless
 * `choices` say otherwise. Dispose of it to free its memory; a process that forgets still ends.
 */
export async function openDevice(
  options: { readonly prefer?: Preference } & Omit<DeviceOptions, "shaders"> = {},
): Promise<Device> {
  const { adapter, name } = await chooseAdapter(options);
  const choices = options.choices ?? readChoices(tunedPath(name));
  return createDevice(adapter, { shaders: readShader, ...options, choices });
}

const SHADERS = new URL("../shaders/", import.meta.url);

/** Text of `shaders/NAME.wgsl`; throws where there is no such file. */
export function readShader(name: string): string {
  try {
    return readFileSync(new URL(`${name}.wgsl`, SHADERS), "utf8");
  } catch (error) {
    const known = readdirSync(SHADERS).flatMap((file) => /^(.*)\.wgsl$/.exec(file)?.[1] ?? []);
    throw new Error(`shaders/${name}.wgsl does not exist; there are ${known.join(", ")}`, { cause: error });
  }
}
