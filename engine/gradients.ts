import { copy, fill } from "./ops/fill.js";
import { add } from "./ops/add.js";
import type { Layout, Params } from "./params.js";
import { owner } from "./plan.js";
import { put } from "./placement.js";
import { recording, transient } from "./recording.js";
import { BYTES_PER_ELEMENT, expectShape, type Tensor } from "./tensor.js";

/**
 * The gradients of `y` with respect to each of `wrt`, given `dy` of the shape of `y`.
 * Walks the tape backwards; undefined where `y` does not depend on a tensor.
 */
export function gradients(y: Tensor, dy: Tensor, wrt: readonly Tensor[]): (Tensor | undefined)[] {
  const { tape } = recording("gradients");
  expectShape("gradients dy", dy, y.shape);
  const depends = new Set<Tensor>(wrt);
  for (const { output, inputs } of tape) if (inputs.some((x) => depends.has(x))) depends.add(output);

  const found = new Map<Tensor, Tensor>([[y, dy]]);
  for (const { output, inputs, backward } of [...tape].reverse()) {
    const dOutput = found.get(output);
    if (!dOutput || !depends.has(output)) continue;
    const dInputs = backward(dOutput);
    inputs.forEach((x, i) => {
      const dx = dInputs[i];
      if (!dx || !depends.has(x)) return;
      expectShape("gradients: a backward's result", dx, x.shape);
      if (dx.dtype !== x.dtype) throw new Error(`gradients: expected a gradient in ${x.dtype}, got ${dx.dtype}`);
      const earlier = found.get(x);
      found.set(x, earlier ? add(earlier, dx) : dx);
    });
  }
  return wrt.map((x) => found.get(x));
}

/** Gradients of all parameters in one flat tensor, laid out as the parameters are. */
export interface Gradients {
  readonly layout: Layout;
  readonly flat: Tensor;
}

/**
 * The gradients of a scalar `loss` times `scale` with respect to every trainable parameter, in one flat tensor.
 * Throws where a trainable parameter does not reach the loss.
 */
export function parameterGradients(loss: Tensor, params: Params, scale: Tensor = fill([], 1)): Gradients {
  expectShape("parameterGradients loss", loss, []);
  const { layout, tensors } = params;
  const trainable = layout.entries.filter((entry) => entry.trainable);
  const found = gradients(
    loss,
    scale,
    trainable.map(({ name }) => tensors[name]!),
  );
  const flat = transient([layout.size]);
  if (flat.storage.kind === "transient") flat.storage.label = "gradients"; // its kernels write parts of it
  const unused = trainable.filter((_, i) => !found[i]);
  if (unused.length > 0) {
    throw new Error(`parameterGradients: the loss does not depend on ${unused.map(({ name }) => name).join(", ")}`);
  }
  const owners = found.map((x) => owner(x!.storage));
  trainable.forEach(({ offset, shape }, i) => {
    const part: Tensor = { ...flat, shape, offset: offset * BYTES_PER_ELEMENT };
    const alone = owners.filter((storage) => storage === owners[i]).length === 1; // add(a, b) has one gradient for both
    (alone ? put : copy)(found[i]!, part);
  });
  for (const { offset, shape, trainable } of layout.entries) {
    if (!trainable) fill(shape, 0, { ...flat, shape, offset: offset * BYTES_PER_ELEMENT });
  }
  return { layout, flat };
}
