/** Features of whole image sets kept in a folder, so that looking at the same images again needs no backbone. */
import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import type { ImageSet } from "../images/image-set.js";
import { fullSubset } from "../images/split.js";
import { takeRows } from "../math/feature-rows.js";
import type { View, Which } from "../model/backbone.js";
import type { Extracted } from "../model/extract.js";
import { featurePaths, type Features, featureList, readFeatures, writeFeatures } from "./feature-files.js";
import type { Extract } from "./labelled.js";

export interface CacheOptions {
  readonly folder: string;
  /** The file whose content made the features. */
  readonly checkpoint: string;
  readonly which: Which;
  readonly view: View;
  /** What was taken of an image, in words that nothing else has. */
  readonly descriptor: string;
  /** Told where features were found that need not be made. */
  readonly onFound?: (path: string, images: number) => void;
}

/**
 * Makes features as `extract` does, but looks for them in a folder first, and keeps those of the whole image set there. Another
 * checkpoint, network, view, descriptor or image has other features: names of images, sizes of files and times of their last
 * change count. Which adapter computed them, to rounding, does not.
 */
export async function withFeatureCache(options: CacheOptions, extract: Extract): Promise<Extract> {
  const { folder, checkpoint, which, view, descriptor, onFound } = options;
  const content = createHash("sha256");
  await pipeline(createReadStream(checkpoint), content);
  const maker = JSON.stringify({ checkpoint: content.digest("hex"), which, view, descriptor });
  const seen = new Set<string>();

  const read = async (path: string): Promise<Features> => {
    const kept = await readFeatures(path);
    if (!seen.has(path)) onFound?.(path, kept.features.rows);
    return kept;
  };
  const make = async (path: string, images: ImageSet, title: string): Promise<Features> => {
    const made = { data: images.title, checkpoint, which };
    const kept = featureList(images, await extract(fullSubset(images), title), made);
    await writeFeatures(path, kept);
    return kept;
  };
  return async ({ images, indices }, words) => {
    const title = basename(resolve(images.title)).replaceAll(/[^\w.-]+/g, "-");
    const path = join(folder, `${title}-${await fingerprint(maker, images)}.npy`);
    const kept = existsSync(featurePaths(path).json) ? await read(path) : await make(path, images, words);
    seen.add(path);
    return pick(kept, images, indices);
  };
}

/** The rows of some images, without those that have none. */
function pick({ features, list }: Features, images: ImageSet, indices: Int32Array): Extracted {
  const rows = new Map(list.files.map((file, row) => [file, row]));
  const there = indices.filter((index) => rows.has(images.name(index)));
  const taken = there.map((index) => rows.get(images.name(index))!);
  return { features: takeRows(features, taken), indices: there, failures: list.failures };
}

/** Files whose size and time are asked for at once. */
const AT_ONCE = 256;

/** Sixteen digits that stand for how features were made, and for every image of a set. */
async function fingerprint(made: string, images: ImageSet): Promise<string> {
  const { count } = images;
  const hash = createHash("sha256").update(made);
  const changes = lastChanges();
  for (let first = 0; first < count; first += AT_ONCE) {
    const places = Array.from({ length: Math.min(AT_ONCE, count - first) }, (_, i) => images.place(first + i));
    const lines = places.map(async ({ name, bytes }) =>
      bytes.kind === "memory" ? name : `${name} ${await changes(bytes.path)}`,
    );
    hash.update(`${(await Promise.all(lines)).join("\n")}\n`);
    for (const { bytes, raw } of places) {
      if (bytes.kind !== "memory") continue;
      const { memory, start, size } = bytes;
      hash.update(JSON.stringify(raw ?? null)).update(memory.subarray(start, start + size));
    }
  }
  return hash.digest("hex").slice(0, 16);
}

/** Sizes of files and times of their last change; one that holds many images is asked but once for those that follow it. */
function lastChanges(): (path: string) => Promise<string> {
  let latest: { readonly path: string; readonly change: Promise<string> } | undefined;
  return (path) => {
    if (latest?.path !== path) {
      latest = { path, change: stat(path).then(({ size, mtimeMs }) => `${size} ${mtimeMs}`) };
    }
    return latest.change;
  };
}
