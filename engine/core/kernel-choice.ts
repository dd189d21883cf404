import type { Choices, Device } from "./device.js";
import { recording } from "./recording.js";

/**
 * Does one thing in one of several ways: as the device's choices have it, else as `rule` says. `what` names the operation and the
 * class of its sizes; the decision is noted in the recording, and so is what was dispatched for it. Ways that a device does not
 * have are undefined.
 */
export function choose<Way extends string, Result>(
  what: string,
  ways: Readonly<Record<Way, (() => Result) | undefined>>,
  rule: NoInfer<Way>,
): Result {
  const { device, decisions, deciding } = recording(what);
  const available = (Object.keys(ways) as Way[]).filter((way) => ways[way]);
  const way = available.find((name) => name === device.choices[what]) ?? rule;
  decisions.set(what, { what, ways: available, way });
  const outer = deciding.what;
  deciding.what = what;
  try {
    return ways[way]!();
  } finally {
    deciding.what = outer;
  }
}

/** The same device with other choices. Its memory is its own: tensors of one do not mix with the other's. */
export function withChoices(device: Device, choices: Choices): Device {
  return { ...device, choices };
}

/** Sizes to the next power of two, under which those that behave alike fall together: `1024 x 512 x 256`. */
export function sizeClass(...sizes: readonly number[]): string {
  return sizes.map((size) => 2 ** Math.round(Math.log2(size))).join(" x ");
}
