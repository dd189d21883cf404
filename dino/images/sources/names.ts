/** Millions of names in little memory: their UTF-8 one after the other, and where each ends. */

/** Names as plain data, for files and other threads. */
export interface PackedNames {
  readonly bytes: Uint8Array;
  /** Where each name ends in `bytes`, which is where the next one begins: [count]. */
  readonly ends: Float64Array | Uint32Array;
}

/** Names while they are gathered. */
export interface NameList {
  readonly count: number;
  /** Adds a name: some bytes of UTF-8, and some more. */
  add(head: Uint8Array, tail?: Uint8Array): void;
  /** What has been added so far. */
  pack(): PackedNames;
}

export function nameList(): NameList {
  let bytes = new Uint8Array(1024);
  let ends = new Float64Array(64);
  let count = 0;
  let used = 0;
  const append = (part: Uint8Array): void => {
    if (used + part.length > bytes.length) {
      const larger = new Uint8Array(2 * (used + part.length));
      larger.set(bytes.subarray(0, used));
      bytes = larger;
    }
    bytes.set(part, used);
    used += part.length;
  };
  return {
    get count() {
      return count;
    },
    add(head, tail) {
      append(head);
      if (tail) append(tail);
      if (count === ends.length) {
        const larger = new Float64Array(2 * count);
        larger.set(ends);
        ends = larger;
      }
      ends[count++] = used;
    },
    pack: () => ({ bytes: bytes.slice(0, used), ends: ends.slice(0, count) }),
  };
}

/** Names out of strings. */
export function packNames(names: Iterable<string>): PackedNames {
  const encoder = new TextEncoder();
  const list = nameList();
  for (const name of names) list.add(encoder.encode(name));
  return list.pack();
}

/** The bytes of a name; its number is not checked. */
export function nameBytes({ bytes, ends }: PackedNames, index: number): Uint8Array {
  return bytes.subarray(index === 0 ? 0 : ends[index - 1]!, ends[index]);
}

const decoder = new TextDecoder();

/** A name; its number is not checked. */
export function nameAt(names: PackedNames, index: number): string {
  return decoder.decode(nameBytes(names, index));
}

/** The numbers of names in the order of their bytes, which is the same on every system and in every language. */
export function sortedNames({ bytes, ends }: PackedNames): Uint32Array {
  return new Uint32Array(ends.length)
    .map((_, index) => index)
    .sort((a, b) => {
      let i = a === 0 ? 0 : ends[a - 1]!;
      let j = b === 0 ? 0 : ends[b - 1]!;
      const [endOfA, endOfB] = [ends[a]!, ends[b]!];
      for (; i < endOfA && j < endOfB; i++, j++) {
        const difference = bytes[i]! - bytes[j]!;
        if (difference !== 0) return difference;
      }
      return endOfA - i - (endOfB - j);
    });
}
