/** Finds runs in folders, and reads their files for the dashboard; never reads outside of a run's folder. */
import { type Dirent, existsSync, type Stats } from "node:fs";
import { type FileHandle, open, readdir, realpath, stat } from "node:fs/promises";
import { basename, join, relative, resolve, sep } from "node:path";
import { pictureKinds, pictureName, pictureOf } from "../run/picture-names.js";
import { runFiles } from "../run/run-folder.js";
import type { LogPart, PictureSeries, RunState } from "./api.js";

/** Folders of runs by name. */
export type Runs = ReadonlyMap<string, string>;

/** Depth of the search for runs; runs of a sweep are one folder deeper than others. */
const MAX_DEPTH = 3;

/** Finds the runs that the folders are or contain, named by their paths within them. */
export async function findRuns(roots: readonly string[]): Promise<Runs> {
  const runs = new Map<string, string>();
  const known = new Set<string>();
  for (const root of roots) {
    for (const folder of await foldersOfRuns(resolve(root), MAX_DEPTH)) {
      const real = await realpath(folder);
      if (known.has(real)) continue;
      known.add(real);
      const name = relative(resolve(root), folder).split(sep).join("/") || basename(folder);
      runs.set(uniqueName(runs, name), folder);
    }
  }
  return runs;
}

/** Returns a name that is not in `names`. */
export function uniqueName(names: ReadonlyMap<string, unknown>, name: string): string {
  let other = name;
  for (let n = 2; names.has(other); n++) other = `${name} (${n})`;
  return other;
}

async function foldersOfRuns(folder: string, deepest: number): Promise<readonly string[]> {
  const { config, log } = runFiles(folder);
  if (existsSync(config) && existsSync(log)) return [folder];
  if (deepest === 0) return [];
  const entries = await readdir(folder, { withFileTypes: true }).catch((): Dirent[] => []);
  const inside = entries
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith(".") && entry.name !== "node_modules")
    .map(({ name }) => name)
    .sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const found: string[] = [];
  for (const name of inside) found.push(...(await foldersOfRuns(join(folder, name), deepest - 1)));
  return found;
}

/** Describes a run. Throws if its folder is gone. */
export async function describeRun(name: string, folder: string): Promise<RunState> {
  const files = runFiles(folder);
  const log = await stat(files.log);
  const profile = await stat(files.profile).catch(() => undefined);
  return {
    name,
    config: versionOf(await stat(files.config)),
    log: { bytes: log.size, version: versionOfLog(log), ageMs: Math.max(0, Date.now() - log.mtimeMs) },
    pictures: await picturesIn(folder),
    ...(profile && { profile: versionOf(profile) }),
  };
}

/** Returns the version of a file that is replaced as a whole. */
export function versionOf({ ino, mtimeMs }: Pick<Stats, "ino" | "mtimeMs">): string {
  return `${ino}-${mtimeMs}`;
}

/** Returns the version of a log, which is a new file after truncation. */
function versionOfLog({ ino }: Pick<Stats, "ino">): string {
  return String(ino);
}

async function picturesIn(folder: string): Promise<readonly PictureSeries[]> {
  const names = await readdir(runFiles(folder).pictures).catch(() => []);
  const found = names.map(pictureOf).filter((picture) => picture !== undefined);
  const series = pictureKinds.map(async (kind) => {
    const steps = found.filter((picture) => picture.kind === kind).map(({ step }) => step);
    steps.sort((a, b) => a - b);
    const size = steps.length > 0 && (await sizeOfPng(folder, pictureName(steps.at(-1)!, kind)));
    return size ? [{ kind, steps, ...size }] : [];
  });
  return (await Promise.all(series)).flat();
}

/** Reads the size from the header: https://www.w3.org/TR/png-3/#11IHDR */
async function sizeOfPng(folder: string, name: string): Promise<{ width: number; height: number } | undefined> {
  await using file = await openWithin(folder, join("pictures", name));
  if (!file) return undefined;
  const { buffer, bytesRead } = await file.handle.read(Buffer.alloc(24), 0, 24, 0);
  return bytesRead < 24 ? undefined : { width: buffer.readUInt32BE(16), height: buffer.readUInt32BE(20) };
}

/** Maximum bytes of a log per response. */
const PART_BYTES = 4 << 20;

/**
 * Reads complete lines of a log from a byte on, at most `most` bytes; from the start if the version differs or the byte
 * is beyond the end.
 */
export async function readLogPart(
  folder: string,
  request: { readonly from: number; readonly version: string },
  most = PART_BYTES,
): Promise<LogPart | undefined> {
  await using file = await openWithin(folder, basename(runFiles(folder).log));
  if (!file) return undefined;
  const found = await file.handle.stat();
  const version = versionOfLog(found);
  const from = request.version === version && request.from <= found.size ? request.from : 0;
  const bytes = Buffer.alloc(Math.min(most, found.size - from));
  const { bytesRead } = await file.handle.read(bytes, 0, bytes.length, from);
  const whole = bytes.subarray(0, bytesRead).lastIndexOf("\n") + 1;
  return { version, from, to: from + whole, lines: bytes.toString("utf8", 0, whole) };
}

/** Reads a file of a run that the pages may read; undefined for any other. */
export async function readRunFile(folder: string, name: string): Promise<Buffer | undefined> {
  const { config, profile } = runFiles(folder);
  const [directory, picture, ...rest] = name.split("/");
  const isPicture = directory === "pictures" && rest.length === 0 && pictureOf(picture ?? "") !== undefined;
  if (!isPicture && ![config, profile].some((path) => basename(path) === name)) return undefined;
  await using file = await openWithin(folder, name);
  return file && (await file.handle.readFile());
}

/** Opens a file for reading; undefined if it is missing, and if links lead out of the folder. */
async function openWithin(
  folder: string,
  name: string,
): Promise<({ readonly handle: FileHandle } & AsyncDisposable) | undefined> {
  try {
    const [inside, path] = await Promise.all([realpath(folder), realpath(join(folder, name))]);
    if (!path.startsWith(inside + sep)) return undefined;
    const handle = await open(path, "r");
    return { handle, [Symbol.asyncDispose]: () => handle.close() };
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "ELOOP"].includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw error;
  }
}
