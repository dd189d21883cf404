/** The folder of a run: file names, and the lock against concurrent runs. */
import { constants } from "node:fs";
import { access, type FileHandle, open, readdir, rm, rmdir } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { makeFolder } from "../files/files.js";
import { pictureOf } from "./picture-names.js";
import { removeEvents } from "./tensorboard.js";

/** Paths of a run's files. */
export interface RunFiles {
  readonly config: string;
  readonly log: string;
  /** The log in the format of the official code. */
  readonly officialLog: string;
  readonly checkpoint: string;
  /** The previous checkpoint, in case the latest is damaged. */
  readonly previous: string;
  /** Folder of pictures, with --pictures-every. */
  readonly pictures: string;
  /** Kernel times of a step, with --pictures-every. */
  readonly profile: string;
}

export function runFiles(out: string): RunFiles {
  return {
    config: join(out, "config.json"),
    log: join(out, "log.jsonl"),
    officialLog: join(out, "log.txt"),
    checkpoint: join(out, "checkpoint.safetensors"),
    previous: join(out, "checkpoint-previous.safetensors"),
    pictures: join(out, "pictures"),
    profile: join(out, "profile.json"),
  };
}

/** Removes pictures of steps after `step`, and the folder if it is then empty. */
export async function removeLatePictures(out: string, step: number): Promise<void> {
  const { pictures } = runFiles(out);
  const names = await readdir(pictures).catch(() => undefined);
  if (names === undefined) return;
  const late = names.filter((name) => (pictureOf(name)?.step ?? -1) > step);
  for (const name of late) await rm(join(pictures, name));
  if (late.length === names.length) await rmdir(pictures);
}

/** Lists the checkpoints in a folder, latest first; [] if the folder is missing. */
export async function checkpointsIn(out: string): Promise<readonly string[]> {
  const names = await readdir(out).catch(() => []);
  const numbered = names.filter((name) => /^checkpoint\d+\.safetensors$/.test(name)).sort();
  const { checkpoint, previous } = runFiles(out);
  const latest = [checkpoint, previous].filter((path) => names.some((name) => join(out, name) === path));
  return [...latest, ...numbered.reverse().map((name) => join(out, name))];
}

/** Removes the files of a run and nothing else. */
export async function removeRun(out: string): Promise<void> {
  const ours =
    /^(log\.(jsonl|txt)|(config|profile)\.json|(checkpoint(\d*|-previous)|not-finite-\d+)\.safetensors(\.damaged)?)$/;
  for (const name of await readdir(out)) if (ours.test(name)) await rm(join(out, name));
  await removeEvents(out);
  await removeLatePictures(out, -1);
}

/** Throws unless the folder exists, or can be created, and is writable; leaves everything as it was. */
export async function expectWritable(out: string): Promise<void> {
  try {
    const made = await makeFolder(out);
    await access(out, constants.W_OK);
    for (const folder of made.toReversed()) await rmdir(folder);
  } catch (error) {
    throw unwritable(out, error);
  }
}

function unwritable(out: string, error: unknown): Error {
  const { message } = error as Error;
  return new Error(`--out ${out}: expected a folder to write to, but ${message}; name another one`, { cause: error });
}

/** A folder that no other process locks. */
export interface LockedFolder extends AsyncDisposable {
  readonly folder: string;
}

/** Locks the folder of a run as `lockFolder` does, and returns its paths. */
export async function lockRunFolder(out: string): Promise<RunFiles & AsyncDisposable> {
  const lock = await lockFolder(out, "training");
  return { ...runFiles(out), [Symbol.asyncDispose]: () => lock[Symbol.asyncDispose]() };
}

/**
 * Creates the folder if needed and locks it against other processes until disposal or the end of this process. Throws
 * if another process holds the lock, naming it and what it does there, and if the folder is not writable.
 */
export async function lockFolder(out: string, activity: string): Promise<LockedFolder> {
  const path = join(out, ".lock");
  let file: FileHandle;
  try {
    await makeFolder(out);
    file = await open(
      path,
      process.platform === "win32" ? WINDOWS_EXCLUSIVE | constants.O_RDWR | constants.O_CREAT : "a+",
    );
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EBUSY") throw lockedError(out, { activity, cause: error });
    throw unwritable(out, error);
  }
  try {
    if (process.platform !== "win32" && !(await lockPosix(file.fd))) {
      throw lockedError(out, { activity, holder: (await file.readFile("utf8")).trim() });
    }
    await file.truncate();
    await file.write(`process ${process.pid} on ${hostname()}`);
  } catch (error) {
    await file.close();
    throw error;
  }
  return { folder: out, [Symbol.asyncDispose]: () => file.close() };
}

interface Locked {
  readonly activity: string;
  readonly holder?: string;
  readonly cause?: unknown;
}

function lockedError(out: string, { activity, holder = "", cause }: Locked): Error {
  const who = holder === "" ? "another process" : holder;
  return new Error(`--out ${out}: ${who} is ${activity} there; wait for it, stop it, or name another --out`, { cause });
}

/** libuv's UV_FS_O_EXLOCK on Windows: opens a file exclusively. */
const WINDOWS_EXCLUSIVE = 0x10000000;
/** LOCK_EX | LOCK_NB of flock(2), the same on every system. */
const EXCLUSIVE_AT_ONCE = 2 | 4;

/** Tries to lock an open file; the system releases the lock with the last process that has it open. */
async function lockPosix(fd: number): Promise<boolean> {
  const { default: koffi } = await import("koffi");
  const flock = koffi.load(null).func("int flock(int fd, int operation)") as (fd: number, operation: number) => number;
  if (flock(fd, EXCLUSIVE_AT_ONCE) === 0) return true;
  const { EWOULDBLOCK, EAGAIN } = koffi.os.errno;
  // Other errors mean that the file system has no locks; the run then goes without one.
  return ![EWOULDBLOCK, EAGAIN].includes(koffi.errno());
}
