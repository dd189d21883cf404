/** In which order images are trained on: a function of seed and epoch alone, so that a run can begin anywhere in it. */
import type { ImageSet, MixturePart } from "./image-set.js";
import { lowerBound } from "./lower-bound.js";
import { rng } from "./random.js";

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

/** The order of an epoch. */
export interface Order {
  /** Of `indices`, what comes when: [images of an epoch]. */
  readonly places: Int32Array;
  /** How often each came before in the same epoch; undefined where none comes twice. */
  readonly repeats: Uint32Array | undefined;
}

/**
 * Images of an epoch: as many as there are to train on. Without weights each comes once. Of a mixture every part has its
 * share; it goes through its images in one random order after another, over epochs if they are many, and all over again if
 * they are few. Throws where a part with a share has no image to train on.
 */
export function epochOrders({ images, indices, seed, shuffleBuffer }: OrderOptions): (epoch: number) => Order {
  const parts = divide(images, indices);

  /** One random order of a part's images. */
  const pass = ({ name, first, count }: Part, pass: number): Int32Array => {
    const key = { seed, epoch: pass };
    if (shuffleBuffer === 0 || images.shards === undefined)
      return rng({ ...key, purpose: `order${name}` }).permutation(count);
    const runs = runsOf(indices.subarray(first, first + count), images.shards);
    const order = new Int32Array(count);
    let filled = 0;
    for (const run of rng({ ...key, purpose: `order of shards${name}` }).permutation(runs.length)) {
      for (let place = runs[run]!; place < (runs[run + 1] ?? count); place++) order[filled++] = place;
    }
    const random = rng({ ...key, purpose: `shuffle buffer${name}` });
    for (let i = 0; i < count - 1; i++) {
      const j = i + random.integer(Math.min(shuffleBuffer, count - i));
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    return order;
  };

  return (epoch) => {
    if (parts.length === 1) return { places: pass(parts[0]!, epoch), repeats: undefined };
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
        const place = part.first + current.order[drawn++ % part.count]!;
        return { place, repeat: number - Math.floor(begin / part.count) };
      };
    });
    const places = new Int32Array(turns.length);
    const repeats = new Uint32Array(turns.length);
    for (const [i, turn] of turns.entries()) {
      const { place, repeat } = draws[turn]!();
      places[i] = place;
      repeats[i] = repeat;
    }
    return { places, repeats };
  };
}

/** A part of a mixture, in places of the images to train on. */
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
