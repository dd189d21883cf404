/**
 * Validator of Thrift's compact protocol, in which Parquet stores its metadata: a damaged file can neither cause large
 * allocations nor long loops.
 * https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
 */

const DEEPEST = 32;

/**
 * Returns the size in bytes of the struct at `start`. Throws if it is truncated, nested too deeply, or has lists longer
 * than its bytes.
 */
export function thriftSize(bytes: Uint8Array, start = 0): number {
  let at = start;
  const damaged = () => new Error("parquet: what the file says about itself is damaged");
  const skip = (count: number): void => {
    if (!(count <= bytes.length - at)) throw damaged();
    at += count;
  };
  const varint = (): number => {
    let number = 0;
    for (let i = 0; i < 10; i++) {
      const byte = bytes[at++];
      if (byte === undefined) throw damaged();
      number += (byte & 127) * 2 ** (7 * i);
      if (byte < 128) return number;
    }
    throw damaged();
  };
  const value = (type: number, depth: number, inList: boolean): void => {
    if (type === 1 || type === 2)
      skip(inList ? 1 : 0); // a boolean field is its own value
    else if (type === 3) skip(1);
    else if (type >= 4 && type <= 6) varint();
    else if (type === 7) skip(8);
    else if (type === 8) skip(varint());
    else if (type === 9) list(depth + 1);
    else if (type === 12) struct(depth + 1);
    else throw damaged();
  };
  const list = (depth: number): void => {
    skip(1);
    const head = bytes[at - 1]!;
    const length = head >> 4 === 15 ? varint() : head >> 4;
    if (depth > DEEPEST || length > bytes.length - at) throw damaged();
    for (let i = 0; i < length; i++) value(head & 15, depth, true);
  };
  const struct = (depth: number): void => {
    if (depth > DEEPEST) throw damaged();
    for (;;) {
      skip(1);
      const head = bytes[at - 1]!;
      if ((head & 15) === 0) return;
      if (head >> 4 === 0) varint();
      value(head & 15, depth, false);
    }
  };
  struct(0);
  return at - start;
}
