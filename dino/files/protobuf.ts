/**
 * Encoder of protocol buffer messages, the format of ONNX models and TensorBoard events. Each field is its number and
 * wire type in one varint, followed by its value (https://protobuf.dev/programming-guides/encoding). Numbers are
 * little-endian, as on every WebGPU host.
 */

/** Encoded fields in sequence; `parts` may be views of large arrays, which only `concatenate` copies. */
export interface Encoded {
  readonly bytes: number;
  readonly parts: readonly Uint8Array[];
}

const VARINT = 0;
const EIGHT_BYTES = 1;
const LENGTH_DELIMITED = 2;
const FOUR_BYTES = 5;

/** Encodes a 64-bit integer, a bool or an enum. */
export function integer(field: number, value: number): Encoded {
  return encoded(varint(tag(field, VARINT)), varint(value));
}

export function float(field: number, value: number): Encoded {
  return encoded(varint(tag(field, FOUR_BYTES)), viewBytes(Float32Array.of(value)));
}

export function double(field: number, value: number): Encoded {
  return encoded(varint(tag(field, EIGHT_BYTES)), viewBytes(Float64Array.of(value)));
}

export function stringField(field: number, value: string): Encoded {
  return bytes(field, new TextEncoder().encode(value));
}

export function bytes(field: number, value: Uint8Array): Encoded {
  return encoded(varint(tag(field, LENGTH_DELIMITED)), varint(value.length), value);
}

/** Encodes a nested message. */
export function message(field: number, ...fields: readonly Encoded[]): Encoded {
  const inner = sequence(fields);
  return sequence([encoded(varint(tag(field, LENGTH_DELIMITED)), varint(inner.bytes)), inner]);
}

/** Joins fields: a whole message, or the values of a repeated field. */
export function sequence(fields: readonly Encoded[]): Encoded {
  return {
    bytes: fields.reduce((sum, field) => sum + field.bytes, 0),
    parts: fields.flatMap(({ parts }) => parts),
  };
}

export function concatenate({ bytes: content, parts }: Encoded): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(content);
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

/** Returns the memory of an array as bytes. */
export function viewBytes({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function tag(field: number, kind: number): number {
  return 8 * field + kind;
}

function encoded(...parts: readonly Uint8Array[]): Encoded {
  return { bytes: parts.reduce((sum, { length }) => sum + length, 0), parts };
}

/** Encodes a varint: seven bits per byte, the lowest first; negative numbers as 64-bit two's complement. */
function varint(value: number): Uint8Array {
  const digits: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  do {
    digits.push(Number(rest & 127n) | (rest > 127n ? 128 : 0));
    rest >>= 7n;
  } while (rest > 0n);
  return Uint8Array.from(digits);
}
