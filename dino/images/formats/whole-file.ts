/** Files that are read as a whole. */
import { readFile, stat } from "node:fs/promises";
import { readHead } from "../../files/files.js";
import type { Source } from "./samples.js";

/** Maximum size of a file that is read as a whole: that of the largest image with 3 channels of 8 bits. */
const MAX_BYTES = 2 ** 29;

/** Returns the bytes of a source. Throws if there are too many. */
export async function wholeFile(source: Source): Promise<Uint8Array> {
  if (typeof source !== "string") return source;
  const { size } = await stat(source);
  if (size > MAX_BYTES) throw new Error(`expected at most ${MAX_BYTES} bytes, got ${size}`);
  return readFile(source);
}

/** Bytes that hold the header of a format, with comments. */
const MAX_HEADER_BYTES = 2 ** 16;

/** Returns the bytes of a source that hold its header. */
export function headerOf(source: Source): Uint8Array {
  return typeof source === "string" ? readHead(source, MAX_HEADER_BYTES) : source;
}
