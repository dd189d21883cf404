/** A cache of the features of whole image sets, in a folder. */
import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import type { Decoding } from "../images/image-location.js";
import type { ImageSet } from "../images/image-set.js";
import { fullSubset } from "../images/split.js";
import { selectRows } from "../math/feature-rows.js";
import type { View, Which } from "../model/backbone.js";
import type { Extracted } from "../model/extract.js";
import { featurePaths, type Features, featureList, readFeatures, writeFeatures } from "./feature-files.js";
import { stampedImages } from "./image-stamps.js";
import type { Extract } from "./labelled.js";

export interface CacheOptions {
  readonly folder: string;
  /** The checkpoint file of the network. */
  readonly checkpoint: string;
  readonly which: Which;
  readonly view: View;
  /** A description that identifies the descriptor. */
  readonly descriptor: string;
  /** Called when cached features are read for the first time. */
  readonly onFound?: (path: string, images: number) => void;
}

/**
 * Wraps `extract` with a cache, which holds the features of whole image sets. The key consists of the content of the
 * checkpoint, network, view and descriptor, and of names of images, sizes of files and times of their last change. It
 * does not include the adapter, whose features differ by rounding.
 */
export async function withFeatureCache(options: CacheOptions, extract: Extract): Promise<Extract> {
  const { folder, checkpoint, which, view, descriptor, onFound } = options;
  const extraction = await extractionKey({ checkpoint, which, view, descriptor });
  const used = new Set<string>();

  const read = async (path: string): Promise<Features> => {
    const cached = await readFeatures(path);
    if (!used.has(path)) onFound?.(path, cached.features.rows);
    return cached;
  };
  const make = async (path: string, images: ImageSet, title: string): Promise<Features> => {
    const made = { data: images.title, checkpoint, which };
    const computed = featureList(images, await extract(fullSubset(images), title), made);
    await writeFeatures(path, computed);
    return computed;
  };
  return async ({ images, indices }, progressTitle) => {
    const title = basename(resolve(images.title)).replaceAll(/[^\w.-]+/g, "-");
    const path = join(folder, `${title}-${await fingerprint(extraction, images)}.npy`);
    const features = existsSync(featurePaths(path).json) ? await read(path) : await make(path, images, progressTitle);
    used.add(path);
    return pick(features, images, indices);
  };
}

/**
 * Returns a text that identifies an extraction by the content of the checkpoint, network, view and descriptor, and by the background
 * of transparent pixels, if there is one.
 */
export async function extractionKey({
  checkpoint,
  which,
  view,
  descriptor,
  background,
}: Pick<CacheOptions, "checkpoint" | "which" | "view" | "descriptor"> & Pick<Decoding, "background">): Promise<string> {
  const content = createHash("sha256");
  await pipeline(createReadStream(checkpoint), content);
  return JSON.stringify({ checkpoint: content.digest("hex"), which, view, descriptor, background });
}

/** Selects the rows of some images; images without features are left out. */
function pick({ features, list }: Features, images: ImageSet, indices: Int32Array): Extracted {
  const rows = new Map(list.files.map((file, row) => [file, row]));
  const there = indices.filter((index) => rows.has(images.name(index)));
  const taken = there.map((index) => rows.get(images.name(index))!);
  return { features: selectRows(features, taken), indices: there, failures: list.failures };
}

/** Returns 16 hexadecimal digits that identify the extraction and every image of a set. */
async function fingerprint(extraction: string, images: ImageSet): Promise<string> {
  const hash = createHash("sha256")
    .update(extraction)
    .update(images.decoding.background ?? "");
  for await (const stamped of stampedImages(images)) {
    hash.update(`${stamped.map(({ stamp }) => stamp).join("\n")}\n`);
    for (const {
      location: { bytes, raw },
    } of stamped) {
      if (bytes.kind !== "memory") continue;
      const { memory, start, size } = bytes;
      hash.update(JSON.stringify(raw ?? null)).update(memory.subarray(start, start + size));
    }
  }
  return hash.digest("hex").slice(0, 16);
}
