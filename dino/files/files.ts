/** Atomic file writes and random-access reads. */
import { randomBytes } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";
import { type FileHandle, link, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/**
 * Creates a folder and the folders above it that are missing, and returns those it created, outermost first. Throws if that
 * is impossible, also in /proc, where the recursive `mkdir` of Node tries forever.
 */
export async function makeFolder(path: string): Promise<readonly string[]> {
  try {
    return await makeInside(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" || dirname(path) === path) throw error;
  }
  const above = await makeFolder(dirname(path));
  return [...above, ...(await makeInside(path))];
}

/** Creates a folder in an existing one, unless it exists. */
async function makeInside(path: string): Promise<readonly string[]> {
  try {
    await mkdir(path);
    return [path];
  } catch (error) {
    const exists = (error as NodeJS.ErrnoException).code === "EEXIST" && (await stat(path)).isDirectory();
    if (exists) return [];
    throw error;
  }
}

/** Maximum duration of a write; older temporary files are left over from a killed process. */
const LONGEST_WRITE_MS = 3600_000;

/**
 * Writes a file atomically: `path` holds either the old bytes or the new ones. Writes a temporary file in the same
 * folder, syncs it to disk and renames it. Removes temporary files that killed writes of the same path left behind. The
 * old file stays under the name `keep`, if given. Throws if the folder is missing or full; `path` is then unchanged.
 * Only one machine at a time may write a path.
 */
export function writeFileAtomically(
  path: string,
  content: Uint8Array | string,
  options: KeepOption = {},
): Promise<void> {
  return writeAtomically(path, (file) => file.writeFile(content), options);
}

interface KeepOption {
  readonly keep?: string;
}

/** Writes a file as `writeFileAtomically` does, by a function, and returns its result. Throws, and changes nothing, if it throws. */
export async function writeAtomically<Result>(
  path: string,
  write: (file: FileHandle) => Promise<Result>,
  { keep }: KeepOption = {},
): Promise<Result> {
  const folder = dirname(path);
  const name = basename(path);
  await removeLeftovers(folder, name);
  const temporary = join(folder, `.${name}.${process.pid}-${randomBytes(4).toString("hex")}.tmp`);
  let result: Result;
  try {
    const file = await open(temporary, "wx");
    try {
      result = await write(file);
      await file.sync();
    } finally {
      await file.close();
    }
    if (keep !== undefined) await keepUnder(keep, path);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(folder);
  return result;
}

/** Gives a file a second name, replacing any file of that name. Does nothing if the file is missing. */
async function keepUnder(name: string, path: string): Promise<void> {
  await rm(name, { force: true });
  await link(path, name).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    return rename(path, name); // the file system has no hard links
  });
}

/** Writes a value as indented JSON, atomically. */
export async function writeJson(path: string, value: unknown): Promise<void> {
  await writeFileAtomically(path, `${JSON.stringify(value, undefined, 2)}\n`);
}

/** Removes temporary files of `name` whose writers are gone, and leaves those that are still being written. */
async function removeLeftovers(folder: string, name: string): Promise<void> {
  const prefix = `.${name}.`;
  for (const entry of await readdir(folder)) {
    if (!entry.startsWith(prefix)) continue;
    const writer = /^(\d+)-[0-9a-f]{8}\.tmp$/.exec(entry.slice(prefix.length))?.[1];
    if (writer === undefined) continue;
    const path = join(folder, entry);
    if (await isLeftover(path, Number(writer))) await rm(path, { force: true });
  }
}

async function isLeftover(path: string, writer: number): Promise<boolean> {
  if (writer !== process.pid && !isAlive(writer)) return true;
  let touchedMs: number;
  try {
    touchedMs = (await stat(path)).mtimeMs;
  } catch {
    return false; // renamed or removed by its writer meanwhile
  }
  // In containers process ids repeat: a leftover with this id is older than this process.
  const oldestMs = writer === process.pid ? performance.timeOrigin - 1000 : Date.now() - LONGEST_WRITE_MS;
  return touchedMs < oldestMs;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0); // signal 0 only tests whether the process exists
    return true;
  } catch (error) {
    return !(error instanceof Error && "code" in error && error.code === "ESRCH");
  }
}

/** Makes the rename survive a power cut; Windows does not need this and cannot open folders. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Writes all bytes from `position` on. */
export async function writeFully(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let written = 0; written < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, written, bytes.length - written, position + written);
    written += bytesWritten;
  }
}

/** Reads from `position` until `bytes` is full or the file ends; returns the number of bytes read. */
export async function readFully(file: FileHandle, bytes: Uint8Array, position: number): Promise<number> {
  let read = 0;
  while (read < bytes.length) {
    const { bytesRead } = await file.read(bytes, read, bytes.length - read, position + read);
    if (bytesRead === 0) break;
    read += bytesRead;
  }
  return read;
}

/** Reads `size` bytes of a file from `start`. Throws if the file is missing or too short. */
export async function readRange(path: string, start: number, size: number): Promise<Uint8Array<ArrayBuffer>> {
  await using file = await openFile(path);
  return await file.read(start, size);
}

/**
 * Reads the first bytes of a file, `size` or fewer if it is shorter. Errors do not name the file. Synchronous, which
 * takes a tenth of the time of the four calls that wait for other threads.
 */
export function readHead(path: string, size: number): Uint8Array {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch (error) {
    throw new Error(whyUnopened(error), { cause: error });
  }
  try {
    const bytes = new Uint8Array(size);
    return bytes.subarray(0, readSync(file, bytes));
  } finally {
    closeSync(file);
  }
}

/** Returns why a file or folder could not be opened. */
export function whyUnopened(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "EACCES" || code === "EPERM") return "permission denied";
  return code === "ENOENT" ? "there is no such file" : message;
}

/** A file open for random access. Dispose of it to close it. */
export interface OpenFile extends AsyncDisposable {
  readonly handle: FileHandle;
  readonly path: string;
  /** In bytes. */
  readonly size: number;
  /** Reads `size` bytes from `start`. Throws if the file ends earlier, before allocating anything. */
  read(start: number, size: number): Promise<Uint8Array<ArrayBuffer>>;
}

/**
 * Opens a file for reading. Throws if it is missing or a folder. Errors begin with `prefix`, which is the path if left
 * out; callers that name the file themselves pass "".
 */
export async function openFile(path: string, prefix = `${path}: `): Promise<OpenFile> {
  const fail = (message: string, cause?: unknown): Error => new Error(`${prefix}${message}`, { cause });
  let handle: FileHandle;
  try {
    handle = await open(path);
  } catch (error) {
    throw fail(whyUnopened(error), error);
  }
  const found = await handle.stat();
  if (!found.isFile()) {
    await handle.close();
    throw fail("expected a file, got a folder");
  }
  const { size: whole } = found;
  return {
    handle,
    path,
    size: whole,
    async read(start, size) {
      if (!(start >= 0 && size >= 0 && start + size <= whole)) {
        throw fail(`expected ${size} bytes from byte ${start} on, but the file has ${whole}; it is cut off`);
      }
      const bytes = new Uint8Array(size);
      if ((await readFully(handle, bytes, start)) < size) throw fail("the file became shorter while it was read");
      return bytes;
    },
    [Symbol.asyncDispose]: () => handle.close(),
  };
}
