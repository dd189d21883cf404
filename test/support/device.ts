import { openDevice } from "../../engine/adapters/node.js";
import type { Device, DeviceOptions } from "../../engine/core/device.js";

type Options = Pick<DeviceOptions, "kernels" | "without">;

const opened = new Map<string, Promise<Device>>();

/**
 * The device that all tests of a run share: what `DINO_ADAPTER` names, or the best there is; with the kernels that suit it,
 * or those made for another kind of adapter, or for one that lacks features; whatever was tuned on this machine.
 */
export function testDevice(options: Options = {}): Promise<Device> {
  const key = JSON.stringify(options);
  let device = opened.get(key);
  if (!device) opened.set(key, (device = openDevice({ ...options, choices: {} })));
  return device;
}
