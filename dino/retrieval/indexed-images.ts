import { existsSync } from "node:fs";
import { join } from "node:path";
import type { FeatureList } from "../evaluation/feature-files.js";
import { heldOutBuiltin, isBuiltin } from "../images/builtin.js";
import type { DecodeFailure } from "../images/image-location.js";
import type { ImageSet } from "../images/image-set.js";
import type { Image } from "../images/pixels.js";
import { decodePlace } from "../images/sources/decode.js";
import { openData } from "../images/sources/open.js";

/** The images that the rows of an index belong to. */
export interface IndexedImages {
  /** Where the image of a row lies, or the name it has in a built-in set. */
  path(row: number): string;
  /** No larger than a picture of it has to be. */
  decode(row: number): Promise<Image | DecodeFailure>;
}

/** Larger images are shrunk. */
const DECODING = { shortSide: 320, torn: "shown" } as const;
/** Images that are looked for in a folder, to see whether they are files of it. */
const PROBED = 100;

/** Finds the images of an index in what its list names, or in another folder or set that has the same names. */
export async function indexedImages(
  { data, files }: Pick<FeatureList, "data" | "files">,
  from = data,
): Promise<IndexedImages> {
  const images = await setOf(files, from);
  if (images === undefined) {
    const path = (row: number) => join(from, files[row]!);
    return {
      path,
      decode: (row) => decodePlace({ name: files[row]!, bytes: { kind: "file", path: path(row) } }, DECODING),
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

/** The set that the files are in; undefined where they are in a folder as they are called, or nowhere. */
async function setOf(files: readonly string[], from: string): Promise<ImageSet | undefined> {
  if (isBuiltin(from)) return heldOutBuiltin();
  if (files.slice(0, PROBED).some((file) => existsSync(join(from, file)))) return undefined;
  return openData(from, DECODING).catch(() => undefined);
}
