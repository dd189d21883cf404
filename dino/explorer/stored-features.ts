/** Features in a folder that is brought up to date: a stopped run goes on, and of a changed folder only what changed is made again. */
import { existsSync } from "node:fs";
import { readdir, readFile, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import {
  type FeatureList,
  featureList,
  type Features,
  readFeatures,
  writeFeatures,
} from "../evaluation/feature-files.js";
import { stampedImages } from "../evaluation/image-stamps.js";
import { writeJson } from "../files/files.js";
import type { DecodeFailure } from "../images/image-location.js";
import type { ImageSet } from "../images/image-set.js";
import type { FeatureRows } from "../math/feature-rows.js";
import type { Extracted } from "../model/extract.js";

/** What belongs to a feature file: how its rows were made, and of which images. */
const stateSchema = z.object({
  /** Identifies network, view and descriptor. */
  extraction: z.string(),
  /** The stamp of the image of each row. */
  stamps: z.array(z.string()),
});

type State = Readonly<z.infer<typeof stateSchema>>;

/** Features with the stamp of the image of each row. */
export interface StampedFeatures extends Features {
  readonly stamps: readonly string[];
}

export interface UpdateOptions {
  readonly folder: string;
  readonly images: ImageSet;
  /** Dataset and network, as the list of the features names them. */
  readonly source: Pick<FeatureList, "data" | "checkpoint" | "which">;
  /** Identifies network, view and descriptor: features of another extraction are made again. */
  readonly extraction: string;
  /** Extracts the features of some images, one batch at a time. */
  readonly extract: (indices: Int32Array) => AsyncIterable<Extracted>;
  /** Time between two parts on disk; default 30 seconds. */
  readonly partMs?: number;
}

const PART_MS = 30_000;

/**
 * Returns the features of all images of a set, in its order, after writing them to `features.npy` in the folder. Rows that are
 * there are reused; the others are written in parts while they are made, so that a stopped run loses little. Throws if no image
 * can be decoded, and for a feature file that this function did not write.
 */
export async function updateFeatures(options: UpdateOptions): Promise<StampedFeatures> {
  const { folder, images, source, extraction } = options;
  const path = join(folder, "features.npy");
  if (existsSync(path) && !existsSync(statePath(path)))
    throw new Error(`--out ${folder}: holds features.npy, which dino explore did not write; name another folder`);
  const stamps: string[] = [];
  for await (const some of stampedImages(images)) stamps.push(...some.map(({ stamp }) => stamp));
  const known = new Map<string, Float32Array>();
  const finished = await readKnown(path, extraction);
  for (const found of [finished, ...(await readParts(folder, extraction))]) {
    for (const [i, stamp] of found?.stamps.entries() ?? []) known.set(stamp, rowOf(found!.features, i));
  }
  const missing = Int32Array.from(stamps.keys()).filter((index) => !known.has(stamps[index]!));
  const failures = missing.length > 0 ? await makeMissing({ ...options, missing, stamps, known }) : [];

  const made = Int32Array.from(stamps.keys()).filter((index) => known.has(stamps[index]!));
  if (made.length === 0) throw new Error(`${source.data}: expected images, but none could be decoded`);
  const rowStamps = Array.from(made, (index) => stamps[index]!);
  const isSame = finished?.list.data === source.data && finished.list.checkpoint === source.checkpoint;
  if (isSame && failures.length === finished.list.failures.length && equal(finished.stamps, rowStamps)) return finished;
  const dim = known.get(rowStamps[0]!)!.length;
  const values = new Float32Array(made.length * dim);
  for (const [i, stamp] of rowStamps.entries()) values.set(known.get(stamp)!, i * dim);
  const result = featureList(images, { features: { values, rows: made.length, dim }, indices: made, failures }, source);
  await rm(statePath(path), { force: true });
  await writeFeatures(path, result);
  await writeState(path, { extraction, stamps: rowStamps });
  await rm(partsFolder(folder), { recursive: true, force: true });
  return { ...result, stamps: rowStamps };
}

interface MakeOptions extends UpdateOptions {
  readonly missing: Int32Array;
  readonly stamps: readonly string[];
  readonly known: Map<string, Float32Array>;
}

/** Extracts the features of the missing images into `known`, and writes them in parts. Returns the failures. */
async function makeMissing(options: MakeOptions): Promise<readonly DecodeFailure[]> {
  const { folder, images, source, extraction, extract, missing, stamps, known, partMs = PART_MS } = options;
  const failures: DecodeFailure[] = [];
  let waiting: number[] = [];
  let written = performance.now();
  const writePart = async (): Promise<void> => {
    if (waiting.length === 0) return;
    const indices = Int32Array.from(waiting);
    waiting = [];
    const dim = known.get(stamps[indices[0]!]!)!.length;
    const values = new Float32Array(indices.length * dim);
    for (const [i, index] of indices.entries()) values.set(known.get(stamps[index]!)!, i * dim);
    const features = { values, rows: indices.length, dim };
    const path = join(partsFolder(folder), `${indices[0]!}.npy`);
    await writeFeatures(path, featureList(images, { features, indices, failures: [] }, source));
    await writeState(path, { extraction, stamps: Array.from(indices, (index) => stamps[index]!) });
    written = performance.now();
  };
  for await (const batch of extract(missing)) {
    failures.push(...batch.failures);
    for (const [i, index] of batch.indices.entries()) {
      known.set(stamps[index]!, rowOf(batch.features, i).slice());
      waiting.push(index);
    }
    if (performance.now() - written >= partMs) await writePart();
  }
  return failures;
}

/** Reads the parts that a stopped run left. */
async function readParts(folder: string, extraction: string): Promise<readonly (StampedFeatures | undefined)[]> {
  const names = await readdir(partsFolder(folder)).catch(() => []);
  const parts = names.filter((name) => name.endsWith(".npy")).sort();
  return Promise.all(parts.map((name) => readKnown(join(partsFolder(folder), name), extraction)));
}

/** Reads features with their stamps; undefined if they are missing, incomplete or of another extraction. */
async function readKnown(path: string, extraction: string): Promise<StampedFeatures | undefined> {
  if (!existsSync(statePath(path))) return undefined;
  const state = await readState(statePath(path));
  if (state.extraction !== extraction) return undefined;
  const found = await readFeatures(path);
  if (found.features.rows !== state.stamps.length)
    throw new Error(
      `${path}: expected ${state.stamps.length} rows, got ${found.features.rows}; remove ${basename(path)}`,
    );
  return { ...found, stamps: state.stamps };
}

async function readState(path: string): Promise<State> {
  try {
    return stateSchema.parse(JSON.parse(await readFile(path, "utf8")));
  } catch (error) {
    throw new Error(`${path}: damaged; remove it to make the features again`, { cause: error });
  }
}

function writeState(path: string, state: State): Promise<void> {
  return writeJson(statePath(path), state);
}

function statePath(path: string): string {
  return path.replace(/\.npy$/, "-state.json");
}

function partsFolder(folder: string): string {
  return join(folder, "features-parts");
}

function rowOf({ values, dim }: FeatureRows, row: number): Float32Array {
  return values.subarray(row * dim, (row + 1) * dim);
}

function equal(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}
