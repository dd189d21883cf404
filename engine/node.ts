import { readFileSync, readdirSync } from "node:fs";
import { chooseAdapter, type Preference } from "./adapter.js";
import { createDevice, type Device, type DeviceOptions } from "./device.js";

export { type AdapterChoice, chooseAdapter, type Preference } from "./adapter.js";
export { type AdapterKind, type KernelSet, subgroupMatrixConfigs } from "./device.js";

/**
 * Opens the best adapter of this machine under Node (see `chooseAdapter`); `prefer` or the variable `DINO_ADAPTER` asks for
 * another one, the other options say what to make of it. Dispose of it to free its memory; a process that forgets still ends.
 */
export async function openDevice(
  options: { readonly prefer?: Preference } & Omit<DeviceOptions, "shaders"> = {},
): Promise<Device> {
  const { adapter } = await chooseAdapter(options);
  return createDevice(adapter, { shaders: readShader, ...options });
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
