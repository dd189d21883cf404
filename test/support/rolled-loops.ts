/** Kernels whose loops are not unrolled: compilers take minutes over kernels that were rewritten. */
import type { Device } from "../../engine/core/device.js";
import { withCode } from "./changed-device.js";

/** Hides the bounds of a shader's loops from 0 on, by `few`. */
export function rollLoops(text: string): string {
  return text.replace(/for \(var (\w+) = 0u; \1 < ([^;]+); /g, "for (var $1 = 0u; $1 < few($2); ");
}

/** Declares `few`, which returns n in a way that no compiler sees, in a kernel that binds `sizes`. */
export const FEW = "fn few(n: u32) -> u32 { return n + (sizes[0] >> 31u) * 64u; }";

/** Returns the device with the loops of its large kernels rolled, those that bind `sizes`. */
export function withRolledLoops(device: Device): Device {
  return withCode(device, (code) =>
    /> sizes: array<u32>/.test(code) && !code.includes("fn few(") ? `${rollLoops(code)}\n${FEW}\n` : code,
  );
}
