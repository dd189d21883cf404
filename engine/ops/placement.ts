import { recording } from "../core/recording.js";
import { bytesOf, owner, type Tensor } from "../core/tensor.js";
import { copy } from "./fill.js";

/** Puts the elements of `x` into `part` of a larger transient: redirects the kernel that wrote `x` if possible, else copies. */
export function writeInto(x: Tensor, part: Tensor): void {
  if (!moveInto(x, part)) copy(x, part);
}

/**
 * Redirects the kernel that wrote `x` to write into `part`, which saves a copy; returns whether that was possible.
 * `x` has to be a whole transient. No dispatch may then read `x` and write another part of the same buffer.
 */
export function moveInto(x: Tensor, part: Tensor): boolean {
  const { storage } = x;
  if (storage.kind !== "transient" || part.storage.kind !== "transient") return false;
  if (storage.inside || x.offset !== 0 || storage.bytes !== bytesOf(x)) return false;
  for (const { kernel, tensors } of recording("writeInto").dispatches) {
    for (const { name, access } of kernel.bindings) {
      if (access !== "write" && owner(tensors[name]!.storage) === storage) return false;
    }
  }
  storage.inside = { storage: part.storage, offset: part.offset };
  if (part.storage.label === "unwritten") part.storage.label = storage.label;
  return true;
}
