import { existsSync } from "node:fs";
import { join } from "node:path";
import type { FeatureList } from "../evaluation/feature-files.js";
import { heldOutBuiltin, isBuiltin } from "../images/builtin.js";
import { type DecodeFailure, type Decoding, FIRST_CHANNELS } from "../images/image-location.js";
import type { ImageSet } from "../images/image-set.js";
import type { Image } from "../images/pixels.js";
import { decodeImage } from "../images/sources/decode.js";
import { locate } from "../images/sources/file-parts.js";
import { openData } from "../images/sources/open.js";

/** The images of the rows of an index. */
export interface IndexedImages {
  /** Path of the image of a row, or its name in a built-in dataset. */
  path(row: number): string;
  /** Decodes the image of a row, shrunk for display. */
  decode(row: number): Promise<Image | DecodeFailure>;
}

/** Options of decoding: larger images shrunk, and the first three channels unless others are asked for. */
const DECODING = { shortSide: 320, torn: "shown", channels: FIRST_CHANNELS } as const;
/** Number of images that are probed to see whether they are files of the folder. */
const PROBED = 100;

/**
 * Opens the images of an index from the source named by its list, or from another folder or dataset with the same
 * names. `reading` has the range of values and the background of their network, if they are known, and channels.
 */
export async function indexedImages(
  { data, files }: Pick<FeatureList, "data" | "files">,
  from = data,
  reading: Pick<Decoding, "range" | "background" | "channels"> = {},
): Promise<IndexedImages> {
  const decoding = { ...DECODING, ...reading };
  const images = await setOf(files, from, decoding);
  if (images === undefined) {
    const path = (row: number) => join(from, files[row]!);
    return {
      path,
      decode: (row) => decodeImage(locate(path(row), files[row]), decoding),
    };
  }
  const numbers = new Map(Array.from({ length: images.count }, (_, index) => [images.name(index), index]));
  return {
    path: (row) => files[row]!,
    decode: async (row) => {
      const index = numbers.get(files[row]!);
      return index === undefined ? { path: files[row]!, reason: `is not in ${from}` } : images.decode(index);
    },
  };
}

/** Opens the image set that contains the files; undefined if they are plain files of the folder, or missing. */
async function setOf(files: readonly string[], from: string, decoding: Decoding): Promise<ImageSet | undefined> {
  if (isBuiltin(from)) return heldOutBuiltin();
  if (files.slice(0, PROBED).some((file) => existsSync(locate(join(from, file)).bytes.path))) return undefined;
  return openData(from, decoding).catch(() => undefined);
}
