/**
 * Reads files of torch.save before PyTorch 1.6, and later ones in that format: five pickles in a row (magic number,
 * version, sizes of the machine's types, the saved object, keys of storages), then the storages, each after its number
 * of elements. `_legacy_save` in https://github.com/pytorch/pytorch/blob/main/torch/serialization.py
 */
import type { OpenFile } from "../../files/files.js";
import { torchRules } from "./objects.js";
import { MAX_PICKLE_BYTES, readPickle, type Unpickled } from "./pickle.js";
import { elementBytes } from "./stored.js";

/** The file's first bytes: the magic number 0x1950a86a20f9469cfc6c as a pickle of protocol 2. */
export const legacyMagic = Uint8Array.of(
  ...[0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e],
);

const VERSION = 1001;

/** Reads a file that begins with `legacyMagic`; otherwise like `readTorchZip`. */
export async function readTorchLegacy(file: OpenFile): Promise<unknown> {
  const bytes = await file.read(0, Math.min(file.size, MAX_PICKLE_BYTES));
  const positions = new Map<string, number>();
  const rules = torchRules((storage, first, length) => file.read(positions.get(storage.key)! + first, length));
  const plain = { names: new Map() };

  const version = readPickle(bytes, plain, legacyMagic.length);
  if (version.value !== VERSION)
    throw new Error(`expected version ${VERSION} of the legacy format, got ${String(version.value)}`);
  const machine = readPickle(bytes, plain, version.end);
  if (!(machine.value instanceof Map) || machine.value.get("little_endian") !== true)
    throw new Error("expected numbers in little-endian order");
  const saved = readPickle(bytes, rules, machine.end);
  const keys = readPickle(bytes, plain, saved.end);

  let position = keys.end;
  for (const key of keysOf(keys)) {
    const storage = rules.storages.get(key);
    if (!storage) throw new Error(`storage ${key} belongs to no tensor`);
    const { dtype, elements } = storage;
    const stored = new DataView((await file.read(position, 8)).buffer).getBigInt64(0, true);
    if (stored !== BigInt(elements)) throw new Error(`storage ${key} has ${stored} elements, expected ${elements}`);
    positions.set(key, position + 8);
    position += 8 + elements * elementBytes[dtype];
  }
  if (position > file.size)
    throw new Error(`expected storages up to byte ${position}, but the file ends at ${file.size}: it is truncated`);
  const missing = [...rules.storages.keys()].find((key) => !positions.has(key));
  if (missing !== undefined) throw new Error(`the file has no storage ${missing}`);
  return saved.value;
}

function keysOf({ value }: Unpickled): readonly string[] {
  if (!Array.isArray(value) || !value.every((key) => typeof key === "string"))
    throw new Error("expected the keys of the storages");
  return value;
}
