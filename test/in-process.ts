/** Peers that are all in this process, for what several devices compute together. */
import type { Peers } from "../dino/peers.js";

/** `count` peers; every call of one waits until all have made theirs. */
export function inProcess(count: number): readonly Peers[] {
  type Came = { readonly rank: number; readonly from: ArrayBuffer; readonly to: ArrayBuffer };
  let came: Came[] = [];
  let resolvers: (() => void)[] = [];
  const meet = (rank: number, meeting: (all: readonly Came[]) => void) => (from: ArrayBuffer, to: ArrayBuffer) =>
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
  const sum = (all: readonly Came[]): void => {
    const numbers = all.map(({ from }) => new Float32Array(from));
    const total = numbers[0]!.map((_, i) => numbers.reduce((sum, each) => sum + each[i]!, 0));
    for (const { to } of all) new Float32Array(to).set(total);
  };
  const allGather = (all: readonly Came[]): void => {
    for (const { to } of all) {
      all.forEach(({ from }, rank) => new Uint8Array(to).set(new Uint8Array(from), rank * from.byteLength));
    }
  };
  return Array.from({ length: count }, (_, rank) => {
    return { rank, size: count, sum: meet(rank, sum), allGather: meet(rank, allGather) };
  });
}
