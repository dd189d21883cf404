/** Cache of file lists and indices of large image sets, in the cache folder. */
import { createHash } from "node:crypto";
import { type BigIntStats, statSync } from "node:fs";
import { readFile, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { deserialize, serialize } from "node:v8";
import { cacheFolder } from "../../../engine/adapters/node.js";
import { makeFolder, writeFileAtomically } from "../../files/files.js";
import { nameAt, type PackedNames } from "./names.js";

/** With the value "new", ignores cached lists. */
export const LISTS_VARIABLE = "DINO_LISTS";

/** Version of the format of cached values. */
const VERSION = 5;

interface CacheEntry {
  readonly version: number;
  readonly of: string;
  readonly value: unknown;
}

/** Reads the cached value of a key; undefined if there is none or it cannot be read. */
export async function readCache(of: string): Promise<unknown> {
  if (process.env[LISTS_VARIABLE] === "new") return undefined;
  try {
    const kept = deserialize(await readFile(pathOf(of))) as CacheEntry;
    return kept.version === VERSION && kept.of === of ? kept.value : undefined;
  } catch {
    return undefined; // rebuilt by the caller
  }
}

/**
 * Caches a value of numbers, strings, typed arrays, and arrays and objects of them. Does nothing if the cache folder is
 * not writable.
 */
export async function writeCache(of: string, value: unknown): Promise<void> {
  const path = pathOf(of);
  try {
    await makeFolder(join(path, ".."));
    await writeFileAtomically(path, serialize({ version: VERSION, of, value } satisfies CacheEntry));
  } catch {
    return; // rebuilt next time
  }
}

function pathOf(of: string): string {
  return join(cacheFolder(), "lists", createHash("sha256").update(of).digest("hex").slice(0, 32));
}

/** Returns the index of a file, cached until the file changes. */
export async function cachedIndex<T>(path: string, kind: string, make: () => Promise<T>): Promise<T> {
  const { size, mtimeNs } = await stat(path, { bigint: true });
  return cached(`${kind} ${await realpath(path)} ${size} ${mtimeNs}`, Number(size), make);
}

/** What is made of files in a folder. */
interface OfFiles<T> {
  /** Names what is made, and by which options. */
  readonly kind: string;
  /** Whether the content of a file matters, not only its name. */
  readonly isRead: (file: string) => boolean;
  readonly make: () => Promise<T>;
}

/** Returns what is made of files in a folder, cached until their names, sizes or times of modification change. */
export async function cachedOfFiles<T>(
  folder: string,
  files: PackedNames,
  { kind, isRead, make }: OfFiles<T>,
): Promise<T> {
  const hash = createHash("sha256").update(`${kind} ${await realpath(folder)}`);
  let bytes = 0;
  for (let i = 0; i < files.ends.length; i++) {
    const file = nameAt(files, i);
    const found = isRead(file) ? stateOf(join(folder, file)) : undefined;
    hash.update(`\0${file}\0${found?.size} ${found?.mtimeNs}`);
    bytes += Number(found?.size ?? 0);
  }
  return cached(hash.digest("hex"), bytes, make);
}

/** Returns size and times of a file; undefined if they may not be read. Synchronous, which is faster for small calls. */
function stateOf(path: string): BigIntStats | undefined {
  try {
    return statSync(path, { bigint: true });
  } catch {
    return undefined;
  }
}

async function cached<T>(of: string, bytes: number, make: () => Promise<T>): Promise<T> {
  const kept = (await readCache(of)) as T | undefined;
  if (kept !== undefined) return kept;
  const made = await make();
  if (bytes >= MANY_BYTES) await writeCache(of, made);
  return made;
}

/** What is made of files with fewer bytes is not cached, since it is fast to make. */
const MANY_BYTES = 2 ** 22;
