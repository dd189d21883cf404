/** Checkpoints and model files on disk. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { writeFileAtomically } from "../files/files.js";
import { openFile } from "../files/files.js";
import {
  type Checkpoint,
  encodeCheckpoint,
  encodeModel,
  type ModelFile,
  parseCheckpoint,
  parseModel,
  parseRunMetadata,
  type Sha256,
} from "./checkpoint-bytes.js";
import { readSafetensorsHeader } from "./safetensors-header.js";

/** Writes a checkpoint atomically. The former file is kept under the name `keep`. */
export async function writeCheckpoint(
  path: string,
  checkpoint: Checkpoint,
  options: { readonly keep?: string } = {},
): Promise<void> {
  await writeFileAtomically(path, await encodeCheckpoint(checkpoint, sha256), options);
}

/** Writes a model file atomically. */
export async function writeModel(path: string, model: Omit<ModelFile, "isTrained">): Promise<void> {
  await writeFileAtomically(path, await encodeModel(model, sha256));
}

/** SHA-256 by OpenSSL: faster than Web Crypto, and for files of any size. */
const sha256: Sha256 = (parts) => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return Promise.resolve(hash.digest("hex"));
};

/** Reads a checkpoint. Throws, naming the file, if it is missing or not a checkpoint; a model file is none. */
export async function readCheckpoint(path: string): Promise<Checkpoint> {
  return read(path, parseCheckpoint);
}

/** A damaged checkpoint, and the reason. */
export interface Damaged {
  readonly path: string;
  readonly message: string;
}

/** Returns the first intact checkpoint of `paths`, and the damaged ones before it. Throws if none is intact. */
export async function readFirstWhole(
  paths: readonly string[],
): Promise<{ readonly checkpoint: Checkpoint; readonly path: string; readonly damaged: readonly Damaged[] }> {
  const damaged: Damaged[] = [];
  for (const path of paths) {
    try {
      return { checkpoint: await readCheckpoint(path), path, damaged };
    } catch (error) {
      damaged.push({ path, message: (error as Error).message });
    }
  }
  throw new Error(damaged.map(({ message }) => message).join("; "));
}

/** Returns the steps done of a checkpoint's run, reading only the header. Throws as `readCheckpoint` does. */
export async function stepsDone(path: string): Promise<number> {
  try {
    await using file = await openFile(path, "");
    return parseRunMetadata((await readSafetensorsHeader(file)).metadata).step;
  } catch (error) {
    throw new Error(`${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** Reads the networks of a checkpoint or model file. Throws, naming the file, if it is missing or neither. */
export async function readModel(path: string): Promise<ModelFile> {
  return read(path, parseModel);
}

async function read<T>(
  path: string,
  parse: (bytes: Uint8Array<ArrayBuffer>, sha256: Sha256) => Promise<T>,
): Promise<T> {
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = await readFile(path);
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    throw new Error(`${path}: ${missing ? "there is no such checkpoint" : (error as Error).message}`, { cause: error });
  }
  try {
    return await parse(bytes, sha256);
  } catch (error) {
    throw new Error(`${path}: ${(error as Error).message}`, { cause: error });
  }
}
