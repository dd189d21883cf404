import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseSafetensors, type SafeDtype, type SafeTensor } from "../../engine/core/safetensors.js";

/** Folder of the reference numbers: GOLDEN_DIR if set, else the copy in the repository. */
const folder = process.env["GOLDEN_DIR"] ?? fileURLToPath(new URL("data", import.meta.url));

/** The tensors of one file, by name. */
export interface GoldenTensors {
  readonly names: readonly string[];
  has(name: string): boolean;
  /** Throws for a name the file lacks, as do the following. */
  tensor(name: string): SafeTensor;
  shape(name: string): readonly number[];
  /** An F32 tensor's numbers; throws for another dtype, as do the following. */
  f32(name: string): Float32Array<ArrayBuffer>;
  i32(name: string): Int32Array<ArrayBuffer>;
  u8(name: string): Uint8Array<ArrayBuffer>;
}

/** Numbers of the official code; golden/data/README.md describes each file. */
export const golden = {
  /** Whether a file exists, given its name with extension. */
  has: (file: string): boolean => existsSync(join(folder, file)),

  /** `NAME.json`; the caller names the type, as the files' own README describes it. */
  // eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- a typed view on a file we hold
  json: <T>(name: string): T => JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8")) as T,

  /** `NAME.safetensors`. */
  tensors: (name: string): GoldenTensors => {
    const file = `${name}.safetensors`;
    const all = parseSafetensors(new Uint8Array(readFileSync(join(folder, file))));
    const tensor = (key: string): SafeTensor => {
      const found = all.get(key);
      if (found === undefined) throw new Error(`${file} has no tensor ${key}; it has ${[...all.keys()].join(", ")}`);
      return found;
    };
    const wrong = (key: string, expected: SafeDtype): Error =>
      new Error(`${file} ${key}: expected ${expected}, got ${tensor(key).dtype}`);
    return {
      names: [...all.keys()],
      has: (key) => all.has(key),
      tensor,
      shape: (key) => tensor(key).shape,
      f32: (key) => {
        const found = tensor(key);
        if (found.dtype !== "F32") throw wrong(key, "F32");
        return new Float32Array(found.data);
      },
      i32: (key) => {
        const found = tensor(key);
        if (found.dtype !== "I32") throw wrong(key, "I32");
        return new Int32Array(found.data);
      },
      u8: (key) => {
        const found = tensor(key);
        if (found.dtype !== "U8") throw wrong(key, "U8");
        return new Uint8Array(found.data);
      },
    };
  },
};

/**
 * The largest |actual - expected| over the largest |expected|: 0 if all agree, Infinity for NaN and for a difference
 * from nothing but zeros. Throws unless both are equally long.
 */
export function relmax(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) {
    throw new Error(`relmax: expected ${expected.length} numbers, got ${actual.length}`);
  }
  let difference = 0;
  let largest = 0;
  for (let i = 0; i < expected.length; i++) {
    const apart = Math.abs(actual[i]! - expected[i]!);
    if (Number.isNaN(apart)) return Infinity;
    difference = Math.max(difference, apart);
    largest = Math.max(largest, Math.abs(expected[i]!));
  }
  return difference === 0 ? 0 : difference / largest;
}
