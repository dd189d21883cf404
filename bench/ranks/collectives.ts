/**
 * How long an all-reduce takes on paper: Hockney's model of messages, and the algorithms as Thakur, Rabenseifner and Gropp
 * count them, "Optimization of Collective Communication Operations in MPICH" (2005), https://doi.org/10.1177/1094342005051521.
 */

/** A way between ranks, by Hockney's model: a message of n bytes takes latencyS + n * sPerByte seconds. */
export interface Link {
  readonly latencyS: number;
  readonly sPerByte: number;
  /** For a byte that came, to be added to what is there. */
  readonly addSPerByte: number;
}

type AllReduce = (ranks: number, bytes: number, link: Link) => number;

/** Seconds in which `bytes` at each rank become their sum at each. One rank needs none. */
export const algorithms = {
  /** 2 (p - 1) messages of a p-th: each rank sends what it has to the next one. */
  ring: (ranks, bytes, { latencyS, sPerByte, addSPerByte }) => {
    const moved = ((ranks - 1) / ranks) * bytes;
    return 2 * (ranks - 1) * latencyS + 2 * moved * sPerByte + moved * addSPerByte;
  },
  /** log2 p messages of everything: the fastest for few bytes. */
  "recursive doubling": (ranks, bytes, link) =>
    overPowerOfTwo(ranks, bytes, link, (rounds) => rounds * messageS(bytes, link, { added: true })),
  /** Recursive halving, then doubling: as many bytes as a ring, in 2 log2 p messages. */
  Rabenseifner: (ranks, bytes, link) =>
    overPowerOfTwo(ranks, bytes, link, (rounds) => {
      const moved = (1 - 2 ** -rounds) * bytes;
      return 2 * rounds * link.latencyS + 2 * moved * link.sPerByte + moved * link.addSPerByte;
    }),
} as const satisfies Record<string, AllReduce>;

export type Algorithm = keyof typeof algorithms;

/** Where the ranks are no power of two, those beyond it hand over what they have, and get the sum in the end. */
function overPowerOfTwo(ranks: number, bytes: number, link: Link, secondsOf: (rounds: number) => number): number {
  const rounds = Math.floor(Math.log2(ranks));
  const beyond = ranks > 2 ** rounds ? messageS(bytes, link, { added: true }) + messageS(bytes, link) : 0;
  return secondsOf(rounds) + beyond;
}

function messageS(bytes: number, { latencyS, sPerByte, addSPerByte }: Link, { added = false } = {}): number {
  return latencyS + bytes * (sPerByte + (added ? addSPerByte : 0));
}

/** The algorithm that is the fastest for so many ranks and bytes, as MPI libraries choose it. */
export function fastest(
  ranks: number,
  bytes: number,
  link: Link,
): { readonly algorithm: Algorithm; readonly seconds: number } {
  const all = (Object.keys(algorithms) as Algorithm[]).map((algorithm) => ({
    algorithm,
    seconds: algorithms[algorithm](ranks, bytes, link),
  }));
  return all.reduce((best, next) => (next.seconds < best.seconds ? next : best));
}

/** Ranks on several machines, as many on each. */
export interface Cluster {
  readonly machines: number;
  readonly ranksPerMachine: number;
  /** Between the ranks of a machine. */
  readonly within: Link;
  /** Between machines, all ranks of one together. */
  readonly between: Link;
}

/**
 * In two levels: each machine sums up by a ring, after which each of its g ranks has the sum of a g-th; that is summed over the
 * machines, all ranks at once through the one network of the machine; and the sums go round within each machine.
 */
export function twoLevels({ machines, ranksPerMachine, within, between }: Cluster, bytes: number): number {
  const shared = { ...between, sPerByte: between.sPerByte * ranksPerMachine };
  return (
    algorithms.ring(ranksPerMachine, bytes, within) +
    (machines > 1 ? fastest(machines, bytes / ranksPerMachine, shared).seconds : 0)
  );
}

/** One ring over all ranks, those of a machine next to each other, so that one rank of each sends over the network. */
export function flatRing({ machines, ranksPerMachine, within, between }: Cluster, bytes: number): number {
  const slower: Link = {
    latencyS: Math.max(within.latencyS, between.latencyS),
    sPerByte: Math.max(within.sPerByte, between.sPerByte),
    addSPerByte: Math.max(within.addSPerByte, between.addSPerByte),
  };
  return algorithms.ring(machines * ranksPerMachine, bytes, machines > 1 ? slower : within);
}

/** A link between processes that are more than the cores they run on, and take turns. */
export function oversubscribed({ latencyS, sPerByte, addSPerByte }: Link, ranks: number, cores: number): Link {
  const turns = Math.max(1, ranks / cores);
  return { latencyS: latencyS * turns, sPerByte: sPerByte * turns, addSPerByte: addSPerByte * turns };
}
