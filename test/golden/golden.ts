import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseSafetensors, type SafeDtype, type SafeTensor } from "../../engine/core/safetensors.js";

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

/** The files of a folder of reference numbers. */
const goldenFiles = (folder: string) => ({
  /** The names of the cases, which are JSON files, that match a pattern. */
  cases: (pattern: RegExp): readonly string[] =>
    readdirSync(folder)
      .filter((file) => file.endsWith(".json") && pattern.test(file))
      .map((file) => file.slice(0, -".json".length))
      .sort(),

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
});

const defaultFolder = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** Numbers of the official code of DINO; data/README.md describes each file. GOLDEN_DIR is read instead, if set. */
export const golden = goldenFiles(process.env["GOLDEN_DIR"] ?? defaultFolder("data"));

/** Numbers of those of DINOv2 and DINOv3; data-v2/README.md describes each file. GOLDEN_V2_DIR is read instead, if set. */
export const goldenV2 = goldenFiles(process.env["GOLDEN_V2_DIR"] ?? defaultFolder("data-v2"));

/** Returns the number of a tolerance in words, such as "relmax 2e-5". */
export function toleranceIn(words: string | undefined): number {
  const [number] = /\d+e-\d+/.exec(words ?? "") ?? [];
  if (number === undefined) throw new Error(`no tolerance in ${words}`);
  return Number(number);
}

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
