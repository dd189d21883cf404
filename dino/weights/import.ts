/** Imports a network from any file that `findNetwork` opens: official names, f32, and settings that describe it. */
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { formatConfig, parseConfig } from "../config/resolve.js";
import { type Config, defaultConfig } from "../config/settings.js";
import { openFile, type OpenFile } from "../files/files.js";
import { printable } from "../files/text.js";
import type { Size } from "../images/pixels.js";
import type { Which } from "../model/backbone.js";
import { networkConfig, vitConfig } from "../model/configure.js";
import { initialValue } from "../model/network.js";
import { backboneSettings, headSettings, type KnownDimensions } from "./architecture.js";
import type { Values } from "./checkpoint-bytes.js";
import { expectComplete, matchTensors, type TensorMatch, usableMatch } from "./match-tensors.js";
import { officialTensors, type OfficialTensors } from "./names.js";
import { findNetwork, type FoundNetwork } from "./open.js";
import { elementsOf } from "./torch/stored.js";

export interface ImportOptions {
  /** The network of a file with two; default: the teacher. */
  readonly which?: Which | undefined;
  /** Attention heads, if the file does not name them; default: one per 64 features. */
  readonly heads?: number | undefined;
  /** Image size of the position embedding; default: the file's, else a square. */
  readonly imageSize?: Size | undefined;
  /**
   * Imports what matches: other tensors are ignored, missing or misshapen parameters are initialised, and an incomplete
   * head is left out.
   */
  readonly allowPartial?: boolean | undefined;
  /** Seed of initialised parameters; default 0. */
  readonly seed?: number | undefined;
  readonly onProgress?: (done: number, total: number) => void;
}

export interface Imported {
  readonly format: FoundNetwork["format"];
  readonly naming: "official" | "Hugging Face";
  readonly which: Which | undefined;
  /** Defaults, except for the network, and the view of images if the file describes it. */
  readonly config: Config;
  /** Tensors under official names: `backbone.*`, and `head.*` if there is a head. */
  readonly tensors: ReadonlyMap<string, Values>;
  /** Tensors of the file that were left out, by the file's names. */
  readonly ignored: readonly string[];
  /** Parameters that were initialised because the file lacks them or has another shape, by official names. */
  readonly fresh: readonly string[];
}

/** Reads a network. Throws, naming the file, if it contains none, or one that does not match without `allowPartial`. */
export async function importNetwork(path: string, options: ImportOptions = {}): Promise<Imported> {
  try {
    await using file = await openFile(path, "");
    const found = await findNetwork(file, options.which);
    const official = officialTensors(found.tensors);
    const known = await knownDimensions(found, { path, naming: official.naming });
    const config = importedConfig(official, found.config, {
      heads: known.heads ?? options.heads,
      imageSize: options.imageSize ?? known.imageSize,
    });
    const network = networkConfig(config);
    const allTensors = matchTensors(network, official);
    if (options.allowPartial !== true) expectComplete(allTensors, network);
    const match = usableMatch(allTensors);
    const { format, which } = found;
    return {
      format,
      which,
      naming: official.naming,
      ignored: match.extra,
      ...(await readMatch(match, { file, config, options })),
    };
  } catch (error) {
    throw new Error(`${path}: ${printable((error as Error).message, MAX_CHARACTERS)}`, { cause: error });
  }
}

/** Limit on the length of an error message, which may quote the file. */
const MAX_CHARACTERS = 1000;

const huggingFaceConfig = z.object({
  num_attention_heads: z.number().optional(),
  image_size: z.union([z.number(), z.tuple([z.number(), z.number()])]).optional(),
  hidden_act: z.string().optional(),
});

/** Returns the dimensions named by a file of this program, or by Hugging Face's config.json beside the file. */
async function knownDimensions(
  { config }: FoundNetwork,
  { path, naming }: { readonly path: string; readonly naming: OfficialTensors["naming"] },
): Promise<KnownDimensions> {
  if (config) return { heads: vitConfig(config).heads, imageSize: config.imageSize };
  if (naming === "official") return {};
  const beside = join(dirname(path), "config.json");
  const text = await readFile(beside, "utf8").catch(() => undefined);
  if (text === undefined) return {};
  const read = huggingFaceConfig.safeParse(asJson(text));
  if (!read.success) throw new Error(`${beside}: expected the settings of a ViT: ${z.prettifyError(read.error)}`);
  const { num_attention_heads: heads, image_size: size, hidden_act: activation = "gelu" } = read.data;
  if (activation !== "gelu") throw new Error(`${beside}: expected the activation gelu, got ${activation}`);
  const [rows, cols] = typeof size === "number" ? [size, size] : (size ?? []);
  return { heads, imageSize: rows === undefined || cols === undefined ? undefined : { rows, cols } };
}

/** Parses JSON; undefined for invalid JSON. */
function asJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Merges the settings of an imported network: from its shapes, its view of images, else defaults. */
function importedConfig({ tensors }: OfficialTensors, own: Config | undefined, told: KnownDimensions): Config {
  const view = own && { evalResize: own.evalResize, evalSize: own.evalSize, mean: own.mean, std: own.std };
  const noCrops = { localCropsNumber: 0 }; // the default crop size may not suit the patches
  return checked({
    ...defaultConfig,
    ...view,
    ...backboneSettings(tensors, told),
    ...headSettings(tensors),
    ...noCrops,
  });
}

function checked(config: Config): Config {
  return parseConfig(formatConfig(config));
}

interface Reading {
  readonly file: OpenFile;
  readonly config: Config;
  readonly options: ImportOptions;
}

type ReadTensors = Pick<Imported, "config" | "tensors" | "fresh">;

/** Reads the matched tensors one at a time. Throws if numbers are not finite, or more than the file can hold. */
async function readMatch({ parameters }: TensorMatch, { file, config, options }: Reading): Promise<ReadTensors> {
  const taken = parameters.flatMap(({ found }) => found?.tensor ?? []);
  if (taken.reduce((sum, { shape }) => sum + elementsOf(shape), 0) > file.size)
    throw new Error("the tensors share storages and have more numbers than the file has bytes");
  const start = { seed: options.seed ?? 0, initStd: config.initStd };
  const tensors = new Map<string, Values>();
  for (const { spec, found } of parameters) {
    const values = found ? await found.tensor.read() : initialValue(networkConfig(config), spec, start);
    if (!isFinite(values)) throw new Error(`${found!.from.join(", ")}: expected finite numbers`);
    tensors.set(spec.name, { shape: spec.shape, values });
    options.onProgress?.(tensors.size, parameters.length);
  }
  const lengths = tensors.get("head.last_layer.weight_g");
  const normLastLayer = lengths ? lengths.values.every((length) => length === 1) : config.normLastLayer;
  return {
    config: { ...config, normLastLayer },
    tensors,
    fresh: parameters.filter(({ found }) => !found).map(({ spec }) => spec.name),
  };
}

function isFinite(values: Float32Array): boolean {
  for (const value of values) if (!Number.isFinite(value)) return false;
  return true;
}
