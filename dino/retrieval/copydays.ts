/**
 * Copydays: altered copies of photographs with their originals (https://lear.inrialpes.fr/~jegou/data.php#copydays).
 */
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import type { Decoding } from "../images/image-location.js";
import type { ImageSet } from "../images/image-set.js";
import { openImages } from "../images/sources/folder-images.js";

/** Copies with one kind of alteration. */
export interface Copies {
  /** Name of the folder: "strong", "jpegqual/3", "crops/50". */
  readonly kind: string;
  readonly images: ImageSet;
  /** The originals of each copy, by index. */
  readonly originals: readonly (readonly number[])[];
}

export interface Copydays {
  readonly originals: ImageSet;
  readonly copies: readonly Copies[];
}

/**
 * Opens FOLDER/original and the existing folders among FOLDER/strong, FOLDER/jpegqual/N and FOLDER/crops/N.
 *
 * A copy belongs to the originals with the same name or, if names are six-digit numbers as in Copydays, with the same
 * first four digits: 200004.jpg is a copy of 200000.jpg. Throws if a folder is missing or a copy has no original.
 */
export async function openCopydays(folder: string, decoding: Decoding = {}): Promise<Copydays> {
  const originals = await openImages(join(folder, "original"), decoding);
  const byScene = new Map<string, number[]>();
  for (let i = 0; i < originals.count; i++) {
    const scene = sceneOf(originals.name(i));
    byScene.set(scene, [...(byScene.get(scene) ?? []), i]);
  }
  const kinds = [
    ...(existsSync(join(folder, "strong")) ? ["strong"] : []),
    ...(await numbered(folder, "jpegqual")),
    ...(await numbered(folder, "crops")),
  ];
  if (kinds.length === 0) {
    throw new Error(`${folder}: expected copies in a folder strong, jpegqual/N or crops/N beside original, got none`);
  }
  const copies: Copies[] = [];
  for (const kind of kinds) {
    const images = await openImages(join(folder, kind), decoding);
    const owners = Array.from({ length: images.count }, (_, i) => {
      const found = byScene.get(sceneOf(images.name(i)));
      if (found !== undefined) return found;
      throw new Error(
        `${join(folder, kind, images.name(i))}: expected an original of the same name or number, got none in ${join(folder, "original")}`,
      );
    });
    copies.push({ kind, images, originals: owners });
  }
  return { originals, copies };
}

/** Returns the part of a name that an original and its copies share. */
function sceneOf(path: string): string {
  const stem = basename(path, extname(path));
  return /^\d{6}$/.test(stem) ? stem.slice(0, 4) : stem;
}

/** Lists the numbered folders FOLDER/NAME/3, FOLDER/NAME/5, ... as paths within FOLDER, in numeric order. */
async function numbered(folder: string, name: string): Promise<string[]> {
  const entries = await readdir(join(folder, name)).catch(() => []);
  const numbers = entries.filter((entry) => /^\d+$/.test(entry));
  return numbers.sort((a, b) => Number(a) - Number(b)).map((number) => `${name}/${number}`);
}
