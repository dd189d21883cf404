/** The images of a folder, however many: found once, and again only when the folder has changed. */
import type { Dirent } from "node:fs";
import { opendir, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { writeCache, readCache } from "./list-cache.js";
import { nameAt, nameBytes, nameList, type PackedNames, sortedNames } from "./names.js";

const extensions = [".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif"];

/** What images are called, for messages. */
export const imageNames = extensions.join(", ");

export function isImageName(name: string): boolean {
  const lower = name.toLowerCase();
  return extensions.some((extension) => lower.endsWith(extension));
}

/** Fewer are listed again every time, which takes no while. */
const MANY = 10_000;
/** A folder that has changed so shortly before it was listed may change again without a newer time. */
const SETTLED_MS = 2_000;

interface FolderList {
  /** Sorted by their bytes, "/" between the parts of a path. */
  readonly names: PackedNames;
  /** Every folder that was looked at, with the time of its last change, in nanoseconds. */
  readonly folders: readonly { readonly path: string; readonly changed: bigint }[];
}

/** Told now and then how many have been found so far. */
type OnFound = (files: number) => void;

/**
 * The paths of the images within a folder, as listFiles gives them. Of many images the list is kept, and taken as long as no folder
 * has got, lost or renamed anything.
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
 * The paths of the files of a folder and its subfolders whose names are wanted, sorted by their bytes. What starts with a dot is
 * passed over; links are followed, but never into a folder that is being listed.
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
    const here = nameList(); // a folder's name ends in "/", so that its images are sorted among the others by their whole paths
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

/** What an entry of a folder is, or what it links to; some file systems say so only when they are asked for each. */
async function kindOf(entry: Dirent, path: string): Promise<"file" | "folder" | undefined> {
  const isPlain = entry.isFile() || entry.isDirectory();
  const target = isPlain ? entry : await stat(path).catch(() => undefined);
  return target?.isDirectory() ? "folder" : target?.isFile() ? "file" : undefined;
}
