/** Writes .npy files that do not fit into memory. */
import { writeAtomically, writeFully } from "./files.js";
import { encodeNpyHeader } from "./npy.js";

/** Bytes of the header, which is written last, when the number of arrays is known; enough for any shape of eight axes. */
const HEADER_BYTES = 256;

/**
 * Writes float32 arrays of one shape as the .npy file [arrays, ...shape], atomically: those that `write` appends, one after
 * another. Returns the result of `write`. Throws what it throws, and for an array of another length.
 */
export async function writeNpyPieces<Result>(
  path: string,
  shape: readonly number[],
  write: (append: (values: Float32Array) => Promise<void>) => Promise<Result>,
): Promise<Result> {
  const length = shape.reduce((product, axis) => product * axis, 1);
  return writeAtomically(path, async (file) => {
    let count = 0;
    const result = await write(async (values) => {
      if (values.length !== length)
        throw new Error(`npy: expected arrays [${shape.join(", ")}], got ${values.length} values`);
      const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
      await writeFully(file, bytes, HEADER_BYTES + count * bytes.length);
      count++;
    });
    await writeFully(file, encodeNpyHeader("<f4", [count, ...shape], HEADER_BYTES), 0);
    return result;
  });
}
