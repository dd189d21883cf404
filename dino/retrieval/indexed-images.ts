import { join } from "node:path";
import { builtinImages, isBuiltin } from "../builtin.js";
import type { FeatureList } from "../feature-files.js";
import type { DecodeFailure } from "../images.js";
import type { Image } from "../pixels.js";
import { decodePlace } from "../sources/place.js";

/** The images that the rows of an index belong to. */
export interface IndexedImages {
  /** Where the image of a row lies, or the name it has in a built-in set. */
  path(row: number): string;
  /** No larger than a picture of it has to be. */
  decode(row: number): Promise<Image | DecodeFailure>;
}

/** Larger images are shrunk. */
const DECODING = { shortSide: 320, torn: "shown" } as const;
/** Finds the images of an index in the folder that its list names, or in another one that holds the same paths. */
export function indexedImages({ data, files }: Pick<FeatureList, "data" | "files">, from = data): IndexedImages {
  if (isBuiltin(from)) {
    const { test } = builtinImages(from);
    const numbers = new Map(Array.from({ length: test.count }, (_, index) => [test.name(index), index]));
    return {
      path: (row) => files[row]!,
      decode: async (row) => {
        const index = numbers.get(files[row]!);
        return index === undefined ? { path: files[row]!, reason: `is not in ${from}` } : test.decode(index);
      },
    };
  }
  const path = (row: number) => join(from, files[row]!);
  return {
    path,
    decode: (row) => decodePlace({ name: files[row]!, bytes: { kind: "file", path: path(row) } }, DECODING),
  };
}
