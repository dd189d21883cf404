/** Image search: the most similar images of an index. */
import { basename, resolve } from "node:path";
import type { Device } from "../../engine/index.js";
import { similaritiesOn } from "../evaluation/device-similarities.js";
import { type Decoding, isFailure } from "../images/image-location.js";
import type { ImageSet } from "../images/image-set.js";
import type { Image } from "../images/pixels.js";
import { decodingOf, type Reading } from "../images/reading.js";
import { listedImages, measureImage } from "../images/sources/folder-images.js";
import { type FeatureRows, normalizeRows } from "../math/feature-rows.js";
import type { Extracted } from "../model/extract.js";
import type { Picture } from "../pictures/drawing.js";
import { contactSheet, type SheetRow } from "./contact-sheet.js";
import type { IndexedImages } from "./indexed-images.js";
import { nearest, type Neighbor } from "./nearest.js";

/** The neighbours of a query. */
export interface SearchResult {
  readonly query: string;
  /** The most similar first. */
  readonly neighbors: readonly Neighbor[];
}

export interface SearchOptions {
  /** Features of the images to search, which are normalised in place. */
  readonly index: FeatureRows;
  readonly files: readonly string[];
  /** Number of neighbours. */
  readonly k: number;
  /** Extracts features in the same way as those of the index. */
  readonly extract: (images: ImageSet) => Promise<Extracted>;
  readonly device: Device;
  /** How the network reads images. */
  readonly reading: Reading;
}

/** Searches an index for the neighbours of files. Throws, naming it, for a file that is not an image. */
export async function searchIndex({
  index,
  files,
  k,
  extract,
  device,
  reading,
}: SearchOptions): Promise<readonly SearchResult[]> {
  const images = queryImages(files, decodingOf(reading));
  for (const [i, file] of files.entries()) {
    const size = await measureImage(images, i);
    if (isFailure(size)) throw new Error(`${file}: expected an image: ${size.reason}`);
  }
  const { features, failures } = await extract(images);
  const [broken] = failures;
  if (broken) throw new Error(`${broken.path}: expected an image: ${broken.reason}`);
  normalizeRows(index);
  using onDevice = similaritiesOn(device, index);
  const neighbors = await nearest({ queries: normalizeRows(features), index, k, find: onDevice.nearest });
  return files.map((query, i) => ({ query, neighbors: neighbors[i]! }));
}

/** Maximum number of queries on a sheet. */
const MAX_ROWS = 50;

/** Draws each of the first fifty queries beside its neighbours. */
export async function searchSheet(
  found: readonly SearchResult[],
  images: IndexedImages,
  decoding: Decoding,
): Promise<Picture> {
  const shown = found.slice(0, MAX_ROWS);
  const queries = queryImages(
    shown.map(({ query }) => query),
    decoding,
  );
  const rows: SheetRow[] = [];
  for (const [i, { query, neighbors }] of shown.entries()) {
    const lead = { image: readable(await queries.decode(i)), name: basename(query), note: "query" };
    const cells = await Promise.all(
      neighbors.map(async ({ row, similarity }) => ({
        image: readable(await images.decode(row)),
        name: basename(images.path(row)),
        note: similarity.toFixed(4),
      })),
    );
    rows.push({ title: query, lead, cells });
  }
  const more = found.length > shown.length ? `, first ${MAX_ROWS} of ${found.length} queries` : "";
  return contactSheet(`Most similar images by cosine similarity of features${more}`, rows);
}

function queryImages(files: readonly string[], decoding: Decoding): ImageSet {
  return listedImages(
    "",
    files.map((file) => resolve(file)),
    decoding,
  );
}

function readable(decoded: Image | { readonly reason: string }): Image | undefined {
  return "pixels" in decoded ? decoded : undefined;
}
