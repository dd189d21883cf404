import { join } from "node:path";
import { builtinImages, isBuiltin } from "../builtin.js";
import type { FeatureList } from "../feature-files.js";
import { type DecodeFailure, decodeFrom } from "../images.js";
import type { Image } from "../pixels.js";

/** The images that the rows of an index belong to. */
export interface IndexedImages {
  /** Where the image of a row lies, or the name it has in a built-in set. */
  path(row: number): string;
  /** No larger than a picture of it has to be. */
  decode(row: number): Promise<Image | DecodeFailure>;
}

/** Shorter side that larger images are shrunk to. */
const SHORT_SIDE = 320;

/** Finds the images of an index in the folder that its list names, or in another one that holds the same paths. */
export function indexedImages({ data, files }: Pick<FeatureList, "data" | "files">, folder = data): IndexedImages {
  if (isBuiltin(folder)) {
    const { test } = builtinImages(folder);
    const numbers = new Map(Array.from({ length: test.count }, (_, index) => [test.name(index), index]));
    return {
      path: (row) => files[row]!,
      decode: async (row) => {
        const index = numbers.get(files[row]!);
        return index === undefined ? { path: files[row]!, reason: `is not in ${folder}` } : test.decode(index);
      },
    };
  }
  return {
    path: (row) => join(folder, files[row]!),
    decode: (row) => decodeFrom({ kind: "files", folder, shortSide: SHORT_SIDE, torn: "shown" }, row, files[row]!),
  };
}
