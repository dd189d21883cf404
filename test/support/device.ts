import { openDevice } from "../../engine/adapters/node.js";
import type { Device, DeviceOptions } from "../../engine/core/device.js";

type Options = Pick<DeviceOptions, "kernels" | "without">;

const opened = new Map<string, Promise<Device>>();

/**
 * Returns the device that all tests of a run share: the adapter named by `DINO_ADAPTER`, or the best. Options replace its
 * kernels or hide features. Choices tuned on this machine are ignored.
 */
export function testDevice(options: Options = {}): Promise<Device> {
  const key = JSON.stringify(options);
  let device = opened.get(key);
  if (!device) opened.set(key, (device = openDevice({ ...options, choices: {} })));
  return device;
}
