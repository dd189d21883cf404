import { recording } from "../core/recording.js";
import { bytesOf, owner, type Tensor } from "../core/tensor.js";
import { copy } from "./fill.js";

/** Makes `part` of a larger transient hold the elements of `x`: what wrote `x` writes there instead, or they are copied. */
export function writeInto(x: Tensor, part: Tensor): void {
  if (!moveInto(x, part)) copy(x, part);
}

/**
 * Makes the kernel that wrote `x` write into `part` instead, which saves a copy.
 * Only for a transient of its own that nobody reads: reading and writing one buffer in one dispatch is refused.
 */
function moveInto(x: Tensor, part: Tensor): boolean {
  const { storage } = x;
  if (storage.kind !== "transient" || part.storage.kind !== "transient") return false;
  if (storage.inside || x.offset !== 0 || storage.bytes !== bytesOf(x)) return false;
  for (const { kernel, tensors } of recording("put").dispatches) {
    for (const { name, access } of kernel.bindings) {
      if (access !== "write" && owner(tensors[name]!.storage) === storage) return false;
    }
  }
  storage.inside = { storage: part.storage, offset: part.offset };
  if (part.storage.label === "unwritten") part.storage.label = storage.label;
  return true;
}
