/** Compact lists of names: concatenated UTF-8 and end offsets. */

/** Names as plain data, for caches and other threads. */
export interface PackedNames {
  readonly bytes: Uint8Array;
  /** End offset of each name in `bytes`, where the next one begins: [count]. */
  readonly ends: Float64Array | Uint32Array;
}

/** A growing list of names. */
export interface NameList {
  readonly count: number;
  /** Appends a name: the bytes of `head` and `tail`. */
  add(head: Uint8Array, tail?: Uint8Array): void;
  /** Returns the names added so far. */
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

/** Packs strings. */
export function packNames(names: Iterable<string>): PackedNames {
  const encoder = new TextEncoder();
  const list = nameList();
  for (const name of names) list.add(encoder.encode(name));
  return list.pack();
}

/** Returns the bytes of a name; the index is not checked. */
export function nameBytes({ bytes, ends }: PackedNames, index: number): Uint8Array {
  return bytes.subarray(index === 0 ? 0 : ends[index - 1]!, ends[index]);
}

const decoder = new TextDecoder();

/** Returns a name; the index is not checked. */
export function nameAt(names: PackedNames, index: number): string {
  return decoder.decode(nameBytes(names, index));
}

/** Returns the indices of the names sorted by bytes, independent of system and locale. */
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
