/** Builds pickles and PyTorch files by hand, mainly damaged ones. */

const utf8 = (text: string) => [...new TextEncoder().encode(text)];
const uint32 = (value: number) => [...new Uint8Array(Uint32Array.of(value).buffer)];
const uint16 = (value: number) => [...new Uint8Array(Uint16Array.of(value).buffer)];
const uint64 = (value: number) => [...new Uint8Array(BigUint64Array.of(BigInt(value)).buffer)];

/** Opcodes and their arguments. */
export const op = {
  proto: [0x80, 2],
  stop: [0x2e],
  mark: [0x28],
  none: [0x4e],
  emptyTuple: [0x29],
  emptyList: [0x5d],
  emptyDict: [0x7d],
  tuple: [0x74],
  append: [0x61],
  appends: [0x65],
  setItems: [0x75],
  reduce: [0x52],
  build: [0x62],
  persistent: [0x51],
  int: (value: number) => [0x4a, ...uint32(value)],
  /** Encodes an integer of up to 8 bytes, as pickles do beyond 32 bits. */
  long: (value: number) => [0x8a, 8, ...uint64(value)],
  text: (value: string) => [0x58, ...uint32(utf8(value).length), ...utf8(value)],
  name: (module: string, name: string) => [0x63, ...utf8(`${module}\n${name}\n`)],
} as const;

export function tuple(...items: readonly (readonly number[])[]): number[] {
  return [...op.mark, ...items.flat(), ...op.tuple];
}

export function dict(entries: Readonly<Record<string, readonly number[]>>): number[] {
  const items = Object.entries(entries).flatMap(([key, value]) => [...op.text(key), ...value]);
  return [...op.emptyDict, ...op.mark, ...items, ...op.setItems];
}

/** Builds a complete pickle. */
export function pickle(...parts: readonly (readonly number[])[]): Uint8Array {
  return Uint8Array.from([...op.proto, ...parts.flat(), ...op.stop]);
}

/** Builds a view of a storage that claims to have `elements`. */
export interface TensorWords {
  readonly elements?: number;
  readonly offset?: number;
  readonly shape?: readonly number[];
  readonly strides?: readonly number[];
}

/** A tensor over the storage "0": four floats, unless the words say otherwise. */
export function tensor({ elements = 4, offset = 0, shape = [4], strides = [1] }: TensorWords = {}): number[] {
  const numbers = (values: readonly number[]) => tuple(...values.map(integer));
  const type = op.name("torch", "FloatStorage");
  const id = tuple(op.text("storage"), type, op.text("0"), op.text("cpu"), integer(elements));
  const args = tuple([...id, ...op.persistent], integer(offset), numbers(shape), numbers(strides), op.none, op.none);
  return [...op.name("torch._utils", "_rebuild_tensor_v2"), ...args, ...op.reduce];
}

function integer(value: number): number[] {
  return value < 0 || value > 2 ** 31 ? op.long(value) : op.int(value);
}

const magic = [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e];

/** Builds a file in the format before PyTorch 1.6, with an object and an optional storage "0". */
export function legacyFile(saved: readonly number[], storage?: Float32Array): Uint8Array {
  const machine = dict({ little_endian: [0x88] });
  const keys = storage ? [...op.emptyList, ...op.text("0"), ...op.append] : op.emptyList;
  const bytes = storage ? [...uint64(storage.length), ...new Uint8Array(storage.buffer)] : [];
  return Uint8Array.from([
    ...magic,
    ...[...pickle(op.int(1001)), ...pickle(machine), ...pickle(saved), ...pickle(keys)],
    ...bytes,
  ]);
}

export interface ZipEntry {
  readonly name: string;
  readonly bytes: ArrayLike<number>;
  /** Compression method; 8 claims deflate, while the bytes stay uncompressed. */
  readonly method?: number;
  /** Both sizes claimed by the directory. */
  readonly size?: number;
}

/** Builds a zip archive without checksums. */
export function zip(entries: readonly ZipEntry[]): Uint8Array {
  const body: number[] = [];
  const directory: number[] = [];
  for (const { name, bytes, method = 0, size = bytes.length } of entries) {
    const common = [20, 0, 0, 0, ...uint16(method), ...uint32(0), ...uint32(0), ...uint32(size), ...uint32(size)];
    const names = [...uint16(name.length), ...uint16(0)];
    const begin = body.length;
    body.push(0x50, 0x4b, 3, 4, ...common, ...names, ...utf8(name), ...Array.from(bytes));
    const rest = [...uint16(0), ...uint16(0), ...uint16(0), ...uint32(0), ...uint32(begin)];
    directory.push(0x50, 0x4b, 1, 2, 20, 0, ...common, ...names, ...rest, ...utf8(name));
  }
  const count = uint16(entries.length);
  const end = [...count, ...count, ...uint32(directory.length), ...uint32(body.length), ...uint16(0)];
  return Uint8Array.from([...body, ...directory, 0x50, 0x4b, 5, 6, 0, 0, 0, 0, ...end]);
}
