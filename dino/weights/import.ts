/** Takes a network out of any file that `findNetwork` opens: under official names, in f32, with settings that describe it. */
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { networkConfig, vitConfig } from "../config/derive.js";
import { formatConfig, parseConfig } from "../config/resolve.js";
import { type Config, defaultConfig } from "../config/settings.js";
import { openPlacedFile, type PlacedFile } from "../files/placed-file.js";
import { printable } from "../files/text.js";
import type { Size } from "../images/pixels.js";
import type { Which } from "../model/backbone.js";
import { initialValue } from "../model/network.js";
import { backboneSettings, headSettings, type KnownDimensions } from "./architecture.js";
import type { Values } from "./checkpoint-bytes.js";
import { expectComplete, type TensorMatch, matchTensors, usableMatch } from "./match-tensors.js";
import { type OfficialTensors, officialTensors } from "./names.js";
import { findNetwork, type FoundNetwork } from "./open.js";
import { elementsOf } from "./torch/stored.js";

export interface ImportOptions {
  /** Of a file with two networks; the teacher if left out. */
  readonly which?: Which | undefined;
  /** Attention heads, where the file does not tell; if left out, as many as have 64 features each. */
  readonly heads?: number | undefined;
  /** What the position embedding is made for; a square if left out, unless the file tells. */
  readonly imageSize?: Size | undefined;
  /**
   * Takes what fits: tensors of no use are left out, those that are missing or misshapen begin as in a fresh network, and a
   * head that is not whole is left out altogether.
   */
  readonly allowPartial?: boolean | undefined;
  /** Of what begins fresh: 0 if left out. */
  readonly seed?: number | undefined;
  readonly onProgress?: (done: number, total: number) => void;
}

export interface Imported {
  readonly format: FoundNetwork["format"];
  readonly naming: "official" | "Hugging Face";
  readonly which: Which | undefined;
  /** Defaults but for the network, and the view of images where the file tells that. */
  readonly config: Config;
  /** Under official names: `backbone.*`, and `head.*` where there is one. */
  readonly tensors: ReadonlyMap<string, Values>;
  /** Tensors of the file, by its names, that were left out. */
  readonly ignored: readonly string[];
  /** Parameters, by official names, that the file does not have or not in their shape. */
  readonly fresh: readonly string[];
}

/** Reads a network. Throws, naming the file, where there is none in it, or where it does not fit and need not. */
export async function importNetwork(path: string, options: ImportOptions = {}): Promise<Imported> {
  try {
    await using file = await openPlacedFile(path);
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
    throw new Error(`${path}: ${printable((error as Error).message, MOST_CHARACTERS)}`, { cause: error });
  }
}

/** Of an error's message, which may quote the file. */
const MOST_CHARACTERS = 1000;

const huggingFaceConfig = z.object({
  num_attention_heads: z.number().optional(),
  image_size: z.union([z.number(), z.tuple([z.number(), z.number()])]).optional(),
  hidden_act: z.string().optional(),
});

/** What a file of ours says of its network, or Hugging Face's config.json beside one of theirs. */
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

/** Undefined for a text that is none. */
function asJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The settings of a network: of its own shapes, of its view of images, else defaults. */
function importedConfig({ tensors }: OfficialTensors, own: Config | undefined, told: KnownDimensions): Config {
  const view = own && { evalResize: own.evalResize, mean: own.mean, std: own.std };
  const noCrops = { localCropsNumber: 0 }; // whose default size need not suit the patches
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
  readonly file: PlacedFile;
  readonly config: Config;
  readonly options: ImportOptions;
}

type ReadTensors = Pick<Imported, "config" | "tensors" | "fresh">;

/** Reads a fit's tensors, one after another. Throws where numbers are not finite, or more than the file can hold. */
async function readMatch({ parameters }: TensorMatch, { file, config, options }: Reading): Promise<ReadTensors> {
  const taken = parameters.flatMap(({ found }) => found?.tensor ?? []);
  if (taken.reduce((sum, { shape }) => sum + elementsOf(shape), 0) > file.size)
    throw new Error("the tensors share storages so that they have more numbers than the file has bytes");
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
