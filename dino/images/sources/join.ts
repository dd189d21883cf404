/** Concatenation of image sets. */
import { lowerBound } from "../../math/binary-search.js";
import type { Decoding } from "../image-location.js";
import type { ImageSet } from "../image-set.js";
import { imageSet } from "./folder-images.js";
import { sortClasses } from "./labels.js";
import type { Labels } from "./labels.js";

/** Options of `joinSets`. */
export interface JoinOptions {
  readonly title: string;
  readonly sets: readonly ImageSet[];
  /** Prefixes of the image names of each set. */
  readonly prefixes: readonly string[];
  /** Sampling weights of the sets, for a mixture. */
  readonly weights?: readonly number[] | undefined;
  readonly decoding: Decoding;
}

/**
 * Images per pseudo-shard: in a mixture with sharded sets, sets of single files are shuffled in runs of this length.
 */
const RUN = 64;

/** Concatenates sets; classes are merged if all sets have some. */
export function joinSets({ title, sets, prefixes, weights, decoding }: JoinOptions): ImageSet {
  const firsts: number[] = [];
  let count = 0;
  for (const set of sets) {
    firsts.push(count);
    count += set.count;
  }
  const find = (index: number) => {
    const i = lowerBound(firsts, index + 1) - 1; // the last that begins at the image or before it
    return { set: sets[i]!, prefix: prefixes[i]!, within: index - firsts[i]! };
  };
  const shifted = (numbers: readonly number[], set: number) => numbers.map((number) => number + firsts[set]!);
  const runs = (set: ImageSet) => Array.from({ length: Math.ceil(set.count / RUN) }, (_, run) => run * RUN);
  const haveShards = sets.some(({ shards }) => shards !== undefined);
  const sizes = sets.map(({ largest }) => largest);
  const name = (index: number): string => {
    const { set, prefix, within } = find(index);
    return prefix + set.name(within);
  };
  return imageSet({
    title,
    count,
    ...joinLabels(sets, count),
    decoding,
    largest: sizes.includes(undefined) ? undefined : Math.max(...sizes.map((size) => size!)),
    shards: haveShards ? sets.flatMap((set, i) => shifted(set.shards ?? runs(set), i)) : undefined,
    mixture: weights?.map((weight, i) => ({ first: firsts[i]!, weight })),
    name,
    location: (index) => {
      const { set, within } = find(index);
      return set.location(within);
    },
  });
}

function joinLabels(sets: readonly ImageSet[], count: number): Labels {
  const bare = sets.find(({ labels }) => labels === undefined);
  if (bare) return { whyUnlabelled: bare.whyUnlabelled && `${bare.title}: ${bare.whyUnlabelled}` };
  const names = [...new Set(sets.flatMap(({ classes }) => classes))];
  const numbers = new Map(names.map((name, number) => [name, number]));
  const labels = new Int32Array(count);
  let first = 0;
  for (const set of sets) {
    const numberOf = set.classes.map((name) => numbers.get(name)!);
    for (let i = 0; i < set.count; i++) labels[first + i] = numberOf[set.labels![i]!]!;
    first += set.count;
  }
  return sortClasses(names, labels);
}
