import type { Layout, LayoutEntry, Params } from "../core/params.js";
import { recording, transient } from "../core/recording.js";
import { BYTES_PER_ELEMENT, expectShape, owner, type Tensor } from "../core/tensor.js";
import { add } from "../ops/add.js";
import { copy, fill } from "../ops/fill.js";
import { updateAverage } from "../ops/moving-average.js";
import { writeInto } from "../ops/placement.js";

/**
 * Returns the gradients of `y` with respect to each of `wrt`, given `dy` of the shape of `y`.
 * Walks the tape backwards; undefined for tensors that `y` does not depend on.
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

/** Gradients of all parameters in one flat tensor, in the layout of the parameters. */
export interface Gradients {
  readonly layout: Layout;
  readonly flat: Tensor;
}

/** Options of `parameterGradients`. */
export interface GradientOptions {
  /** Scalar factor of the gradients; default 1. */
  readonly scale?: Tensor;
  /** Gradients of the same parameters, for example of another part of the batch, that the new ones are added to in place. */
  readonly earlier?: Gradients | undefined;
}

/**
 * Returns the gradients of a scalar `loss` with respect to every trainable parameter, in one flat tensor.
 * Throws if the loss does not depend on a trainable parameter.
 */
export function parameterGradients(
  loss: Tensor,
  params: Params,
  { scale = fill([], 1), earlier }: GradientOptions = {},
): Gradients {
  expectShape("parameterGradients loss", loss, []);
  const { layout, tensors } = params;
  if (earlier && earlier.layout !== layout)
    throw new Error("parameterGradients: `earlier` holds gradients of other parameters");
  const flat = earlier?.flat ?? transient([layout.size]);
  if (!earlier) {
    if (flat.storage.kind === "transient") flat.storage.label = "gradients"; // its kernels write only parts of it
    for (const entry of layout.entries) if (!entry.trainable) fill(entry.shape, 0, partOf(flat, entry));
  }
  const trainable = layout.entries.filter((entry) => entry.trainable);
  const found = gradients(
    loss,
    scale,
    trainable.map(({ name }) => tensors[name]!),
  );
  const unused = trainable.filter((_, i) => !found[i]);
  if (unused.length > 0) {
    throw new Error(`parameterGradients: the loss does not depend on ${unused.map(({ name }) => name).join(", ")}`);
  }
  if (earlier) {
    trainable.forEach((entry, i) => updateAverage(partOf(earlier.flat, entry), found[i]!, { keep: 1, add: 1 }));
    return earlier;
  }
  const owners = found.map((x) => owner(x!.storage));
  trainable.forEach((entry, i) => {
    const part = partOf(flat, entry);
    const isUnshared = owners.filter((storage) => storage === owners[i]).length === 1; // add(a, b) returns one gradient for both
    (isUnshared ? writeInto : copy)(found[i]!, part);
  });
  return { layout, flat };
}

/** Returns the view of one parameter's gradient in the flat gradients. */
function partOf(flat: Tensor, { shape, offset }: LayoutEntry): Tensor {
  return { ...flat, shape, offset: offset * BYTES_PER_ELEMENT };
}
