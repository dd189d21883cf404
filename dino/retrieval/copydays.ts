/** Copydays: copies of photographs, and which original each was made of (https://lear.inrialpes.fr/~jegou/data.php#copydays). */
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import { openImages } from "../images/sources/folder-images.js";
import type { ImageSet } from "../images/image-set.js";

/** Copies that were made in one way. */
export interface Copies {
  /** As its folder: "strong", "jpegqual/3", "crops/50". */
  readonly kind: string;
  readonly images: ImageSet;
  /** Of each copy its originals, by number. */
  readonly originals: readonly (readonly number[])[];
}

export interface Copydays {
  readonly originals: ImageSet;
  readonly copies: readonly Copies[];
}

/**
 * Opens FOLDER/original and those of FOLDER/strong, FOLDER/jpegqual/N and FOLDER/crops/N that there are.
 *
 * A copy belongs to the originals of the same name, or, where names are numbers of six digits as in Copydays, of the same first
 * four: 200004.jpg is a copy of 200000.jpg. Throws where a folder is missing or a copy has no original.
 */
export async function openCopydays(folder: string): Promise<Copydays> {
  const originals = await openImages(join(folder, "original"));
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
    const images = await openImages(join(folder, kind));
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

/** What the names of an original and its copies have in common. */
function sceneOf(path: string): string {
  const stem = basename(path, extname(path));
  return /^\d{6}$/.test(stem) ? stem.slice(0, 4) : stem;
}

/** FOLDER/NAME/3, FOLDER/NAME/5, ...: as paths within FOLDER, in the order of the numbers. */
async function numbered(folder: string, name: string): Promise<string[]> {
  const entries = await readdir(join(folder, name)).catch(() => []);
  const numbers = entries.filter((entry) => /^\d+$/.test(entry));
  return numbers.sort((a, b) => Number(a) - Number(b)).map((number) => `${name}/${number}`);
}
