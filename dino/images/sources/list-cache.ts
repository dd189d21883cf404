/** What was found out about large sets of images, kept in the cache folder so that it need not be found out again. */
import { createHash } from "node:crypto";
import { mkdir, readFile, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { deserialize, serialize } from "node:v8";
import { cacheFolder } from "../../../engine/adapters/node.js";
import { writeFileAtomically } from "../../files/files.js";

/** Set to "new", everything is found out anew. */
export const LISTS_VARIABLE = "DINO_LISTS";

/** Changes whenever what is kept takes another form. */
const VERSION = 1;

interface CacheEntry {
  readonly version: number;
  readonly of: string;
  readonly value: unknown;
}

/** What is kept under a name; undefined if there is nothing, or nothing that can be read. */
export async function readCache(of: string): Promise<unknown> {
  if (process.env[LISTS_VARIABLE] === "new") return undefined;
  try {
    const kept = deserialize(await readFile(pathOf(of))) as CacheEntry;
    return kept.version === VERSION && kept.of === of ? kept.value : undefined;
  } catch {
    return undefined; // it is made again
  }
}

/** Keeps numbers, strings, typed arrays, and arrays and objects of them; where the cache folder cannot be written, it does not. */
export async function writeCache(of: string, value: unknown): Promise<void> {
  const path = pathOf(of);
  try {
    await mkdir(join(path, ".."), { recursive: true });
    await writeFileAtomically(path, serialize({ version: VERSION, of, value } satisfies CacheEntry));
  } catch {
    return; // it is made again next time
  }
}

function pathOf(of: string): string {
  return join(cacheFolder(), "lists", createHash("sha256").update(of).digest("hex").slice(0, 32));
}

/** An index of a file, kept until the file changes. */
export async function cachedIndex<T>(path: string, kind: string, make: () => Promise<T>): Promise<T> {
  const { size, mtimeNs } = await stat(path, { bigint: true });
  const of = `${kind} ${await realpath(path)} ${size} ${mtimeNs}`;
  const kept = (await readCache(of)) as T | undefined;
  if (kept !== undefined) return kept;
  const made = await make();
  if (size >= MANY_BYTES) await writeCache(of, made);
  return made;
}

/** Of smaller files the index is made in no time. */
const MANY_BYTES = 2 ** 22;
