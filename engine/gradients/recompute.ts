import {
  differentiable,
  type Dispatch,
  onOwnTape,
  recording,
  stopGradient,
  type TapeEntry,
} from "../core/recording.js";
import { owner, type Tensor } from "../core/tensor.js";
import { unsummedGradients } from "./gradients.js";

/**
 * Returns the result of `fn` and saves memory: intermediate tensors are not kept for the backward, which runs `fn` again
 * instead. Gradients flow to every tensor that `fn` uses. Both runs must use the same tensors, so random numbers have to be
 * drawn outside. Throws if `fn` writes memory that outlives it, which would happen twice.
 * Chen et al. 2016 (https://arxiv.org/abs/1604.06174).
 */
export function recompute(fn: () => Tensor): Tensor {
  const { dispatches } = recording("recompute");
  const start = dispatches.length;
  const { result, tape } = onOwnTape(fn);
  dispatches.slice(start).forEach(refuseLastingWrites);
  const inputs = externalInputs(tape, result);
  return differentiable(stopGradient(result), inputs, (dy) => {
    const { result: found } = onOwnTape(() => unsummedGradients(fn(), dy, inputs));
    const refusing = (dx: Tensor) => differentiable(stopGradient(dx), [...inputs, dy], refuseSecondGradients);
    return found.map((dx) => dx && ("parts" in dx ? { ...dx, onTape: refusing } : refusing(dx)));
  });
}

/** Returns the tensors on a tape, and the result, that were not computed on it. */
function externalInputs(tape: readonly TapeEntry[], result: Tensor): Tensor[] {
  const made = new Set(tape.map(({ output }) => output));
  const used = new Set([...tape.flatMap(({ inputs }) => inputs), result]);
  return [...used].filter((x) => !made.has(x));
}

function refuseLastingWrites({ kernel, tensors }: Dispatch): void {
  for (const { name, access } of kernel.bindings) {
    const storage = owner(tensors[name]!.storage);
    if (access === "read" || storage.kind === "transient") continue;
    throw new Error(
      `recompute: ${kernel.file} writes ${name} (${storage.label}), which outlives the function and would be written ` +
        "by its second run too; leave that outside of it",
    );
  }
}

function refuseSecondGradients(): never {
  throw new Error("recompute: second gradients are not supported; call the function without recompute");
}
