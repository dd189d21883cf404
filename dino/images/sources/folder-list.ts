/** Listing of image folders of any size, cached until a folder changes. */
import type { Dirent } from "node:fs";
import { opendir, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { readHead, whyUnopened } from "../../files/files.js";
import { extensionOf, formatOf, HEAD_BYTES, isImageName } from "../formats/kind.js";
import { writeCache, readCache } from "./list-cache.js";
import { nameAt, nameBytes, nameList, type PackedNames, sortedNames } from "./names.js";

/**
 * Whether a file is an image: by the extension of its name or, where it has none, by its first bytes. Throws if these
 * cannot be read.
 */
export function isImageFile(name: string, path: string): boolean {
  return extensionOf(name) === "" ? hasImageHead(path) : isImageName(name);
}

/** Whether a file begins as an image does, whatever its name. Throws, without its name, if it cannot be read. */
export function hasImageHead(path: string): boolean {
  return formatOf(readHead(path, HEAD_BYTES)) !== undefined;
}

/** Folders of thumbnails and deleted files, which network drives and archives make. */
const passedOver: ReadonlySet<string> = new Set(["@eaDir", "@__thumb", "__MACOSX", "#recycle", "$RECYCLE.BIN"]);

/** Shorter lists are not cached, since listing is fast. */
const MANY = 10_000;
/** A folder modified this recently may change again without a newer timestamp. */
const SETTLED_MS = 2_000;

interface FolderList {
  /** Sorted by bytes, with "/" as separator. */
  readonly names: PackedNames;
  /** Every listed folder with its modification time in nanoseconds. */
  readonly folders: readonly { readonly path: string; readonly changed: bigint }[];
  readonly leftOut: readonly LeftOut[];
}

/** Files of a folder that are not among its images. */
export interface LeftOut {
  /** Their extension, or what they have in common. */
  readonly kind: string;
  readonly count: number;
}

/** What listing a folder reports. */
export interface ListReports {
  /** Called repeatedly with the number of files found so far. */
  readonly onFound?: ((files: number) => void) | undefined;
  /** Called once for each folder with files that are not images, the most frequent kind first. */
  readonly onLeftOut?: ((folder: string, leftOut: readonly LeftOut[]) => void) | undefined;
}

/** Whether to list a file. Throws if that cannot be told. */
type IsWanted = (name: string, path: string) => boolean;

/**
 * Lists the paths of the images in a folder as `listFiles` does. Long lists are cached and reused until an entry of a
 * folder is added, removed or renamed.
 */
export async function listImages(folder: string, { onFound, onLeftOut }: ListReports = {}): Promise<PackedNames> {
  const of = `images of ${await realpath(folder)}`;
  const kept = (await readCache(of)) as FolderList | undefined;
  const isKept = kept !== undefined && (await isUnchanged(kept));
  const listed = isKept ? kept : await list(folder, isImageFile, onFound);
  if (!isKept && listed.names.ends.length >= MANY && isSettled(listed)) await writeCache(of, listed);
  if (listed.leftOut.length > 0) onLeftOut?.(folder, listed.leftOut);
  return listed.names;
}

/**
 * Lists the paths of matching files in a folder and its subfolders, sorted by bytes. Names that start with a dot are
 * skipped, as are folders of thumbnails; links are followed, except into a folder that is being listed.
 */
export async function listFiles(folder: string, isWanted: IsWanted): Promise<PackedNames> {
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
/** Stands in a name for bytes that are not UTF-8; no file can be opened by such a name. */
const NO_UTF8 = "\uFFFD";

async function list(root: string, isWanted: IsWanted, onFound?: ListReports["onFound"]): Promise<FolderList> {
  const encoder = new TextEncoder();
  const names = nameList();
  const folders: { path: string; changed: bigint }[] = [];
  const leftOut = new Map<string, number>();
  const leave = (kind: string): void => void leftOut.set(kind, (leftOut.get(kind) ?? 0) + 1);

  const visit = async (folder: string, prefix: string, above: readonly string[]): Promise<void> => {
    const path = await realpath(folder);
    if (above.includes(path)) return;
    const entries = await opendir(folder, { bufferSize: 1024 }).catch((error: unknown) => {
      if (above.length > 0 && (error as NodeJS.ErrnoException).code === "EACCES") return undefined;
      throw new Error(`${folder}: ${whyUnopened(error)}`, { cause: error });
    });
    if (entries === undefined) {
      leave("folders without permission");
      return;
    }
    folders.push({ path, changed: (await stat(path, { bigint: true })).mtimeNs });
    const here = nameList(); // folder names end in "/", so that sorting compares whole paths
    for await (const entry of entries) {
      if (entry.name.startsWith(".") || passedOver.has(entry.name)) continue;
      if (here.count % 1024 === 0) onFound?.(names.count + here.count);
      if (entry.name.includes(NO_UTF8)) {
        leave("names that are not UTF-8");
        continue;
      }
      const at = join(folder, entry.name);
      const kind = await kindOf(entry, at);
      if (kind === "folder") here.add(encoder.encode(entry.name), SLASH);
      if (kind !== "file") continue;
      try {
        if (isWanted(entry.name, at)) here.add(encoder.encode(entry.name));
        else leave(extensionOf(entry.name) || "without extension");
      } catch (error) {
        leave(`files (${(error as Error).message})`);
      }
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
  const kinds = [...leftOut].map(([kind, count]) => ({ kind, count }));
  kinds.sort((a, b) => b.count - a.count || (a.kind < b.kind ? -1 : 1));
  return { names: names.pack(), folders, leftOut: kinds };
}

/** Returns the kind of a folder entry or of its link target; some file systems need a `stat` for it. */
async function kindOf(entry: Dirent, path: string): Promise<"file" | "folder" | undefined> {
  const isPlain = entry.isFile() || entry.isDirectory();
  const target = isPlain ? entry : await stat(path).catch(() => undefined);
  return target?.isDirectory() ? "folder" : target?.isFile() ? "file" : undefined;
}
