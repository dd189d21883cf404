import { type LayoutEntry, runsOf } from "../core/params.js";
import { type PartialSums, recording, transient } from "../core/recording.js";
import {
  ALIGNMENT,
  BYTES_PER_ELEMENT,
  bytesOf,
  offsetInOwner,
  owner,
  sizeOf,
  type Storage,
  type Tensor,
} from "../core/tensor.js";
import { addUp } from "../ops/partial-sums.js";
import { moveInto } from "../ops/placement.js";

/** Adds up the partial sums of many parameters' gradients at a time, into flat gradients. */
export interface FlatSums {
  /** Parameters whose part of the flat gradients holds something, which is added to. */
  readonly written: ReadonlySet<LayoutEntry>;
  /** Takes partial sums; adds up those so far if all would take up too much memory. */
  collect(entry: LayoutEntry, sums: PartialSums): void;
  /** Adds up the rest. */
  flush(): void;
}

/** Few bytes beside a network, which fit the cache of a large GPU. */
const WAITING_BYTES = 2 ** 26;

interface Waiting {
  readonly entry: LayoutEntry;
  readonly sums: PartialSums;
}

/** Creates the sums into `flat`, where the parts of `earlier` hold something; at most `waitingBytes` of them wait. */
export function flatSums(
  flat: Tensor,
  {
    earlier,
    waitingBytes = WAITING_BYTES,
  }: { readonly earlier: readonly LayoutEntry[]; readonly waitingBytes?: number | undefined },
): FlatSums {
  const written = new Set(earlier);
  const waiting: Waiting[] = [];
  const flush = () => {
    pack(waiting);
    for (const { source, start, end, items } of groupsOf(waiting)) {
      const out: Tensor = { ...flat, shape: [end - start], offset: flat.offset + start * BYTES_PER_ELEMENT };
      const placed = items.map(({ entry, sums }) => ({
        sums: { ...sums, first: sums.first + offsetInOwner(sums.parts) / BYTES_PER_ELEMENT },
        place: entry.offset - start,
        adds: written.has(entry),
      }));
      addUp(source, out, placed);
    }
    for (const { entry } of waiting.splice(0)) written.add(entry);
  };
  return {
    written,
    collect(entry, sums) {
      const bytes = storagesOf([...waiting, { entry, sums }]).reduce((total, parts) => total + bytesOf(parts), 0);
      if (bytes > waitingBytes || waiting.some((each) => each.entry === entry)) flush();
      waiting.push({ entry, sums });
    },
    flush,
  };
}

/** Returns the tensors of partial sums, each once, though several gradients may lie in one. */
function storagesOf(waiting: readonly Waiting[]): readonly Tensor[] {
  return [...new Map(waiting.map(({ sums: { parts } }) => [parts.storage, parts])).values()];
}

/** Lets the kernels that wrote the partial sums write into one tensor, which one dispatch can read. */
function pack(waiting: readonly Waiting[]): void {
  const all = storagesOf(waiting);
  if (all.length < 2) return;
  const sizes = all.map(({ shape }) => Math.ceil(sizeOf(shape) / ALIGNMENT) * ALIGNMENT);
  const packed = transient([sizes.reduce((total, size) => total + size, 0)]);
  let offset = 0;
  all.forEach((parts, i) => {
    moveInto(parts, { ...packed, shape: parts.shape, offset: offset * BYTES_PER_ELEMENT });
    offset += sizes[i]!;
  });
}

/** Sums that one dispatch adds up: their parts lie in `source`, and their parameters in one binding. */
interface Group {
  readonly source: Tensor;
  readonly start: number;
  readonly end: number;
  readonly items: readonly Waiting[];
}

/** Groups sums by the storage that their parts lie in, and by what a binding of the flat gradients holds. */
function groupsOf(waiting: readonly Waiting[]): readonly Group[] {
  const { maxStorageBufferBindingSize } = recording("flatSums").device.limits;
  const storages = new Set(waiting.map(({ sums }) => owner(sums.parts.storage)));
  return [...storages].flatMap((storage) => {
    const together = new Map(
      waiting.filter(({ sums }) => owner(sums.parts.storage) === storage).map((each) => [each.entry, each]),
    );
    return runsOf([...together.keys()], maxStorageBufferBindingSize).map(({ start, end, entries }) => {
      const items = entries.map((entry) => together.get(entry)!);
      return { source: wholeOfStorage(storage), start, end, items };
    });
  });
}

function wholeOfStorage(storage: Storage): Tensor {
  const bytes = storage.kind === "transient" ? storage.bytes : storage.buffer.size;
  return { shape: [bytes / BYTES_PER_ELEMENT], dtype: "f32", storage, offset: 0 };
}
