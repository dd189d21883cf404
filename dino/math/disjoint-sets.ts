/** Disjoint sets of numbers. */
interface DisjointSets {
  join(a: number, b: number): void;
  /** Returns the smallest number of the set. */
  find(a: number): number;
}

/** Creates a set for each number from 0 to count - 1: Tarjan's forest with path halving. */
export function disjointSets(count: number): DisjointSets {
  const parents = Int32Array.from({ length: count }, (_, i) => i);
  const find = (a: number): number => {
    let at = a;
    while (parents[at] !== at) {
      parents[at] = parents[parents[at]!]!;
      at = parents[at]!;
    }
    return at;
  };
  return {
    find,
    join(a, b) {
      const [x, y] = [find(a), find(b)];
      parents[Math.max(x, y)] = Math.min(x, y);
    },
  };
}
