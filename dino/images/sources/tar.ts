/** Reader of WebDataset shards: tar files of images, optionally with classes, read at their offsets. */
import { Header, type HeaderData, Pax } from "tar";
import { type OpenFile, openFile } from "../../files/files.js";
import { STAND_IN_BYTES, standInOf } from "../../files/stand-ins.js";
import { extensionOf, imageNames, isImageName } from "../formats/kind.js";
import type { Decoding } from "../image-location.js";
import type { ImageSet } from "../image-set.js";
import { MAX_BYTES } from "./decode.js";
import { mayHavePages, pagesWithin } from "./file-parts.js";
import { imageSet } from "./folder-images.js";
import { type ClassList, classList, className, LABEL_NAMES, withLabels } from "./labels.js";
import { cachedIndex } from "./list-cache.js";
import { nameAt, nameList, type PackedNames } from "./names.js";

/** Index of a shard. */
interface TarIndex {
  readonly names: PackedNames;
  /** Offset and size in bytes of each image. */
  readonly starts: Float64Array;
  readonly sizes: Float64Array;
  /** Page of its file that each image is, 0 for the whole file. */
  readonly pages: Uint32Array;
  /** Class names, and the class of each image, -1 for none. */
  readonly classes: readonly string[];
  readonly labels: Int32Array;
}

/**
 * Opens a tar of images; pages of a file are images of their own. The class of an image is in a `.cls` file, a `.json` file or a `.txt` file of one word, which has
 * the name of the image or, as in WebDataset, that name up to its first dot. Paths are only names. Throws, naming the
 * byte, if the file is not a tar or is truncated.
 */
export async function openTar(path: string, decoding: Decoding = {}): Promise<ImageSet> {
  const index = await cachedIndex(path, "tar", () => indexTar(path));
  const { classes, labels } = index;
  const { names, blocks, sizes, pages } = packed(index);
  return imageSet({
    title: path,
    decoding,
    count: blocks.length,
    shards: [0],
    ...withLabels(classes, labels, WHERE),
    name: (image) => nameAt(names, image),
    location: (image) => ({
      name: `${path}/${nameAt(names, image)}`,
      bytes: { kind: "range", path, start: blocks[image]! * BLOCK, size: sizes[image]! },
      ...(pages?.[image] && { part: { page: pages[image] } }),
    }),
  });
}

/** Where labels are looked for. */
const WHERE = `which a .tar has beside an image, under its name: in .cls, in .json as "label", or as the one word of .txt`;

const BLOCK = 512;

/** Compacts an index for memory: copies arrays, which otherwise retain the whole cached buffer, and narrows them. */
function packed({ names, starts, sizes, pages }: TarIndex) {
  return {
    names: { bytes: names.bytes.slice(), ends: narrow(names.ends) },
    blocks: narrow(starts.map((start) => start / BLOCK)),
    sizes: narrow(sizes),
    pages: pages.some((page) => page > 0) ? pages.slice() : undefined,
  };
}

/** Stores integers below 2^32 in half the memory. */
function narrow(numbers: Float64Array | Uint32Array): Float64Array | Uint32Array {
  return numbers.every((number) => number < 2 ** 32) ? Uint32Array.from(numbers) : Float64Array.from(numbers);
}

/** Bytes read at a time; headers of small files are close together. */
const CHUNK = 2 ** 18;
/** Maximum size of a path, extended header or class. */
const LONGEST_TEXT = 2 ** 20;

async function indexTar(path: string): Promise<TarIndex> {
  await using file = await openFile(path);
  const names = nameList();
  const starts: number[] = [];
  const sizes: number[] = [];
  const pages: number[] = [];
  const keys: { readonly own: readonly string[]; readonly shared: readonly string[] }[] = [];
  const classes = classList();
  const labelOf = new Map<string, number>();
  const others = new Map<string, number>();
  const distinct = distinctNames();
  for await (const entry of filesOf(file)) {
    const { start, size } = entry;
    const name = distinct(entry.name);
    if (isImageName(name)) {
      const key = { own: keysOf(name), shared: keysOf(entry.name) };
      const found =
        mayHavePages(name) && size <= MAX_BYTES ? await pagesWithin(await file.read(start, size)) : [undefined];
      for (const page of found) {
        names.add(Buffer.from(page === undefined ? name : `${name}#${page}`));
        starts.push(start);
        sizes.push(size);
        pages.push(page ?? 0);
        keys.push(key);
      }
    } else {
      const kind = extensionOf(name) || "without extension";
      others.set(kind, (others.get(kind) ?? 0) + 1);
      await noteLabel({ ...entry, name }, classes, labelOf);
    }
  }
  if (keys.length === 0 && others.size > 0) {
    const found = [...others].map(([kind, count]) => `${count} ${kind}`).join(", ");
    throw new Error(`${path}: expected images (${imageNames}), got files of other kinds: ${found}`);
  }
  const labels = Int32Array.from(
    keys,
    ({ own, shared }) => firstKnown(own, labelOf) ?? firstKnown(shared, labelOf) ?? NONE,
  );
  return {
    names: names.pack(),
    starts: Float64Array.from(starts),
    sizes: Float64Array.from(sizes),
    pages: Uint32Array.from(pages),
    classes: classes.names(),
    labels,
  };
}

/**
 * Returns a function that gives names which occurred before a number, as a (2).png, so that the second a.png goes with the second
 * a.cls.
 */
function distinctNames(): (name: string) => string {
  const counts = new Map<string, number>();
  return (name) => {
    let count = counts.get(name) ?? 0;
    let own = name;
    if (count > 0) {
      const [, before, after] = /^((?:.*\/)?[^.]*)(.*)$/s.exec(name)!;
      do own = `${before!} (${++count})${after!}`;
      while (counts.has(own));
      counts.set(own, 1);
    }
    counts.set(name, Math.max(count, 1));
    return own;
  };
}

/** Files of labels, the first of a name deciding. */
const labelFiles = [".cls", ".json", ".txt"];

/** Returns the names that the labels of an image may have: its own and, as in WebDataset, that up to the first dot. */
function keysOf(name: string): readonly string[] {
  const base = name.lastIndexOf("/") + 1;
  return [name.lastIndexOf("."), name.indexOf(".", base)].map((dot) => name.slice(0, dot));
}

function firstKnown(keys: readonly string[], labelOf: ReadonlyMap<string, number>): number | undefined {
  for (const key of keys)
    for (const extension of labelFiles) {
      const label = labelOf.get(key + extension);
      if (label !== undefined) return label;
    }
  for (const extension of labelFiles) {
    const label = labelOf.get(`${keys.at(-1)!}${extension} alone`);
    if (label !== undefined) return label;
  }
  return undefined;
}

/** Notes the label in a file, if it holds one. */
async function noteLabel(
  { name, size, read }: TarFile,
  classes: ClassList,
  labelOf: Map<string, number>,
): Promise<void> {
  const extension = extensionOf(name);
  if (!labelFiles.includes(extension) || size > LONGEST_TEXT) return;
  const label = labelIn((await read()).trim(), extension);
  if (label === undefined) return;
  const number = classes.numberOf(label);
  const own = name.slice(0, -extension.length) + extension;
  labelOf.set(own, number);
  const [, key] = keysOf(name);
  const ofSample = key! + extension;
  if (ofSample === own) return;
  const alone = `${ofSample} alone`; // as sample.outputs.txt, unless there are others of the sample
  labelOf.set(alone, labelOf.has(alone) ? NONE : number);
}

/** Stands for the label of a sample that has several. */
const NONE = -1;

/** Returns the class in a text, which may be a caption or metadata instead; undefined if it holds none. */
function labelIn(text: string, extension: string): string | undefined {
  if (extension === ".cls") return /[\p{Cc}\uFFFD]/u.test(text) ? undefined : text; // else numbers of an array
  if (extension === ".txt") return /^\S+$/.test(text) ? text : undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return className(value);
  const fields = value as Readonly<Record<string, unknown>>;
  const named = LABEL_NAMES.find((name) => className(fields[name]) !== undefined);
  return named === undefined ? undefined : className(fields[named]);
}

interface TarFile {
  readonly name: string;
  readonly start: number;
  readonly size: number;
  /** Reads the file as text. Throws if it is longer than LONGEST_TEXT. */
  readonly read: () => Promise<string>;
}

/** Iterates over the files of a tar, without hidden ones. */
async function* filesOf(file: OpenFile): AsyncGenerator<TarFile> {
  let buffered = { start: 0, bytes: new Uint8Array(0) };
  const take = async (start: number, size: number): Promise<Uint8Array> => {
    const { bytes } = buffered;
    if (start < buffered.start || start + size > buffered.start + bytes.length) {
      const whole = Math.max(size, Math.min(CHUNK, file.size - start));
      buffered = { start, bytes: await file.read(start, whole) };
    }
    return buffered.bytes.subarray(start - buffered.start, start - buffered.start + size);
  };
  const standIn = standInOf(await take(0, Math.min(STAND_IN_BYTES, file.size)));
  if (standIn !== undefined) throw new Error(`${file.path}: expected a tar, got ${standIn}`);
  let extended: HeaderData | undefined;
  let global: HeaderData | undefined;
  for (let at = 0; at < file.size;) {
    const damaged = (what: string) => new Error(`${file.path}: expected a tar, but ${what} at byte ${at}`);
    if (at + BLOCK > file.size) throw damaged("it is cut off");
    const header = new Header(Buffer.from(await take(at, BLOCK)), 0, extended, global);
    if (header.nullBlock) return;
    const { size, path, type } = header;
    if (!header.cksumValid || path === undefined || !Number.isSafeInteger(size))
      throw damaged(`there is no header (compressed tars have to be unpacked)`);
    const start = at + BLOCK;
    if (start + size! > file.size) throw damaged(`${path} is cut off`);
    const read = async (): Promise<string> => {
      if (size! > LONGEST_TEXT) throw damaged(`there are ${size!} bytes of text`);
      return Buffer.from(await take(start, size!)).toString("utf8");
    };
    switch (type) {
      case "ExtendedHeader":
      case "OldExtendedHeader":
        extended = Pax.parse(await read(), extended);
        break;
      case "GlobalExtendedHeader":
        global = Pax.parse(await read(), global, true);
        break;
      case "NextFileHasLongPath":
      case "OldGnuLongPath":
        extended = { ...extended, path: (await read()).replace(/\0.*$/s, "") };
        break;
      default:
        extended = undefined;
        if (isFile(type) && !path.slice(path.lastIndexOf("/") + 1).startsWith("."))
          yield { name: path.replace(/^(\.?\/)+/, ""), start, size: size!, read };
    }
    at = start + Math.ceil(size! / BLOCK) * BLOCK;
  }
}

function isFile(type: Header["type"]): boolean {
  return type === "File" || type === "OldFile" || type === "ContiguousFile";
}
