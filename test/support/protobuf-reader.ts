/** Reader for protocol buffers after the specification, independent of our writer. */

/** Values of a message by the number of their field, in order: integers, bytes, and the four or eight bytes of floats. */
export type Fields = ReadonlyMap<number, readonly (bigint | Uint8Array)[]>;

/** Parses a message. Throws if the bytes end within a field, and for deprecated wire types. */
export function readMessage(bytes: Uint8Array): Fields {
  const fields = new Map<number, (bigint | Uint8Array)[]>();
  let at = 0;
  const take = (length: number): Uint8Array => {
    if (at + length > bytes.length) throw new Error(`a field ends at ${at + length} of ${bytes.length}`);
    return bytes.subarray(at, (at += length));
  };
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const [byte] = take(1) as unknown as [number];
      value += BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
    throw new Error("a varint of more than ten bytes");
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    const read: Readonly<Record<number, () => bigint | Uint8Array>> = {
      0: varint,
      1: () => take(8),
      2: () => take(Number(varint())),
      5: () => take(4),
    };
    const field = Math.floor(tag / 8);
    const kind = read[tag % 8];
    if (!kind) throw new Error(`a field of kind ${tag % 8}`);
    fields.set(field, [...(fields.get(field) ?? []), kind()]);
  }
  return fields;
}

/** Returns the messages of a field. */
export function messages(fields: Fields, field: number): readonly Fields[] {
  return (fields.get(field) ?? []).map((value) => readMessage(value as Uint8Array));
}

export function textOf(fields: Fields, field: number): string | undefined {
  const [value] = fields.get(field) ?? [];
  return value === undefined ? undefined : new TextDecoder().decode(value as Uint8Array);
}

/** Returns the first value of a signed integer field. */
export function integerOf(fields: Fields, field: number): number | undefined {
  const [value] = fields.get(field) ?? [];
  return value === undefined ? undefined : Number(BigInt.asIntN(64, value as bigint));
}

/** Returns the first value of a float or double field. */
export function floatOf(fields: Fields, field: number): number | undefined {
  const [value] = (fields.get(field) ?? []) as readonly Uint8Array[];
  if (value === undefined) return undefined;
  const view = new DataView(value.buffer, value.byteOffset, value.length);
  return value.length === 4 ? view.getFloat32(0, true) : view.getFloat64(0, true);
}
