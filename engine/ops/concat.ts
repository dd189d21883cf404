import { elementGrid, kernel } from "../core/kernel.js";
import { differentiable, transient } from "../core/recording.js";
import { formatShape, sameShape, type Shape, sizeOf, type Tensor } from "../core/tensor.js";

const slicing = kernel("slice", { reads: ["x"], writes: ["out"], constants: ["AXIS", "LENGTH", "INNER", "START"] });
const placing = kernel("place", {
  reads: ["x"],
  writes: [],
  updates: ["out"],
  constants: ["AXIS", "LENGTH", "INNER", "START"],
});
const sliceBackward = kernel("slice-backward", {
  reads: ["dy"],
  writes: ["dx"],
  constants: ["AXIS", "LENGTH", "INNER", "START"],
});

/** Returns `length` entries of one axis from `start` on: [..., axis, ...] -> [..., length, ...]. Throws if they exceed the axis. */
export function slice(x: Tensor, axis: number, start: number, length: number): Tensor {
  const size = x.shape[axis];
  if (size === undefined || start < 0 || length < 1 || start + length > size) {
    throw new Error(`slice x: ${start}..${start + length} of axis ${axis} leaves ${formatShape(x.shape)}`);
  }
  const out = transient(x.shape.with(axis, length));
  const constants = { AXIS: size, LENGTH: length, INNER: sizeOf(x.shape.slice(axis + 1)), START: start };
  slicing({ x, out }, constants, elementGrid(sizeOf(out.shape)));
  return differentiable(out, [x], (dy) => {
    const dx = transient(x.shape);
    sliceBackward({ dy, dx }, constants, elementGrid(sizeOf(x.shape)));
    return [dx];
  });
}

/** Concatenates tensors along an axis: [..., n1, ...], [..., n2, ...] -> [..., n1 + n2, ...]. Throws if other axes differ. */
export function concat(parts: readonly Tensor[], axis: number): Tensor {
  const [first] = parts;
  if (!first || first.shape[axis] === undefined) throw new Error(`concat: no axis ${axis} in ${parts.length} tensors`);
  const others = (shape: Shape) => shape.with(axis, 0);
  for (const { shape } of parts) {
    if (shape.length !== first.shape.length || !sameShape(others(shape), others(first.shape))) {
      throw new Error(`concat: ${formatShape(first.shape)} and ${formatShape(shape)} differ beyond axis ${axis}`);
    }
  }
  const total = parts.reduce((sum, { shape }) => sum + shape[axis]!, 0);
  const out = transient(first.shape.with(axis, total));
  const inner = sizeOf(first.shape.slice(axis + 1));
  const starts: number[] = [];
  let start = 0;
  for (const x of parts) {
    const length = x.shape[axis]!;
    placing({ x, out }, { AXIS: total, LENGTH: length, INNER: inner, START: start }, elementGrid(sizeOf(x.shape)));
    starts.push(start);
    start += length;
  }
  return differentiable(out, parts, (dy) => parts.map((x, i) => slice(dy, axis, starts[i]!, x.shape[axis]!)));
}
