/**
 * Reads files of torch.save since PyTorch 1.6: a zip archive with NAME/data.pkl and an entry NAME/data/KEY per storage.
 */
import { type Entry, fromFdPromise, type ZipFile } from "yauzl";
import type { OpenFile } from "../../files/files.js";
import { torchRules } from "./objects.js";
import { MAX_PICKLE_BYTES, readPickle } from "./pickle.js";
import { elementBytes } from "./stored.js";

/** Limit on entries; a ViT-B with its optimizer has 800. */
const MAX_ENTRIES = 20_000;

/**
 * Reads the saved object. Tensors are read on demand, so the file must stay open. Throws for archives that torch.save
 * did not write, and if a storage differs in size from its description.
 */
export async function readTorchZip(file: OpenFile): Promise<unknown> {
  const zip = await fromFdPromise(file.handle.fd, { autoClose: false });
  const entries = await listEntries(zip);
  const names = [...entries.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name));
  if (names.length !== 1) throw new Error("expected a file of torch.save, got a zip archive without one data.pkl");
  const folder = names[0]!.slice(0, -"data.pkl".length);
  const entry = (name: string): Entry => {
    const found = entries.get(folder + name);
    if (!found) throw new Error(`the archive has no ${folder}${name}`);
    return found;
  };
  const positionOf = async (name: string): Promise<number> =>
    (await zip.readLocalFileHeaderPromise(entry(name), { minimal: true })).fileDataStart;
  const whole = async (name: string, most: number): Promise<Uint8Array<ArrayBuffer>> => {
    const { compressedSize } = expectStored(entry(name));
    if (compressedSize > most) throw new Error(`${folder}${name} takes ${compressedSize} bytes, more than ${most}`);
    return file.read(await positionOf(name), compressedSize);
  };

  if (entries.has(`${folder}byteorder`)) {
    const order = new TextDecoder().decode(await whole("byteorder", 16));
    if (order !== "little") throw new Error(`expected numbers in little-endian order, got ${JSON.stringify(order)}`);
  }
  const rules = torchRules(async (storage, first, length) =>
    file.read((await positionOf(`data/${storage.key}`)) + first, length),
  );
  const { value } = readPickle(await whole("data.pkl", MAX_PICKLE_BYTES), rules);
  for (const { key, dtype, elements } of rules.storages.values()) {
    const { compressedSize } = expectStored(entry(`data/${key}`));
    const expected = elements * elementBytes[dtype];
    if (compressedSize !== expected)
      throw new Error(`storage ${key} takes ${compressedSize} bytes, expected ${expected} for ${elements} ${dtype}`);
  }
  return value;
}

/** Lists the entries of an archive. Throws for duplicate names, and for entries beyond the end of the file. */
async function listEntries(zip: ZipFile): Promise<ReadonlyMap<string, Entry>> {
  const entries = new Map<string, Entry>();
  if (zip.entryCount > MAX_ENTRIES)
    throw new Error(`the archive has ${zip.entryCount} entries, more than ${MAX_ENTRIES}`);
  for await (const entry of zip.eachEntry()) {
    if (entries.has(entry.fileName)) throw new Error(`the archive has two entries ${entry.fileName}`);
    entries.set(entry.fileName, entry);
  }
  return entries;
}

/** Returns the entry if it is stored uncompressed; yauzl has then verified its sizes. */
function expectStored(entry: Entry): Entry {
  if (entry.compressionMethod === 0 && !entry.isEncrypted()) return entry;
  throw new Error(
    `${entry.fileName} is compressed, which torch.save never does; unpack the archive and zip it with -0`,
  );
}
