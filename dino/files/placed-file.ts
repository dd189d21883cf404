/** A file that is read in places, since those with weights may be larger than memory. */
import { type FileHandle, open } from "node:fs/promises";
import { readFully } from "./files.js";

export interface PlacedFile {
  readonly handle: FileHandle;
  readonly path: string;
  /** In bytes. */
  readonly size: number;
  /** Bytes from a position on, in memory of their own. Throws where the file ends before. */
  read(position: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Opens a file. Throws, naming it, where there is none. */
export async function openPlacedFile(path: string): Promise<PlacedFile> {
  let handle: FileHandle;
  try {
    handle = await open(path);
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    throw new Error(missing ? "there is no such file" : (error as Error).message, { cause: error });
  }
  const found = await handle.stat();
  if (!found.isFile()) {
    await handle.close();
    throw new Error("expected a file, got a folder");
  }
  const { size } = found;
  return {
    handle,
    path,
    size,
    async read(position, length) {
      if (position + length > size) {
        throw new Error(`expected ${length} bytes from ${position} on, but the file ends at ${size}; it is cut off`);
      }
      const bytes = new Uint8Array(length);
      if ((await readFully(handle, bytes, position)) < length)
        throw new Error("the file became shorter while it was read");
      return bytes;
    },
    [Symbol.asyncDispose]: () => handle.close(),
  };
}
