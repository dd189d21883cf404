/** Cache of file lists and indices of large image sets, in the cache folder. */
import { createHash } from "node:crypto";
import { readFile, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { deserialize, serialize } from "node:v8";
import { cacheFolder } from "../../../engine/adapters/node.js";
import { makeFolder, writeFileAtomically } from "../../files/files.js";

/** With the value "new", ignores cached lists. */
export const LISTS_VARIABLE = "DINO_LISTS";

/** Version of the format of cached values. */
const VERSION = 4;

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
  const of = `${kind} ${await realpath(path)} ${size} ${mtimeNs}`;
  const kept = (await readCache(of)) as T | undefined;
  if (kept !== undefined) return kept;
  const made = await make();
  if (size >= MANY_BYTES) await writeCache(of, made);
  return made;
}

/** Indices of smaller files are not cached, since they are fast to build. */
const MANY_BYTES = 2 ** 22;
