/** Listing of image folders of any size, cached until a folder changes. */
import type { Dirent } from "node:fs";
import { opendir, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { writeCache, readCache } from "./list-cache.js";
import { nameAt, nameBytes, nameList, type PackedNames, sortedNames } from "./names.js";

const extensions = [".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif"];

/** Supported file extensions, for messages. */
export const imageNames = extensions.join(", ");

export function isImageName(name: string): boolean {
  const lower = name.toLowerCase();
  return extensions.some((extension) => lower.endsWith(extension));
}

/** Shorter lists are not cached, since listing is fast. */
const MANY = 10_000;
/** A folder modified this recently may change again without a newer timestamp. */
const SETTLED_MS = 2_000;

interface FolderList {
  /** Sorted by bytes, with "/" as separator. */
  readonly names: PackedNames;
  /** Every listed folder with its modification time in nanoseconds. */
  readonly folders: readonly { readonly path: string; readonly changed: bigint }[];
}

/** Called repeatedly with the number of files found so far. */
type OnFound = (files: number) => void;

/**
 * Lists the paths of the images in a folder as `listFiles` does. Long lists are cached and reused until an entry of a
 * folder is added, removed or renamed.
 */
export async function listImages(folder: string, onFound?: OnFound): Promise<PackedNames> {
  const of = `images of ${await realpath(folder)}`;
  const kept = (await readCache(of)) as FolderList | undefined;
  if (kept && (await isUnchanged(kept))) return kept.names;
  const listed = await list(folder, isImageName, onFound);
  if (listed.names.ends.length >= MANY && isSettled(listed)) await writeCache(of, listed);
  return listed.names;
}

/**
 * Lists the paths of matching files in a folder and its subfolders, sorted by bytes. Names that start with a dot are
 * skipped; links are followed, except into a folder that is being listed.
 */
export async function listFiles(folder: string, isWanted: (name: string) => boolean): Promise<PackedNames> {
  return (await list(folder, isWanted)).names;
}

async function isUnchanged({ folders }: FolderList): Promise<boolean> {
  for (const { path, changed } of folders) {
    const found = await stat(path, { bigint: true }).catch(() => undefined);
    if (found?.mtimeNs !== changed) return false;
  }
  return true;
}

function isSettled({ folders }: FolderList): boolean {
  const latest = BigInt(Date.now() - SETTLED_MS) * 1_000_000n;
  return folders.every(({ changed }) => changed < latest);
}

const SLASH = new TextEncoder().encode("/");

async function list(
  root: string,
  isWanted: (name: string) => boolean,
  onFound: OnFound = () => undefined,
): Promise<FolderList> {
  const encoder = new TextEncoder();
  const names = nameList();
  const folders: { path: string; changed: bigint }[] = [];

  const visit = async (folder: string, prefix: string, above: readonly string[]): Promise<void> => {
    const path = await realpath(folder);
    if (above.includes(path)) return;
    folders.push({ path, changed: (await stat(path, { bigint: true })).mtimeNs });
    const here = nameList(); // folder names end in "/", so that sorting compares whole paths
    for await (const entry of await opendir(folder, { bufferSize: 1024 })) {
      if (entry.name.startsWith(".")) continue;
      if (here.count % 1024 === 0) onFound(names.count + here.count);
      const kind = await kindOf(entry, join(folder, entry.name));
      if (kind === "folder") here.add(encoder.encode(entry.name), SLASH);
      else if (kind === "file" && isWanted(entry.name)) here.add(encoder.encode(entry.name));
    }
    const found = here.pack();
    const start = encoder.encode(prefix);
    for (const index of sortedNames(found)) {
      const bytes = nameBytes(found, index);
      if (bytes.at(-1) !== SLASH[0]) {
        names.add(start, bytes);
        continue;
      }
      const name = nameAt(found, index);
      await visit(join(folder, name), prefix + name, [...above, path]);
    }
  };
  await visit(root, "", []);
  return { names: names.pack(), folders };
}

/** Returns the kind of a folder entry or of its link target; some file systems need a `stat` for it. */
async function kindOf(entry: Dirent, path: string): Promise<"file" | "folder" | undefined> {
  const isPlain = entry.isFile() || entry.isDirectory();
  const target = isPlain ? entry : await stat(path).catch(() => undefined);
  return target?.isDirectory() ? "folder" : target?.isFile() ? "file" : undefined;
}
