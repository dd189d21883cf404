import type { Layout, LayoutEntry, Params } from "../core/params.js";
import { type Gradient, type PartialSums, recording, transient } from "../core/recording.js";
import { BYTES_PER_ELEMENT, expectShape, formatShape, owner, sameShape, type Tensor } from "../core/tensor.js";
import { add } from "../ops/add.js";
import { copy, fill } from "../ops/fill.js";
import { updateAverage } from "../ops/moving-average.js";
import { wholeOf } from "../ops/partial-sums.js";
import { writeInto } from "../ops/placement.js";
import { flatSums } from "./flat-sums.js";

/**
 * Returns the gradients of `y` with respect to each of `wrt`, given `dy` of the shape of `y`.
 * Walks the tape backwards; undefined for tensors that `y` does not depend on.
 */
export function gradients(y: Tensor, dy: Tensor, wrt: readonly Tensor[]): (Tensor | undefined)[] {
  return unsummedGradients(y, dy, wrt).map((dx) => dx && wholeOf(dx));
}

/** Returns the gradients of `gradients`, in partial sums where there is nothing else to add. */
export function unsummedGradients(y: Tensor, dy: Tensor, wrt: readonly Tensor[]): (Gradient | undefined)[] {
  const collected = new Map<Tensor, PartialSums[]>();
  const found = walkBack(y, dy, wrt, (x, sums) => collected.set(x, [...(collected.get(x) ?? []), sums]));
  return wrt.map((x) => {
    const whole = found.get(x);
    const all: Gradient[] = [...(whole ? [whole] : []), ...(collected.get(x) ?? [])];
    return all.length > 1 ? all.map(wholeOf).reduce((before, dx) => add(before, dx)) : all[0];
  });
}

/**
 * Walks the tape backwards, and returns the gradients of `y` by tensor. Partial sums of the gradients of `wrt` go to `collect`,
 * and are left out.
 */
function walkBack(
  y: Tensor,
  dy: Tensor,
  wrt: readonly Tensor[],
  collect: (x: Tensor, sums: PartialSums) => void,
): ReadonlyMap<Tensor, Tensor> {
  const { tape } = recording("gradients");
  expectShape("gradients dy", dy, y.shape);
  const depends = new Set<Tensor>(wrt);
  for (const { output, inputs } of tape) if (inputs.some((x) => depends.has(x))) depends.add(output);
  const ends = new Set(wrt);
  for (const { output } of tape) ends.delete(output); // its own backward needs the whole

  const found = new Map<Tensor, Tensor>([[y, dy]]);
  for (const { output, inputs, backward } of [...tape].reverse()) {
    const dOutput = found.get(output);
    if (!dOutput || !depends.has(output)) continue;
    const dInputs = backward(dOutput, (input) => {
      const earlier = found.get(inputs[input]!);
      found.delete(inputs[input]!);
      return earlier;
    });
    inputs.forEach((x, i) => {
      const gradient = dInputs[i];
      if (!gradient || !depends.has(x)) return;
      expectGradient(gradient, x);
      if ("parts" in gradient && ends.has(x)) {
        collect(x, gradient);
        return;
      }
      const dx = wholeOf(gradient);
      const earlier = found.get(x);
      found.set(x, earlier ? add(earlier, dx) : dx);
    });
  }
  return found;
}

function expectGradient(dx: Gradient, { shape, dtype }: Tensor): void {
  if (!sameShape(dx.shape, shape))
    throw new Error(`gradients: a backward's result: expected ${formatShape(shape)}, got ${formatShape(dx.shape)}`);
  const found = "parts" in dx ? "f32" : dx.dtype;
  if (found !== dtype) throw new Error(`gradients: expected a gradient in ${dtype}, got ${found}`);
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
  /** Maximum bytes of partial sums that wait to be added up together; default 64 MiB. */
  readonly waitingBytes?: number;
}

/**
 * Returns the gradients of a scalar `loss` with respect to every trainable parameter, in one flat tensor.
 * Throws if the loss does not depend on a trainable parameter.
 */
export function parameterGradients(
  loss: Tensor,
  params: Params,
  { scale = fill([], 1), earlier, waitingBytes }: GradientOptions = {},
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
  const entryOf = new Map(trainable.map((entry) => [tensors[entry.name]!, entry]));
  const sums = flatSums(flat, { earlier: earlier ? trainable : [], waitingBytes });
  const unused = new Set(trainable);
  const found = walkBack(loss, scale, [...entryOf.keys()], (x, partial) => {
    sums.collect(entryOf.get(x)!, partial);
    unused.delete(entryOf.get(x)!);
  });
  sums.flush();
  const wholes = [...entryOf].flatMap(([x, entry]) => (found.has(x) ? [{ entry, whole: found.get(x)! }] : []));
  for (const { entry } of wholes) unused.delete(entry);
  if (unused.size > 0) {
    const names = [...unused].map(({ name }) => name).join(", ");
    throw new Error(`parameterGradients: the loss does not depend on ${names}`);
  }
  const owners = wholes.map(({ whole }) => owner(whole.storage));
  wholes.forEach(({ entry, whole }, i) => {
    const part = partOf(flat, entry);
    const isUnshared = owners.filter((storage) => storage === owners[i]).length === 1; // add(a, b) returns one gradient for both
    if (sums.written.has(entry)) updateAverage(part, whole, { keep: 1, add: 1 });
    else (isUnshared ? writeInto : copy)(whole, part);
  });
  return { layout, flat };
}

/** Returns the view of one parameter's gradient in the flat gradients. */
function partOf(flat: Tensor, { shape, offset }: LayoutEntry): Tensor {
  return { ...flat, shape, offset: offset * BYTES_PER_ELEMENT };
}
