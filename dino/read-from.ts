/** Reading a file in places. */
import type { FileHandle } from "node:fs/promises";

/** Fills bytes from a position of a file on; returns how many were there, fewer where the file ends before. */
export async function readFrom(file: FileHandle, bytes: Uint8Array, position: number): Promise<number> {
  let read = 0;
  while (read < bytes.length) {
    const { bytesRead } = await file.read(bytes, read, bytes.length - read, position + read);
    if (bytesRead === 0) break;
    read += bytesRead;
  }
  return read;
}
