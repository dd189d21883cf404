import type { Choices, Device } from "./device.js";
import { recording } from "./recording.js";

/**
 * Runs one of several equivalent ways: the device's measured choice, else `rule`. `what` names the operation and its size
 * class. The recording notes the decision, and marks the dispatches that belong to it. Ways that the device lacks are
 * undefined.
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

/** Returns the same device with other choices. Tensors of the two do not mix. */
export function withChoices(device: Device, choices: Choices): Device {
  return { ...device, choices };
}

/** Rounds sizes to powers of two, so that similar sizes share a decision: `1024 x 512 x 256`. */
export function sizeClass(...sizes: readonly number[]): string {
  return sizes.map((size) => 2 ** Math.round(Math.log2(size))).join(" x ");
}
