/**
 * The revisited Oxford and Paris benchmarks: Radenovic et al. 2018 (https://arxiv.org/abs/1803.11285), in the layout of
 * https://github.com/filipradenovic/revisitop.
 */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { printable } from "../files/text.js";
import type { Decoding } from "../images/image-location.js";
import type { ImageSet } from "../images/image-set.js";
import { type Box, roundHalfEven } from "../images/pixels.js";
import { listedImages } from "../images/sources/folder-images.js";
import { readPickle } from "../weights/torch/pickle.js";
import type { Truth } from "./ranking.js";

export const revisitedNames = ["roxford5k", "rparis6k"] as const;

export type RevisitedName = (typeof revisitedNames)[number];

const numbers = z.array(z.int().nonnegative());

const groundTruthSchema = z
  .object({
    /** Names of the database images, without folder and ".jpg". */
    imlist: z.array(z.string()).nonempty(),
    /** Names of the queries. */
    qimlist: z.array(z.string()).nonempty(),
    /**
     * For each query, the images of the same building by index in `imlist`, and the building's box in the query: left,
     * top, right, bottom.
     */
    gnd: z.array(
      z.object({
        bbx: z.tuple([z.number(), z.number(), z.number(), z.number()]),
        easy: numbers,
        hard: numbers,
        junk: numbers,
      }),
    ),
  })
  .refine(({ gnd, qimlist }) => gnd.length === qimlist.length, "expected an entry of gnd for each of qimlist")
  .refine(
    ({ gnd, imlist }) =>
      gnd.every(({ easy, hard, junk }) => [easy, hard, junk].every((list) => list.every((i) => i < imlist.length))),
    "expected gnd to hold indices of imlist, got one beyond its end",
  );

export type GroundTruth = Readonly<z.infer<typeof groundTruthSchema>>;

type Annotation = GroundTruth["gnd"][number];

/** Relevant images and junk of each setup. */
export const setups = {
  easy: ({ easy, hard, junk }: Annotation): Truth => ({ relevant: easy, junk: [...junk, ...hard] }),
  medium: ({ easy, hard, junk }: Annotation): Truth => ({ relevant: [...easy, ...hard], junk }),
  hard: ({ easy, hard, junk }: Annotation): Truth => ({ relevant: hard, junk: [...junk, ...easy] }),
} as const;

/** A benchmark on disk. */
export interface Revisited {
  readonly database: ImageSet;
  readonly queries: ImageSet;
  readonly truth: GroundTruth;
}

/**
 * Opens ROOT/NAME/gnd_NAME.pkl, or its equivalent .json, with the images of ROOT/NAME/jpg. Throws if the ground truth
 * is missing or damaged.
 */
export async function openRevisited(root: string, name: RevisitedName, decoding: Decoding = {}): Promise<Revisited> {
  const folder = join(root, name);
  const truth = await readGroundTruth(join(folder, `gnd_${name}`));
  const listed = (names: readonly string[]): ImageSet =>
    // The official code lets PIL load truncated files.
    listedImages(
      join(folder, "jpg"),
      names.map((image) => `${image}.jpg`),
      { ...decoding, torn: "shown" },
    );
  return { database: listed(truth.imlist), queries: listed(truth.qimlist), truth };
}

async function readGroundTruth(stem: string): Promise<GroundTruth> {
  const path = [".pkl", ".json"].map((extension) => stem + extension).find((candidate) => existsSync(candidate));
  if (path === undefined) throw new Error(`${stem}.pkl: expected the ground truth of the benchmark, as .pkl or .json`);
  try {
    const bytes = await readFile(path);
    return groundTruthSchema.parse(path.endsWith(".pkl") ? unpickle(bytes) : JSON.parse(bytes.toString("utf8")));
  } catch (error) {
    const message = error instanceof z.ZodError ? z.prettifyError(error) : (error as Error).message;
    throw new Error(`${path}: ${printable(message, MAX_CHARACTERS)}`, { cause: error });
  }
}

/** Limit on the length of a message about a ground truth, which may have any number of errors. */
const MAX_CHARACTERS = 1000;

/** Reads dictionaries of lists and numbers, which need no Python names. Throws if shared lists outgrow the file. */
function unpickle(bytes: Uint8Array): unknown {
  const fields = (value: unknown): unknown => (value instanceof Map ? Object.fromEntries(value) : value);
  const truth = fields(readPickle(bytes, { names: new Map() }).value) as { readonly gnd?: unknown } | null;
  const found: unknown = truth?.gnd;
  const gnd = Array.isArray(found) ? found.map((entry: unknown) => fields(entry)) : found;
  const lists = Array.isArray(gnd)
    ? gnd.flatMap((entry) => Object.values((entry ?? {}) as Record<string, unknown>))
    : [];
  if (lists.reduce((sum: number, list) => sum + (Array.isArray(list) ? list.length : 0), 0) > bytes.length)
    throw new Error("the lists are shared and have more numbers than the file has bytes");
  return { ...truth, gnd };
}

/** Returns the box of a query's building, rounded as by PIL's crop. */
export function queryBox({ bbx: [left, top, right, bottom] }: Annotation): Box {
  const [x0, y0, x1, y1] = [left, top, right, bottom].map(roundHalfEven) as [number, number, number, number];
  return { left: x0, top: y0, width: x1 - x0, height: y1 - y0 };
}
