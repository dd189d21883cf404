/** Features on disk: a NumPy file with one row per image, and the list of images beside it, as text and as JSON. */
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { makeFolder, writeFileAtomically } from "../files/files.js";
import { encodeNpy, parseNpy } from "../files/npy.js";
import { printable } from "../files/text.js";
import type { ImageSet } from "../images/image-set.js";
import type { FeatureRows } from "../math/feature-rows.js";
import type { Extracted } from "../model/extract.js";

const listSchema = z.object({
  /** The folder that the paths in `files` are relative to, or the name of a built-in dataset. */
  data: z.string(),
  checkpoint: z.string(),
  which: z.enum(["teacher", "student"]),
  /** The image of each row, as a path within the folder. */
  files: z.array(z.string()),
  /** Names of the classes; empty if the images have no labels. */
  classes: z.array(z.string()),
  /** The class of each row, an index of `classes`. */
  labels: z.array(z.int().nonnegative()).optional(),
  /** Images that could not be decoded; they have no row. */
  failures: z.array(z.object({ path: z.string(), reason: z.string() })),
});

/** The list of the images that the rows of a feature file belong to. */
export type FeatureList = Readonly<z.infer<typeof listSchema>>;

export interface Features {
  /** Not normalised. */
  readonly features: FeatureRows;
  readonly list: FeatureList;
}

/** Builds the list of extracted features; `source` names their dataset and network. */
export function featureList(
  images: ImageSet,
  { features, indices, failures }: Extracted,
  source: Pick<FeatureList, "data" | "checkpoint" | "which">,
): Features {
  const labels = images.labels && Array.from(indices, (index) => images.labels![index]!);
  const list = {
    ...source,
    files: Array.from(indices, (index) => images.name(index)),
    classes: [...images.classes],
    ...(labels && { labels }),
    failures: [...failures],
  };
  return { features, list };
}

/** Paths of the files of a set of features. */
export interface FeaturePaths {
  readonly npy: string;
  readonly txt: string;
  readonly json: string;
  /** Features of patches, if they were asked for. */
  readonly patches: string;
}

/** Returns the paths of the files. Throws for a path that does not end in .npy. */
export function featurePaths(path: string): FeaturePaths {
  if (!path.endsWith(".npy")) throw new Error(`features: expected a file ending in .npy, got ${path}`);
  const stem = path.slice(0, -".npy".length);
  return { npy: path, txt: `${stem}.txt`, json: `${stem}.json`, patches: `${stem}-patches.npy` };
}

/** Returns the path in the folder of a run where the viewer looks for features. */
export function runIndexPath(out: string): string {
  return join(out, "features.npy");
}

/** Writes features and lists, the JSON last, and creates the folder if needed. Throws as `featurePaths` does. */
export async function writeFeatures(path: string, { features, list }: Features): Promise<void> {
  const { npy, txt, json } = featurePaths(path);
  await makeFolder(dirname(path));
  const { values, rows, dim } = features;
  await writeFileAtomically(npy, encodeNpy({ values, shape: [rows, dim] }));
  await writeFile(txt, list.files.map((name) => `${onOneLine(name)}\n`).join(""));
  await writeFileAtomically(json, `${JSON.stringify(list, undefined, 1)}\n`);
}

/** Replaces line breaks in a name, so that line i is row i; the JSON list has the name itself. */
function onOneLine(name: string): string {
  return name.replaceAll("\n", "\\n").replaceAll("\r", "\\r");
}

/**
 * Reads the files of `writeFeatures`. Throws, naming the file, if one is missing or damaged or does not match the
 * others.
 */
export async function readFeatures(path: string): Promise<Features> {
  const { npy, json } = featurePaths(path);
  const ofImages = npy.replace(/-patches\.npy$/, ".npy");
  if (ofImages !== npy && existsSync(ofImages))
    throw new Error(`${npy}: expected the features of images, got those of patches; name ${ofImages}`);
  const { values, shape } = parse(npy, parseNpy, await read(npy));
  const [rows, dim] = shape;
  if (!dim || rows === undefined || values instanceof Int32Array) {
    throw new Error(`${npy}: expected features, [images, dim] float32, got [${shape.join(", ")}]`);
  }
  const list = parse(json, (bytes) => listSchema.parse(JSON.parse(bytes.toString("utf8"))), await read(json));
  const { files, labels, classes } = list;
  if (files.length !== rows || (labels !== undefined && labels.length !== rows)) {
    const counts = `${files.length} files${labels === undefined ? "" : ` and ${labels.length} labels`}`;
    throw new Error(`${json}: expected an entry for each of the ${rows} rows of ${npy}, got ${counts}`);
  }
  const invalid = labels?.find((label) => label >= classes.length);
  if (invalid !== undefined)
    throw new Error(`${json}: expected labels below ${classes.length}, the number of classes, got ${invalid}`);
  return { features: { values, rows, dim }, list };
}

/** Limit on the length of a message about a list, which may have any number of errors. */
const MAX_CHARACTERS = 1000;

async function read(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    const reason = missing ? "there is no such file; dino embed writes features" : (error as Error).message;
    throw new Error(`${path}: ${reason}`, { cause: error });
  }
}

function parse<T>(path: string, as: (bytes: Buffer) => T, bytes: Buffer): T {
  try {
    return as(bytes);
  } catch (error) {
    const message = error instanceof z.ZodError ? z.prettifyError(error) : (error as Error).message;
    throw new Error(`${path}: ${printable(message, MAX_CHARACTERS)}`, { cause: error });
  }
}
