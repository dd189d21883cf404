/**
 * Model of the time of an all-reduce: Hockney's model of messages, and the algorithms as analysed by Thakur, Rabenseifner and
 * Gropp, "Optimization of Collective Communication Operations in MPICH" (2005), https://doi.org/10.1177/1094342005051521.
 */

/** A link between ranks in Hockney's model: a message of n bytes takes latencyS + n * sPerByte seconds. */
export interface Link {
  readonly latencyS: number;
  readonly sPerByte: number;
  /** Time to add a received byte to the local values. */
  readonly addSPerByte: number;
}

type AllReduce = (ranks: number, bytes: number, link: Link) => number;

/** Seconds of an all-reduce over `bytes` per rank, by algorithm; zero for one rank. */
export const algorithms = {
  /** 2 (p - 1) messages of 1/p of the bytes; each rank sends to the next one. */
  ring: (ranks, bytes, { latencyS, sPerByte, addSPerByte }) => {
    const moved = ((ranks - 1) / ranks) * bytes;
    return 2 * (ranks - 1) * latencyS + 2 * moved * sPerByte + moved * addSPerByte;
  },
  /** log2 p messages of all bytes; the fastest for small sizes. */
  "recursive doubling": (ranks, bytes, link) =>
    overPowerOfTwo(ranks, bytes, link, (rounds) => rounds * messageS(bytes, link, { added: true })),
  /** Recursive halving, then doubling: the bytes of a ring in 2 log2 p messages. */
  Rabenseifner: (ranks, bytes, link) =>
    overPowerOfTwo(ranks, bytes, link, (rounds) => {
      const moved = (1 - 2 ** -rounds) * bytes;
      return 2 * rounds * link.latencyS + 2 * moved * link.sPerByte + moved * link.addSPerByte;
    }),
} as const satisfies Record<string, AllReduce>;

export type Algorithm = keyof typeof algorithms;

/** Reduces to a power of two: the excess ranks send their values first, and receive the sum at the end. */
function overPowerOfTwo(ranks: number, bytes: number, link: Link, secondsOf: (rounds: number) => number): number {
  const rounds = Math.floor(Math.log2(ranks));
  const beyond = ranks > 2 ** rounds ? messageS(bytes, link, { added: true }) + messageS(bytes, link) : 0;
  return secondsOf(rounds) + beyond;
}

function messageS(bytes: number, { latencyS, sPerByte, addSPerByte }: Link, { added = false } = {}): number {
  return latencyS + bytes * (sPerByte + (added ? addSPerByte : 0));
}

/** Returns the fastest algorithm for a number of ranks and bytes, as MPI libraries choose it. */
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

/** Ranks on several machines, the same number on each. */
export interface Cluster {
  readonly machines: number;
  readonly ranksPerMachine: number;
  /** Link between the ranks of a machine. */
  readonly within: Link;
  /** Link between machines, shared by all ranks of a machine. */
  readonly between: Link;
}

/**
 * Returns the seconds of a two-level all-reduce: a reduce-scatter by a ring within each machine of g ranks, an all-reduce of
 * each g-th over the machines, all ranks sharing the network, and an all-gather within each machine.
 */
export function twoLevels({ machines, ranksPerMachine, within, between }: Cluster, bytes: number): number {
  const shared = { ...between, sPerByte: between.sPerByte * ranksPerMachine };
  return (
    algorithms.ring(ranksPerMachine, bytes, within) +
    (machines > 1 ? fastest(machines, bytes / ranksPerMachine, shared).seconds : 0)
  );
}

/** Returns the seconds of one ring over all ranks, ordered by machine, so that one rank per machine sends over the network. */
export function flatRing({ machines, ranksPerMachine, within, between }: Cluster, bytes: number): number {
  const slower: Link = {
    latencyS: Math.max(within.latencyS, between.latencyS),
    sPerByte: Math.max(within.sPerByte, between.sPerByte),
    addSPerByte: Math.max(within.addSPerByte, between.addSPerByte),
  };
  return algorithms.ring(machines * ranksPerMachine, bytes, machines > 1 ? slower : within);
}

/** Returns the link between more processes than cores, which take turns. */
export function oversubscribed({ latencyS, sPerByte, addSPerByte }: Link, ranks: number, cores: number): Link {
  const turns = Math.max(1, ranks / cores);
  return { latencyS: latencyS * turns, sPerByte: sPerByte * turns, addSPerByte: addSPerByte * turns };
}
