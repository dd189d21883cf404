import type { Dispatch, Recording } from "./recording.js";
import { bytesOf, formatShape, offsetInOwner, owner, type Storage, type Tensor, type Transient } from "./tensor.js";

/** The dispatches to run, and the buffer of each transient. */
export interface Plan {
  readonly dispatches: readonly Dispatch[];
  /** Size of each pooled buffer. */
  readonly buffers: readonly number[];
  readonly lifetimes: readonly Lifetime[];
  /** Sum of `buffers`. */
  readonly bytes: number;
  /** Peak of the live bytes over all dispatches, a lower bound for any plan. */
  readonly lowerBoundBytes: number;
}

/** Dispatches (first to last, inclusive) during which a transient is live, and its buffer. */
export interface Lifetime {
  readonly storage: Transient;
  readonly first: number;
  readonly last: number;
  readonly buffer: number;
}

/**
 * Drops dispatches whose results are not used, and lets transients with disjoint lifetimes share buffers.
 * Throws if a tensor is read or returned that no kernel has written.
 */
export function plan(recorded: Recording, outputs: Readonly<Record<string, Tensor>>): Plan {
  const dispatches = prune(recorded.dispatches, Object.values(outputs));
  const spans = lifetimes(dispatches, outputs);
  const { buffers, placed } = assignBuffers(spans);
  return {
    dispatches,
    buffers,
    lifetimes: placed,
    bytes: buffers.reduce((sum, bytes) => sum + bytes, 0),
    lowerBoundBytes: peakBytes(spans, dispatches.length),
  };
}

/** Keeps the dispatches that write resident memory or returned tensors, and those they depend on. */
function prune(dispatches: readonly Dispatch[], returned: readonly Tensor[]): Dispatch[] {
  const needed = new Map<Storage, Tensor[]>();
  const need = (x: Tensor) => {
    const storage = owner(x.storage);
    needed.set(storage, [...(needed.get(storage) ?? []), x]);
  };
  const isNeeded = (x: Tensor) => {
    const storage = owner(x.storage);
    return storage.kind === "resident" || (needed.get(storage) ?? []).some((other) => overlap(x, other));
  };
  returned.forEach(need);
  const remaining: Dispatch[] = [];
  for (const dispatch of dispatches.toReversed()) {
    const { bindings } = dispatch.kernel;
    const matters = bindings.some(({ name, access }) => access !== "read" && isNeeded(dispatch.tensors[name]!));
    if (!matters) continue;
    remaining.push(dispatch);
    for (const { name, access } of bindings) if (access !== "write") need(dispatch.tensors[name]!);
  }
  return remaining.reverse();
}

/** Whether two tensors of one owner share bytes. */
function overlap(a: Tensor, b: Tensor): boolean {
  const [aStart, bStart] = [offsetInOwner(a), offsetInOwner(b)];
  return aStart < bStart + bytesOf(b) && bStart < aStart + bytesOf(a);
}

type Span = Omit<Lifetime, "buffer">;

const ONE_RECORDING = "a tensor lives in one recording only";

function lifetimes(dispatches: readonly Dispatch[], outputs: Readonly<Record<string, Tensor>>): Span[] {
  const spans = new Map<Transient, { storage: Transient; first: number; last: number }>();
  dispatches.forEach(({ kernel, tensors }, index) => {
    for (const { name, access } of kernel.bindings) {
      const x = tensors[name]!;
      const storage = owner(x.storage);
      if (storage.kind !== "transient") continue;
      const span = spans.get(storage);
      if (span) span.last = index;
      else if (access !== "read") spans.set(storage, { storage, first: index, last: index });
      else {
        throw new Error(
          `${kernel.file}: ${name} ${formatShape(x.shape)} is read before any kernel has written it; ${ONE_RECORDING}`,
        );
      }
    }
  });
  for (const [name, x] of Object.entries(outputs)) {
    const storage = owner(x.storage);
    if (storage.kind !== "transient") continue;
    const span = spans.get(storage);
    if (!span) {
      throw new Error(
        `record: ${name} ${formatShape(x.shape)} is returned, but no kernel has written it; ${ONE_RECORDING}`,
      );
    }
    span.last = dispatches.length;
  }
  return [...spans.values()];
}

/** Assigns buffers, largest transient first: the smallest buffer that is free for the whole lifetime, or a new one. */
function assignBuffers(spans: readonly Span[]): { buffers: number[]; placed: Lifetime[] } {
  const buffers: { bytes: number; tenants: Span[] }[] = []; // tenants in order of time
  const placed: Lifetime[] = [];
  for (const span of [...spans].sort((a, b) => b.storage.bytes - a.storage.bytes || a.first - b.first)) {
    const free = buffers.filter(({ tenants }) => {
      const next = insertionIndex(tenants, span);
      return (tenants[next - 1]?.last ?? -1) < span.first && span.last < (tenants[next]?.first ?? Infinity);
    });
    const best = free.toSorted((a, b) => a.bytes - b.bytes)[0] ?? { bytes: span.storage.bytes, tenants: [] };
    if (best.tenants.length === 0) buffers.push(best);
    best.tenants.splice(insertionIndex(best.tenants, span), 0, span);
    placed.push({ ...span, buffer: buffers.indexOf(best) });
  }
  return { buffers: buffers.map(({ bytes }) => bytes), placed };
}

/** Returns the index of the first tenant that starts after `span`, by binary search. */
function insertionIndex(tenants: readonly Span[], span: Span): number {
  let [low, high] = [0, tenants.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (tenants[middle]!.first > span.first) high = middle;
    else low = middle + 1;
  }
  return low;
}

function peakBytes(spans: readonly Span[], dispatches: number): number {
  const change = new Float64Array(dispatches + 2);
  for (const { storage, first, last } of spans) {
    change[first]! += storage.bytes;
    change[last + 1]! -= storage.bytes;
  }
  let live = 0;
  return change.reduce((most, bytes) => Math.max(most, (live += bytes)), 0);
}
