import { openDevice } from "../engine/node.js";
import type { Device, KernelSet } from "../engine/device.js";

const opened = new Map<KernelSet | undefined, Promise<Device>>();

/**
 * The device that all tests of a run share: what `DINO_ADAPTER` names, or the best there is; with the kernels that suit it,
 * or those made for another kind of adapter.
 */
export function testDevice(kernels?: KernelSet): Promise<Device> {
  let device = opened.get(kernels);
  if (!device) opened.set(kernels, (device = openDevice({ ...(kernels && { kernels }) })));
  return device;
}
