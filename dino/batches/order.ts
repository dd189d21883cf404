/** Training order of images: a pure function of seed and epoch, so that a run can resume anywhere. */
import type { ImageSet, MixturePart } from "../images/image-set.js";
import { lowerBound } from "../math/binary-search.js";
import { type Rng, rng } from "../math/random.js";

export interface OrderOptions {
  readonly images: Pick<ImageSet, "count" | "shards" | "mixture">;
  /** The images to train on, in ascending order. */
  readonly indices: Int32Array;
  readonly seed: number;
  /**
   * Size of the shuffle buffer for sharded images, which are read shard after shard in random order; 0 shuffles all
   * images.
   */
  readonly shuffleBuffer: number;
}

/** The order of an epoch, from a start position. */
export interface Order {
  /** Returns the next `images` images; that many must be left. */
  next(images: number): OrderedImages;
}

/** Images in training order. */
export interface OrderedImages {
  /** Positions in `indices`: [images]. */
  readonly positions: Int32Array;
  /** Earlier occurrences of each image in the epoch; undefined if no image occurs twice. */
  readonly repeats: Uint32Array | undefined;
}

/**
 * Returns a function from epoch to order. An epoch has as many images as the training split. Without weights, each
 * occurs once. Each part of a mixture has its share and is traversed in one random order after another: over several
 * epochs if it is large, repeatedly if it is small. With a shuffle buffer and no mixture, only the buffer is kept in
 * memory, and images before `from` are skipped one by one. Throws if a part with a share has no training image.
 */
export function epochOrders(options: OrderOptions): (epoch: number, from?: number) => Order {
  const { images, indices, seed, shuffleBuffer } = options;
  const parts = divide(images, indices);
  const shards = shuffleBuffer > 0 ? images.shards : undefined;

  /** Returns a function that fills arrays with successive positions of a random order of a part. */
  const passThrough = ({ name, first, count }: Part, pass: number, starts: readonly number[]) => {
    const key = { seed, epoch: pass };
    const runs = runsOf(indices.subarray(first, first + count), starts);
    const files = rng({ ...key, purpose: `order of shards${name}` }).permutation(runs.length);
    const random = rng({ ...key, purpose: `shuffle buffer${name}` });
    return buffered(filesInTurn({ runs, files, count }), { count, shuffleBuffer, random });
  };

  /** Returns a random order of a part. */
  const pass = (part: Part, epoch: number): Int32Array => {
    const { name, count } = part;
    if (shards === undefined) return rng({ seed, epoch, purpose: `order${name}` }).permutation(count);
    const order = new Int32Array(count);
    passThrough(part, epoch, shards)(order);
    return order;
  };

  return (epoch, from = 0) => {
    if (parts.length > 1) return inTurn(mix(epoch), from);
    const [all] = parts as readonly [Part];
    if (shards === undefined) return inTurn({ positions: pass(all, epoch), repeats: undefined }, from);
    const fill = passThrough(all, epoch, shards);
    const next = (count: number): OrderedImages => {
      const positions = new Int32Array(count);
      fill(positions);
      return { positions, repeats: undefined };
    };
    for (let left = from; left > 0; left -= SKIPPED) next(Math.min(left, SKIPPED));
    return { next };
  };

  function mix(epoch: number): OrderedImages {
    const turns = new Uint8Array(indices.length);
    let from = 0;
    for (const [part, { share }] of parts.entries()) turns.fill(part, from, (from += share));
    rng({ seed, epoch, purpose: "turns" }).shuffle(turns);
    const draws = parts.map((part) => {
      const begin = epoch * part.share; // images of this part in earlier epochs
      let drawn = begin;
      let current: { readonly number: number; readonly order: Int32Array } | undefined;
      return () => {
        const number = Math.floor(drawn / part.count);
        if (current?.number !== number) current = { number, order: pass(part, number) };
        const position = part.first + current.order[drawn++ % part.count]!;
        return { position, repeat: number - Math.floor(begin / part.count) };
      };
    });
    const positions = new Int32Array(turns.length);
    const repeats = new Uint32Array(turns.length);
    for (const [i, turn] of turns.entries()) {
      const { position, repeat } = draws[turn]!();
      positions[i] = position;
      repeats[i] = repeat;
    }
    return { positions, repeats };
  }
}

/** Images skipped at a time. */
const SKIPPED = 4096;

/** Wraps an order that is in memory as a whole. */
function inTurn({ positions, repeats }: OrderedImages, from: number): Order {
  return {
    next(images) {
      const [start, end] = [from, (from += images)];
      return { positions: positions.subarray(start, end), repeats: repeats?.subarray(start, end) };
    },
  };
}

/** Returns a function that yields positions file by file, in the given order. */
function filesInTurn({
  runs,
  files,
  count,
}: {
  readonly runs: readonly number[];
  readonly files: Int32Array;
  readonly count: number;
}): () => number {
  let [file, position, end] = [0, 0, 0];
  return () => {
    if (position === end) {
      const run = files[file++]!;
      [position, end] = [runs[run]!, runs[run + 1] ?? count];
    }
    return position++;
  };
}

/**
 * Returns a function that fills arrays by a shuffle buffer: it draws one of the next `shuffleBuffer` positions, and the
 * next position replaces it. This is a Fisher-Yates shuffle with bounded lookahead and memory.
 */
function buffered(
  next: () => number,
  {
    count,
    shuffleBuffer,
    random,
  }: { readonly count: number; readonly shuffleBuffer: number; readonly random: Pick<Rng, "integer"> },
): (into: Int32Array) => void {
  const size = Math.min(shuffleBuffer, count);
  const held = new Int32Array(size);
  for (let i = 0; i < size; i++) held[i] = next();
  let taken = 0;
  return (into) => {
    for (let i = 0; i < into.length; i++, taken++) {
      const first = taken % size;
      const chosen = (taken + random.integer(Math.min(size, count - taken))) % size;
      into[i] = held[chosen]!;
      held[chosen] = held[first]!;
      if (taken + size < count) held[first] = next();
    }
  };
}

/** A part of a mixture, as positions in the training images. */
interface Part {
  /** Distinguishes its random draws from those of other parts. */
  readonly name: string;
  readonly first: number;
  readonly count: number;
  /** Number of its images per epoch. */
  readonly share: number;
}

function divide({ mixture, count }: OrderOptions["images"], indices: Int32Array): readonly Part[] {
  if (mixture === undefined) return [{ name: "", first: 0, count: indices.length, share: indices.length }];
  const firsts = [...mixture.map(({ first }) => lowerBound(indices, first)), lowerBound(indices, count)];
  const total = mixture.reduce((sum, { weight }) => sum + weight, 0);
  const upTo = (part: number): number =>
    Math.round((mixture.slice(0, part).reduce((sum, { weight }) => sum + weight, 0) / total) * indices.length);
  return mixture.map((_: MixturePart, part) => {
    const first = firsts[part]!;
    const found = firsts[part + 1]! - first;
    const share = upTo(part + 1) - upTo(part);
    if (found === 0 && share > 0)
      throw new Error(`mixture: part ${part + 1} of ${mixture.length} has no image to train on; leave it out`);
    return { name: ` of part ${part}`, first, count: found, share };
  });
}

/** Returns the start positions of the shards in `indices`, for shards that have any. */
function runsOf(indices: Int32Array, shards: readonly number[]): readonly number[] {
  const starts = shards.map((first) => lowerBound(indices, first));
  return [0, ...starts.filter((start, i) => start > 0 && start < indices.length && start !== starts[i - 1])];
}
