/** Imports a network from any file that `findNetworkIn` reads: official names, f32, and settings that describe it. */
import { channelDefaults, formatConfig, parseConfig } from "../config/resolve.js";
import { type Config, defaultConfig, type PartialConfig } from "../config/settings.js";
import { printable } from "../files/text.js";
import type { Size } from "../images/pixels.js";
import type { Which } from "../model/backbone.js";
import { networkConfig } from "../model/configure.js";
import { initialValue } from "../model/network.js";
import { headSettings, ropeSettings, settingsOfShapes } from "./architecture.js";
import { settingsBeside } from "./beside.js";
import type { Values } from "./checkpoint-bytes.js";
import { withoutKeyBias } from "./derived-tensors.js";
import { expectComplete, matchTensors, type TensorMatch, usableMatch } from "./match-tensors.js";
import { officialTensors, type OfficialTensors } from "./names.js";
import { undeterminedSettings } from "./notes.js";
import type { FoundNetwork } from "./open.js";
import { normalizationOf } from "./published.js";
import { elementsOf } from "./torch/stored.js";
import { findNetworkIn, openWeights } from "./weight-files.js";

export interface ImportOptions {
  /** The network of a file with two; default: the teacher. */
  readonly which?: Which | undefined;
  /** What the names of the network begin with; only needed for a file with several. */
  readonly prefix?: string | undefined;
  /** Attention heads, if the file does not name them; default: one per 64 features. */
  readonly heads?: number | undefined;
  /** Image size of the position embedding; default: the file's, else a square. */
  readonly imageSize?: Size | undefined;
  /** Mean and standard deviation per channel of the images; default: those of the file, else of its images. */
  readonly mean?: Config["mean"] | undefined;
  readonly range?: Config["range"] | undefined;
  readonly std?: Config["std"] | undefined;
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
  readonly naming: OfficialTensors["naming"];
  readonly which: Which | undefined;
  /** What the names of the network begin with in the file, such as `model.`; often nothing. */
  readonly prefix: string;
  /** Defaults, except for the network, and the view of images if the file describes it. */
  readonly config: Config;
  /** Tensors under official names: `backbone.*`, and `head.*` if there is a head. */
  readonly tensors: ReadonlyMap<string, Values>;
  /** Tensors of the file that were left out, by the file's names. */
  readonly ignored: readonly string[];
  /** Parameters that were initialised because the file lacks them or has another shape, by official names. */
  readonly fresh: readonly string[];
}

/**
 * Reads a network from a file, the index of shards, or a folder with either. Throws, naming it, if it contains none, or one
 * that does not match without `allowPartial`.
 */
export async function importNetwork(path: string, options: ImportOptions = {}): Promise<Imported> {
  return withNetwork(path, options, async ({ found, official, config, bytes }) => {
    const network = networkConfig(config);
    const tensors = config.maskKeyBias ? withoutKeyBias(official.tensors) : official.tensors;
    const allTensors = matchTensors(network, { ...official, tensors });
    if (options.allowPartial !== true) expectComplete(allTensors, network);
    const match = usableMatch(allTensors);
    const { format, which } = found;
    return {
      format,
      which,
      prefix: official.prefix,
      naming: official.naming,
      ignored: [...match.extra, ...official.unused],
      ...(await readMatch(match, { bytes, config, options })),
    };
  });
}

/** Reads the settings of a network, without its tensors. Throws, naming the file, if it contains none. */
export async function importedSettings(path: string, options: ImportOptions = {}): Promise<Config> {
  return withNetwork(path, options, ({ config }) => Promise.resolve(config));
}

/** A network in open files. */
interface OpenNetwork {
  readonly found: FoundNetwork;
  readonly official: OfficialTensors;
  readonly config: Config;
  /** Size of the files. */
  readonly bytes: number;
}

/** Opens the network of a file for `use`. Errors name the file. */
async function withNetwork<T>(
  path: string,
  options: ImportOptions,
  use: (network: OpenNetwork) => Promise<T>,
): Promise<T> {
  try {
    await using opened = await openWeights(path);
    const found = await findNetworkIn(opened, options.which);
    const official = officialTensors(found.tensors, options);
    const config = await importedConfig(official, { path, own: found.config, folder: opened.folder, options });
    const bytes = opened.files.reduce((sum, { size }) => sum + size, 0);
    return await use({ found, official, config, bytes });
  } catch (error) {
    throw new Error(`${path}: ${printable((error as Error).message, MAX_CHARACTERS)}`, { cause: error });
  }
}

/** Limit on the length of an error message, which may quote the file. */
const MAX_CHARACTERS = 1000;

/** What is known of a network besides its tensors. */
export interface ImportContext {
  readonly path: string;
  /** Settings in a file of this program. */
  readonly own: Config | undefined;
  readonly folder: string;
  readonly options: ImportOptions;
}

/** Merges the settings of an imported network: of options, of files of this program or beside, of its shapes, else defaults. */
export async function importedConfig(
  official: OfficialTensors,
  { path, own, folder, options }: ImportContext,
): Promise<Config> {
  const said = own ? undeterminedSettings(own) : await settingsBeside(folder, official.naming);
  const rope = await ropeOf(official);
  await expectKeysMasked(official);
  expectKnownTokens(official);
  const shapes = settingsOfShapes(official, {
    positions: said.positions,
    heads: said.heads ?? rope.heads ?? options.heads,
    imageSize: options.imageSize ?? said.imageSize,
  });
  const { mean, std, range } = options;
  const noCrops = { localCropsNumber: 0 }; // the default crop size may not suit the patches
  return checked({
    ...defaultConfig,
    ...shapes,
    ...(shapes.channels === 3 ? normalizationOf(shapes, path) : channelDefaults({ ...defaultConfig, ...shapes })),
    ...rope,
    ...fitting(said, shapes),
    ...fittingView({ ...shapes, ...said }),
    ...headSettings(official.tensors),
    ...noCrops,
    ...(mean && { mean }),
    ...(std && { std }),
    ...(range && { range }),
    heads: shapes.heads,
    imageSize: shapes.imageSize,
  });
}

/** Drops mean and standard deviation of another number of channels. */
function fitting(said: PartialConfig, { channels = 3 }: PartialConfig): PartialConfig {
  const { mean, std, ...rest } = said;
  return { ...rest, ...(mean?.length === channels && { mean }), ...(std?.length === channels && { std }) };
}

/** Drops a view whose size is not whole patches. */
function fittingView({ evalSize, patchSize }: PartialConfig & Pick<Config, "patchSize">): PartialConfig {
  const isWhole = !evalSize || (evalSize.rows % patchSize === 0 && evalSize.cols % patchSize === 0);
  return isWhole ? {} : { evalSize: null, evalResize: null };
}

function checked(config: Config): Config {
  return parseConfig(formatConfig(config));
}

/** Returns the settings of rotary positions that the official code saves as periods; none without periods. */
async function ropeOf({ constants, tensors }: OfficialTensors): Promise<PartialConfig> {
  const periods = constants.get("backbone.rope_embed.periods")?.tensor;
  const [dim] = tensors.get("backbone.norm.weight")?.tensor.shape ?? [];
  return periods && dim !== undefined ? ropeSettings(await periods.read(), { dim, dtype: periods.dtype }) : {};
}

/** Throws for tokens that no network of this program has: features without them would be wrong. */
function expectKnownTokens({ tensors }: OfficialTensors): void {
  const known = /^backbone\.(cls_token|mask_token|register_tokens|storage_tokens)$/;
  const others = [...tensors].filter(([name]) => /^backbone\.\w*tokens?$/.test(name) && !known.test(name));
  if (others.length === 0) return;
  const names = others.flatMap(([, { from }]) => from);
  throw new Error(`expected no tokens but those of class, mask and registers, got ${names.join(", ")}`);
}

/** Throws unless each saved factor of biases is 0 for keys and 1 for queries and values. */
async function expectKeysMasked({ constants }: OfficialTensors): Promise<void> {
  for (const [name, { tensor, from }] of constants) {
    if (!name.endsWith(".bias_mask")) continue;
    const values = await tensor.read();
    const third = values.length / 3;
    if (values.some((value, i) => value !== (i >= third && i < 2 * third ? 0 : 1)))
      throw new Error(`${from.join(", ")}: expected 0 for keys, and 1 for queries and values`);
  }
}

interface Reading {
  /** Size of the files. */
  readonly bytes: number;
  readonly config: Config;
  readonly options: ImportOptions;
}

type ReadTensors = Pick<Imported, "config" | "tensors" | "fresh">;

/** Reads the matched tensors one at a time. Throws if numbers are not finite, or more than the file can hold. */
async function readMatch({ parameters }: TensorMatch, { bytes, config, options }: Reading): Promise<ReadTensors> {
  const taken = parameters.flatMap(({ found }) => found?.tensor ?? []);
  if (taken.reduce((sum, { shape }) => sum + elementsOf(shape), 0) > bytes)
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
