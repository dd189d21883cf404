import { openDevice } from "../engine/node.js";
import type { Device } from "../engine/device.js";

let opened: Promise<Device> | undefined;

/** The device that all tests of a run share: what `DINO_ADAPTER` names, or the best there is. */
export function testDevice(): Promise<Device> {
  return (opened ??= openDevice());
}
