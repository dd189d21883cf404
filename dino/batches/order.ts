/** In which order images are trained on: a function of seed and epoch alone, so that a run can begin anywhere in it. */
import type { ImageSet, MixturePart } from "../images/image-set.js";
import { lowerBound } from "../math/binary-search.js";
import { type Rng, rng } from "../math/random.js";

export interface OrderOptions {
  readonly images: Pick<ImageSet, "count" | "shards" | "mixture">;
  /** The images to train on, in ascending order. */
  readonly indices: Int32Array;
  readonly seed: number;
  /**
   * Where files hold many images each, how many of these are shuffled at a time, file after file in random order; 0 shuffles
   * all, whatever they lie in.
   */
  readonly shuffleBuffer: number;
}

/** The order of an epoch, from some image on. */
export interface Order {
  /** The images that come next, of which as many have to be left. */
  next(images: number): OrderedImages;
}

/** Images in the order in which they come. */
export interface OrderedImages {
  /** Of `indices`, what comes when: [images]. */
  readonly positions: Int32Array;
  /** How often each came before in the same epoch; undefined where none comes twice. */
  readonly repeats: Uint32Array | undefined;
}

/**
 * Images of an epoch: as many as there are to train on. Without weights each comes once. Of a mixture every part has its
 * share; it goes through its images in one random order after another, over epochs if they are many, and all over again if
 * they are few. With a shuffle buffer and no mixture, memory is taken for the buffer alone, and what comes before `from` is
 * gone through. Throws where a part with a share has no image to train on.
 */
export function epochOrders(options: OrderOptions): (epoch: number, from?: number) => Order {
  const { images, indices, seed, shuffleBuffer } = options;
  const parts = divide(images, indices);
  const shards = shuffleBuffer > 0 ? images.shards : undefined;

  /** One random order of a part's images, piece by piece: each call fills an array. */
  const passThrough = ({ name, first, count }: Part, pass: number, starts: readonly number[]) => {
    const key = { seed, epoch: pass };
    const runs = runsOf(indices.subarray(first, first + count), starts);
    const files = rng({ ...key, purpose: `order of shards${name}` }).permutation(runs.length);
    const random = rng({ ...key, purpose: `shuffle buffer${name}` });
    return buffered(filesInTurn({ runs, files, count }), { count, shuffleBuffer, random });
  };

  /** One random order of a part's images. */
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
      const begin = epoch * part.share; // images of this part drawn before
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

/** Images that are gone through at a time. */
const SKIPPED = 4096;

/** An order that is known as a whole. */
function inTurn({ positions, repeats }: OrderedImages, from: number): Order {
  return {
    next(images) {
      const [start, end] = [from, (from += images)];
      return { positions: positions.subarray(start, end), repeats: repeats?.subarray(start, end) };
    },
  };
}

/** The positions of images, file after file in the order given: each call is the next one. */
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
 * Takes each time one of the next `shuffleBuffer` at random, the next taking its position: the first steps of a Fisher-Yates shuffle
 * that looks no further ahead, so that it holds no more either.
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

/** A part of a mixture, in positions of the images to train on. */
interface Part {
  /** What tells its random draws from those of others. */
  readonly name: string;
  readonly first: number;
  readonly count: number;
  /** Images of it in an epoch. */
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

/** Where the images of each file begin among some, for files that have any of them. */
function runsOf(indices: Int32Array, shards: readonly number[]): readonly number[] {
  const starts = shards.map((first) => lowerBound(indices, first));
  return [0, ...starts.filter((start, i) => start > 0 && start < indices.length && start !== starts[i - 1])];
}
