/** The files of a network on disk: one, or the shards that Hugging Face's index names. */
import { readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { z } from "zod";
import { openFile, type OpenFile } from "../files/files.js";
import { printable } from "../files/text.js";
import type { Which } from "../model/backbone.js";
import { findNetwork, type FoundNetwork } from "./open.js";

/** Open files of one network. Dispose of them to close them. */
export interface WeightFiles extends AsyncDisposable {
  /** Folder of the files, which may describe the network too. */
  readonly folder: string;
  readonly files: readonly OpenFile[];
  /** The file of each tensor, by its name; undefined for a single file. */
  readonly shardOf: ReadonlyMap<string, OpenFile> | undefined;
}

/** Files of a Hugging Face folder, in the order in which its library looks for them. */
const IN_FOLDER = [
  "model.safetensors",
  "model.safetensors.index.json",
  "pytorch_model.bin",
  "pytorch_model.bin.index.json",
];

/**
 * Opens a file with weights, an index of shards, or a folder with either. Throws for a folder without weights, for an index
 * that names no files of its own folder, and for missing files.
 */
export async function openWeights(path: string): Promise<WeightFiles> {
  const file = await fileWithin(path);
  const folder = dirname(file);
  const open: OpenFile[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(open.map((each) => each[Symbol.asyncDispose]()));
  };
  try {
    if (!file.endsWith(".index.json")) {
      open.push(await openFile(file, file === path ? "" : `${basename(file)}: `));
      return { folder, files: open, shardOf: undefined, [Symbol.asyncDispose]: close };
    }
    const names = await readIndex(file);
    const shards = new Map<string, OpenFile>();
    for (const name of new Set(names.values())) {
      const shard = await openFile(join(folder, name), `${name}: `);
      open.push(shard);
      shards.set(name, shard);
    }
    const shardOf = new Map([...names].map(([tensor, name]) => [tensor, shards.get(name)!]));
    return { folder, files: open, shardOf, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function fileWithin(path: string): Promise<string> {
  const isFolder = await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (!isFolder) return path;
  for (const name of IN_FOLDER) if (await stat(join(path, name)).catch(() => undefined)) return join(path, name);
  throw new Error(`expected a folder with ${IN_FOLDER.join(", ")}, found none of them; name a file`);
}

const indexSchema = z.object({ weight_map: z.record(z.string(), z.string()) });

/** Reads the shard of each tensor. */
async function readIndex(path: string): Promise<ReadonlyMap<string, string>> {
  const about = basename(path);
  let json: unknown;
  try {
    json = JSON.parse(await readFile(path, "utf8"));
  } catch (error) {
    throw new Error(`${about}: ${printable((error as Error).message)}`, { cause: error });
  }
  const read = indexSchema.safeParse(json);
  if (!read.success) throw new Error(`${about}: expected weight_map with the file of each tensor`);
  const names = new Map(Object.entries(read.data.weight_map));
  const outside = [...names.values()].find((name) => basename(name) !== name || /^\.*$/.test(name));
  if (outside !== undefined)
    throw new Error(`${about}: expected files beside it, got ${JSON.stringify(printable(outside))}`);
  return names;
}

/** Finds the network of open files. Throws as `findNetwork` does, and for a shard without a tensor that the index places there. */
export async function findNetworkIn({ files, shardOf }: WeightFiles, which?: Which): Promise<FoundNetwork> {
  if (shardOf === undefined) return findNetwork(files[0]!, which);
  const found = new Map<OpenFile, FoundNetwork>();
  for (const shard of files) {
    try {
      found.set(shard, await findNetwork(shard, which));
    } catch (error) {
      throw new Error(`${basename(shard.path)}: ${(error as Error).message}`, { cause: error });
    }
  }
  const [first] = found.values();
  if (!first) throw new Error("the index names no tensors");
  const tensors = [...shardOf].map(([name, shard]) => {
    const tensor = found.get(shard)!.tensors.get(name);
    if (!tensor) throw new Error(`${basename(shard.path)} has no ${printable(name)}, which the index places there`);
    return [name, tensor] as const;
  });
  return { ...first, tensors: new Map(tensors) };
}
