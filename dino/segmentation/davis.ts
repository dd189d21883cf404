/** Videos with masks in the layout of DAVIS 2017. https://davischallenge.org/davis2017/code.html */
import { readdir, readFile } from "node:fs/promises";
import { join, parse } from "node:path";
import { printable } from "../files/text.js";
import { isImageName } from "../images/formats/kind.js";

/** One video. */
export interface Sequence {
  readonly name: string;
  /** Frame files, in order. */
  readonly frames: readonly string[];
  /** Mask files of all frames, or of the first only if the others are not published. */
  readonly masks: readonly string[];
}

export interface DavisOptions {
  /** The list of sequences: ImageSets/2017/SET.txt. */
  readonly set: string;
  /** Sequences of the list to open; default: all. */
  readonly names?: readonly string[];
}

/** Opens a dataset. Throws, describing the layout, if a list, frames or masks are missing. */
export async function openDavis(root: string, { set, names }: DavisOptions): Promise<readonly Sequence[]> {
  const list = `ImageSets/2017/${set}.txt`;
  const text = await readFile(join(root, list), "utf8").catch(() => throwLayoutError(root, set, `there is no ${list}`));
  const listed = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  if (listed.length === 0) throwLayoutError(root, set, `${list} names no sequence`);
  const path = listed.find((name) => /[/\\]|^\.\.?$/.test(name));
  if (path !== undefined) throwLayoutError(root, set, `${list} has ${printable(path)}, which is a path, not a name`);
  const unknown = names?.find((name) => !listed.includes(name));
  if (unknown !== undefined) {
    throw new Error(`${root}: expected sequences of ${list}, got ${unknown}; it has ${listed.join(", ")}`);
  }
  return Promise.all((names ?? listed).map((name) => openSequence(root, set, name)));
}

async function openSequence(root: string, set: string, name: string): Promise<Sequence> {
  const frameFolder = join("JPEGImages", "480p", name);
  const maskFolder = join("Annotations", "480p", name);
  const files = async (folder: string): Promise<readonly string[]> =>
    (await readdir(join(root, folder)).catch(() => throwLayoutError(root, set, `there is no ${folder}`)))
      .filter((file) => !file.startsWith(".") && isImageName(file))
      .sort();
  const frames = await files(frameFolder);
  if (frames.length < 2)
    throwLayoutError(root, set, `${frameFolder} holds ${frames.length} frames, but a video has two or more`);
  const masks = new Set(await files(maskFolder));
  const ofFrames = frames.map((frame) => `${parse(frame).name}.png`);
  if (!masks.has(ofFrames[0]!)) throwLayoutError(root, set, `there is no ${join(maskFolder, ofFrames[0]!)}`);
  const isWhole = ofFrames.every((mask) => masks.has(mask));
  return {
    name,
    frames: frames.map((frame) => join(root, frameFolder, frame)),
    masks: (isWhole ? ofFrames : ofFrames.slice(0, 1)).map((mask) => join(root, maskFolder, mask)),
  };
}

function throwLayoutError(root: string, set: string, what: string): never {
  throw new Error(
    `${root}: expected the layout of DAVIS 2017: the names of videos in ImageSets/2017/${set}.txt, their frames in ` +
      `JPEGImages/480p/NAME/00000.jpg and so on, their masks in Annotations/480p/NAME/00000.png and so on, palette PNGs ` +
      `whose indices are objects from 1 on; ${what}`,
  );
}
