/** Neighbours of images and their places on the map, kept in a folder and made again when the features change. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomically, writeJson } from "../files/files.js";
import { encodeNpy, parseNpy } from "../files/npy.js";
import type { FeatureRows } from "../math/feature-rows.js";
import type { NeighborTable } from "../math/umap.js";
import { placeNeighbors } from "../retrieval/places.js";

export interface ImageMap {
  /** [rows, 2]. */
  readonly places: Float32Array;
  readonly table: NeighborTable;
}

export interface MapOptions {
  readonly folder: string;
  /** Rows of length one. */
  readonly features: FeatureRows;
  readonly seed: number;
  /** Finds the neighbours, if they are needed. */
  readonly compare: () => Promise<NeighborTable>;
  readonly onPlace?: (done: number, total: number) => void;
}

/** Returns the map of features, from the folder if they and the seed are the same as last time. */
export async function updateMap({ folder, features, seed, ...options }: MapOptions): Promise<ImageMap> {
  const { rows, values } = features;
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const key = createHash("sha256").update(bytes).update(`seed ${seed}, rows ${rows}`).digest("hex");
  const found = await readMap(folder, key);
  if (found) return found;
  const { onPlace } = options;
  const table = await options.compare();
  const placed = await placeNeighbors(features, table, { seed, ...(onPlace && { onProgress: onPlace }) });
  const map = { places: Float32Array.from(placed), table };
  await writeMap(folder, key, map);
  return map;
}

async function writeMap(folder: string, key: string, { places, table }: ImageMap): Promise<void> {
  const { rows, count, neighbors, distances } = table;
  const arrays = {
    places: { values: places, shape: [rows, 2] },
    neighbors: { values: neighbors, shape: [rows, count] },
    distances: { values: distances, shape: [rows, count] },
  };
  for (const [name, array] of Object.entries(arrays))
    await writeFileAtomically(join(folder, `${name}.npy`), encodeNpy(array));
  await writeJson(join(folder, "map.json"), { key });
}

/** Reads the map; undefined if it is missing, of other features, or damaged. */
async function readMap(folder: string, key: string): Promise<ImageMap | undefined> {
  const read = async (name: string) => parseNpy(await readFile(join(folder, `${name}.npy`)));
  try {
    const state = JSON.parse(await readFile(join(folder, "map.json"), "utf8")) as { readonly key?: unknown };
    if (state.key !== key) return undefined;
    const [places, neighbors, distances] = [await read("places"), await read("neighbors"), await read("distances")];
    const [rows, count] = neighbors.shape;
    if (!(places.values instanceof Float32Array && neighbors.values instanceof Int32Array)) return undefined;
    if (!(distances.values instanceof Float32Array && places.shape[0] === rows && distances.shape[0] === rows))
      return undefined;
    const table = { rows: rows!, count: count!, neighbors: neighbors.values, distances: distances.values };
    return { places: places.values, table };
  } catch {
    return undefined;
  }
}
