/** Ranks within this process, for tests of distributed computation. */
import { bytesIn, type World } from "../../dino/mpi/world.js";

/** Creates `count` ranks; a collective call waits until all ranks have made it. */
export function inProcess(count: number): readonly World[] {
  type Memory = Parameters<World["sum"]>[0];
  interface Came {
    readonly rank: number;
    readonly from: Memory;
    readonly to: Memory;
  }
  let came: Came[] = [];
  let resolvers: (() => void)[] = [];
  const meet = (rank: number, meeting: (all: readonly Came[]) => void) => (from: Memory, to: Memory) =>
    new Promise<void>((resolve) => {
      came.push({ rank, from, to });
      resolvers.push(resolve);
      if (came.length < count) return;
      const all = came.toSorted((a, b) => a.rank - b.rank);
      const waiting = resolvers;
      [came, resolvers] = [[], []];
      meeting(all);
      for (const go of waiting) go();
    });
  const floats = (memory: Memory): Float32Array => {
    const { buffer, byteOffset, byteLength } = bytesIn(memory);
    return new Float32Array(buffer, byteOffset, byteLength / 4);
  };
  const sum = (all: readonly Came[]): void => {
    const numbers = all.map(({ from }) => floats(from));
    const total = numbers[0]!.map((_, i) => numbers.reduce((added, each) => added + each[i]!, 0));
    for (const { to } of all) floats(to).set(total);
  };
  const allGather = (all: readonly Came[]): void => {
    for (const { to } of all) {
      for (const { rank, from } of all) bytesIn(to).set(bytesIn(from), rank * from.byteLength);
    }
  };
  const allToAll = (all: readonly Came[]): void => {
    for (const { rank, to } of all) {
      const bytes = to.byteLength / count;
      for (const other of all) {
        const row = bytesIn(other.from).subarray(rank * bytes, (rank + 1) * bytes);
        bytesIn(to).set(row, other.rank * bytes);
      }
    }
  };
  let said: Uint8Array[] = [];
  const hear = (rank: number) =>
    meet(rank, (all) => {
      said = all.map(({ from }) => bytesIn(from).slice());
    });
  return Array.from({ length: count }, (_, rank): World => {
    const gather = async (bytes: Uint8Array): Promise<readonly Uint8Array[]> => {
      await hear(rank)(bytes, bytes);
      return said;
    };
    return {
      rank,
      size: count,
      localRank: rank,
      localSize: count,
      library: "this process",
      sum: meet(rank, sum),
      allGather: meet(rank, allGather),
      allToAll: meet(rank, allToAll),
      gather: async (bytes) => (rank === 0 ? gather(bytes) : (await gather(bytes), [])),
      broadcast: async (bytes) => (await gather(bytes ?? new Uint8Array(0)))[0]!,
      abort: (exitCode) => Promise.reject(new Error(`aborted with ${exitCode}`)),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  });
}
