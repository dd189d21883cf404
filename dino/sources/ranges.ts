/** Parts of files. */
import { type FileHandle, open } from "node:fs/promises";
import { readFrom } from "../read-from.js";

/** Some bytes of a file. Throws where it is gone or ends before them. */
export async function readRange(path: string, start: number, size: number): Promise<Uint8Array<ArrayBuffer>> {
  await using file = await openFile(path);
  return await file.read(start, size);
}

/** A file that is read here and there. Dispose of it to close it. */
export interface OpenFile extends AsyncDisposable {
  readonly path: string;
  /** In bytes. */
  readonly size: number;
  /** Some of its bytes. Throws where it ends before them: nothing is allocated for what is not there. */
  read(start: number, size: number): Promise<Uint8Array<ArrayBuffer>>;
}

/** Opens a file. Throws where it is gone. */
export async function openFile(path: string): Promise<OpenFile> {
  const handle: FileHandle = await open(path);
  const { size: whole } = await handle.stat();
  return {
    path,
    size: whole,
    async read(start, size) {
      if (!(start >= 0 && size >= 0 && start + size <= whole)) {
        throw new Error(`${path}: expected ${size} bytes from byte ${start} on, but the file has ${whole}`);
      }
      const bytes = new Uint8Array(size);
      if ((await readFrom(handle, bytes, start)) < size) throw new Error(`${path}: ended while it was read`);
      return bytes;
    },
    [Symbol.asyncDispose]: () => handle.close(),
  };
}
