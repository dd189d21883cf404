import type { Dispatch, Recording } from "./recording.js";
import { formatShape, owner, type Storage, type Tensor, type Transient } from "./tensor.js";

/** Which dispatches stay, and which buffer each transient lives in. */
export interface Plan {
  readonly dispatches: readonly Dispatch[];
  /** Size of each pooled buffer. */
  readonly buffers: readonly number[];
  readonly lifetimes: readonly Lifetime[];
  /** Sum of `buffers`. */
  readonly bytes: number;
  /** What is live at the fullest dispatch: no plan can need less. */
  readonly lowerBoundBytes: number;
}

/** The dispatches (first to last, inclusive) during which a transient holds numbers, and its buffer. */
export interface Lifetime {
  readonly storage: Transient;
  readonly first: number;
  readonly last: number;
  readonly buffer: number;
}

/**
 * Drops the dispatches nobody reads, then lets transients whose lifetimes do not meet share buffers.
 * Throws where a tensor is read or returned that no kernel has written.
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

/** Keeps what writes to resident memory, and what leads to it or to a returned tensor. */
function prune(dispatches: readonly Dispatch[], returned: readonly Tensor[]): Dispatch[] {
  const needed = new Set<Storage>(returned.map((x) => owner(x.storage)));
  const remaining: Dispatch[] = [];
  for (const dispatch of dispatches.toReversed()) {
    const { bindings } = dispatch.kernel;
    const storageOf = (name: string) => owner(dispatch.tensors[name]!.storage);
    const matters = bindings.some(
      ({ name, access }) => access !== "read" && (storageOf(name).kind === "resident" || needed.has(storageOf(name))),
    );
    if (!matters) continue;
    remaining.push(dispatch);
    for (const { name, access } of bindings) if (access !== "write") needed.add(storageOf(name));
  }
  return remaining.reverse();
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

/** Largest first, each into the smallest buffer that is free for its whole lifetime, or into a new one. */
function assignBuffers(spans: readonly Span[]): { buffers: number[]; placed: Lifetime[] } {
  const buffers: { bytes: number; tenants: Span[] }[] = []; // tenants in the order of time
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

/** Where in the order of time those begin that start after `span` does: found by halving, as a long program has many. */
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
