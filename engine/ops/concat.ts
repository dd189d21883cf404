import { elementGrid, kernel } from "../core/kernel.js";
import { differentiable, transient } from "../core/recording.js";
import {
  expectShape,
  formatShape,
  isBindableFrom,
  owner,
  type Precision,
  precisionOf,
  rowsOf,
  sameShape,
  type Shape,
  sizeOf,
  type Tensor,
} from "../core/tensor.js";
import { writeInto } from "./placement.js";

const constants = ["AXIS", "LENGTH", "INNER", "START"] as const;
const slices = { reads: ["x"], writes: ["out"], constants } as const;
const slicing = { f32: kernel("slice", slices), f16: kernel("slice-f16", slices) };
const placing = kernel("place", {
  reads: ["x"],
  writes: [],
  updates: ["out"],
  constants,
});
const slicesBackward = { reads: ["dy"], writes: ["dx"], constants } as const;
const sliceBackward = {
  f32: kernel("slice-backward", slicesBackward),
  f16: kernel("slice-backward-f16", slicesBackward),
};

/**
 * Returns `length` entries of one axis from `start` on, in the precision of x: [..., axis, ...] -> [..., length, ...]; a view where
 * that can be. Throws if they exceed the axis.
 */
export function slice(x: Tensor, axis: number, start: number, length: number): Tensor {
  const size = x.shape[axis];
  if (size === undefined || start < 0 || length < 1 || start + length > size) {
    throw new Error(`slice x: ${start}..${start + length} of axis ${axis} leaves ${formatShape(x.shape)}`);
  }
  const precision = precisionOf("slice x", x);
  const place = { AXIS: size, LENGTH: length, INNER: sizeOf(x.shape.slice(axis + 1)), START: start };
  const sliced = () => {
    const out = transient(x.shape.with(axis, length), precision);
    slicing[precision]({ x, out }, place, elementGrid(sizeOf(out.shape)));
    return out;
  };
  const isView = axis === 0 && isBindableFrom(x, start);
  return differentiable(isView ? rowsOf(x, start, length) : sliced(), [x], (dy) => {
    const dx = transient(x.shape, precision);
    sliceBackward[precision]({ dy, dx }, place, elementGrid(sizeOf(x.shape)));
    return [dx];
  });
}

/** Sequences of one length, one after another: `batch * tokens` rows. */
export interface Sequences {
  readonly batch: number;
  readonly tokens: number;
}

/** Returns the first row and the number of rows of each group of sequences. */
export function rowRanges(groups: readonly Sequences[]): readonly { readonly first: number; readonly count: number }[] {
  let next = 0;
  return groups.map(({ batch, tokens }) => {
    const first = next;
    next += batch * tokens;
    return { first, count: batch * tokens };
  });
}

/**
 * Returns the first token of each sequence, in the precision of x: x [rows, dim], the rows of all groups -> [sequences, dim]. Throws
 * if kernels cannot bind each group; see `fitOneTensor`.
 */
export function firstTokens(x: Tensor, groups: readonly Sequences[]): Tensor {
  const [, dim] = x.shape as readonly [number, number];
  expectShape("firstTokens x", x, [rowsIn(groups), dim]);
  const precision = precisionOf("firstTokens x", x);
  const out = transient([groups.reduce((total, { batch }) => total + batch, 0), dim], precision);
  const each = (y: Tensor, whole: Tensor, note: (part: Tensor, wholePart: Tensor, tokens: number) => void) => {
    let sequence = 0;
    rowRanges(groups).forEach(({ first, count }, i) => {
      const { batch, tokens } = groups[i]!;
      note(rowsOf(y, sequence, batch), rowsOf(whole, first, count), tokens);
      sequence += batch;
    });
  };
  const place = (tokens: number) => ({ AXIS: tokens, LENGTH: 1, INNER: dim, START: 0 });
  each(out, x, (part, from, tokens) =>
    slicing[precision]({ x: from, out: part }, place(tokens), elementGrid(sizeOf(part.shape))),
  );
  return differentiable(out, [x], (dy) => {
    const dx = transient(x.shape, precision);
    each(dy, dx, (part, to, tokens) =>
      sliceBackward[precision]({ dy: part, dx: to }, place(tokens), elementGrid(sizeOf(to.shape))),
    );
    return [dx];
  });
}

/** Returns the number of rows of all groups. */
export function rowsIn(groups: readonly Sequences[]): number {
  return groups.reduce((total, { batch, tokens }) => total + batch * tokens, 0);
}

/** Whether kernels can bind each group by itself, in tensors [rows, width] and [sequences, width] of this precision. */
export function fitOneTensor(groups: readonly Sequences[], width: number, dtype: Precision): boolean {
  const starts = (counts: readonly number[]) =>
    counts.every((_, i) => {
      const before = counts.slice(0, i).reduce((total, count) => total + count, 0);
      return isBindableFrom({ shape: [before, width], dtype, offset: 0 }, before);
    });
  return starts(groups.map(({ batch, tokens }) => batch * tokens)) && starts(groups.map(({ batch }) => batch));
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
  const owners = parts.map(({ storage }) => owner(storage));
  const isUnshared = ({ storage }: Tensor) => owners.filter((other) => other === owner(storage)).length === 1;
  const starts: number[] = [];
  let start = 0;
  for (const x of parts) {
    const length = x.shape[axis]!;
    const place = { AXIS: total, LENGTH: length, INNER: inner, START: start };
    if (axis === 0 && isBindableFrom(out, start) && isUnshared(x)) writeInto(x, rowsOf(out, start, length));
    else placing({ x, out }, place, elementGrid(sizeOf(x.shape)));
    starts.push(start);
    start += length;
  }
  return differentiable(out, parts, (dy) => parts.map((x, i) => slice(dy, axis, starts[i]!, x.shape[axis]!)));
}
