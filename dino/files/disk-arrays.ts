/** Temporary arrays on disk, for commands whose data does not fit into memory. */
import { randomBytes } from "node:crypto";
import { type FileHandle, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { readFully, writeFully } from "./files.js";

/** Arrays in the order of their appending. Dispose of it to free the disk space. */
export interface DiskArrays extends AsyncDisposable {
  readonly count: number;
  append(values: Float32Array): Promise<void>;
  /** Reads the array with this index, from 0. Throws if the index is out of range. */
  read(index: number): Promise<Float32Array>;
}

/**
 * Opens a scratch file in a folder. Its name is removed at once, so nothing is left behind however the process ends.
 */
export async function openDiskArrays(folder: string): Promise<DiskArrays> {
  const path = join(folder, `.scratch-${randomBytes(6).toString("hex")}`);
  const file: FileHandle = await open(path, "wx+");
  await rm(path);
  const ends = [0]; // in bytes
  return {
    get count() {
      return ends.length - 1;
    },
    async append(values) {
      const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
      const start = ends.at(-1)!;
      await writeFully(file, bytes, start);
      ends.push(start + bytes.length);
    },
    async read(index) {
      const [start, end] = [ends[index], ends[index + 1]];
      if (start === undefined || end === undefined) {
        throw new Error(`scratch: expected an array from 0 to ${ends.length - 2}, got ${index}`);
      }
      const values = new Float32Array((end - start) / 4);
      const bytes = new Uint8Array(values.buffer);
      if ((await readFully(file, bytes, start)) < bytes.length) throw new Error("scratch: the file ends too early");
      return values;
    },
    [Symbol.asyncDispose]: () => file.close(),
  };
}
