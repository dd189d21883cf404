/** Initial weights of student and teacher: random, or from a file. */
import { type Device, evaluate, input, type ParamSpec } from "../../engine/index.js";
import { flagOf, formatSize, formatValue } from "../config/flags.js";
import { SettingsError } from "../config/resolve.js";
import type { Config, PartialConfig } from "../config/settings.js";
import { backboneTraits, type StartSettings, startSettings } from "../config/start-settings.js";
import type { Size } from "../images/pixels.js";
import { networkConfig, vitConfig } from "../model/configure.js";
import { bufferSpecs, initialValue, initialValues, networkSpecs } from "../model/network.js";
import { positionEmbedding } from "../model/positions.js";
import { isOfHead, type Values } from "../weights/checkpoint-bytes.js";
import { type Imported, importedSettings, importNetwork } from "../weights/import.js";

/** Reads the settings of the network that `--init` starts from; `heads` may be given where the file does not name them. */
export function settingsOfFile(path: string, { heads }: Pick<PartialConfig, "heads">): Promise<Config> {
  return importedSettings(path, { heads: heads ?? undefined });
}

/**
 * Reads the settings that a run takes from the file of `--init`, if it is given. Throws for `--preset adapt` without a file.
 */
export async function settingsOfInit(
  flags: Pick<PartialConfig, "init" | "preset" | "heads">,
): Promise<StartSettings | undefined> {
  const { init, preset } = flags;
  if (typeof init === "string") return startSettings(await settingsOfFile(init, flags));
  if (preset !== "adapt") return undefined;
  throw new SettingsError("--preset adapt goes on from weights: name a file that has them with --init");
}

/**
 * Returns initial values of all parameters and statistics, drawn from the seed, or from the file of `--init`: its
 * backbone, with positions resampled to the run's image size, and its head if the shapes match. `log` reports what was
 * used. Throws if the file holds no weights or its backbone does not match.
 */
export async function startValues(
  device: Device,
  config: Config,
  log: (words: string) => void,
): Promise<ReadonlyMap<string, Float32Array>> {
  const network = networkConfig(config);
  if (config.init === null) return initialValues(network, config);
  const imported = await importNetwork(config.init, { heads: network.vit.heads });
  expectSameBackbone(imported.config, config);
  const specs = [...networkSpecs(network), ...bufferSpecs(network)];
  const misfit = headMisfit(imported, config, specs);
  const [from, to] = [imported.config.imageSize, config.imageSize];
  const isResized = imported.tensors.has(POSITIONS) && (from.rows !== to.rows || from.cols !== to.cols);
  const isCarried = imported.config.channels !== config.channels;
  const reused = (name: string) => {
    if (isOfHead(name) && misfit !== undefined) return undefined;
    const found = imported.tensors.get(name);
    return found && isCarried && name === PROJECTION ? carryChannels(found, config) : found?.values;
  };
  const values = new Map(specs.map((spec) => [spec.name, reused(spec.name) ?? initialValue(network, spec, config)]));
  if (isResized) values.set(POSITIONS, await resampled(device, imported, to));
  const fresh = specs.filter(({ name }) => !isOfHead(name) && !imported.tensors.has(name));
  const summary = [
    "backbone taken",
    ...(isCarried ? [`its 3 channels carried to ${config.channels} by ${config.initChannels}`] : []),
    ...(isResized ? [`positions from ${formatSize(from)} to ${formatSize(to)} pixels`] : []),
    ...fresh.map(({ name }) => `fresh ${tokenNames[name] ?? name}`),
    misfit === undefined ? "head taken" : `fresh head: ${misfit}`,
  ];
  log(`--init ${config.init}: ${summary.join(", ")}`);
  return values;
}

const POSITIONS = "backbone.pos_embed";
const PROJECTION = "backbone.patch_embed.proj.weight";

/**
 * Carries a patch projection [dim, 3, patch, patch] to other channels: -> [dim, channels, patch, patch]. Images whose channels
 * are alike keep the features of a gray image.
 */
function carryChannels(
  { shape, values }: Values,
  { channels, initChannels }: Pick<Config, "channels" | "initChannels">,
): Float32Array {
  const [dim, , rows, cols] = shape as readonly [number, number, number, number];
  const plane = rows * cols;
  const out = new Float32Array(dim * channels * plane);
  for (let feature = 0; feature < dim; feature++) {
    const of = (color: number, i: number) => values[(3 * feature + color) * plane + i]!;
    for (let channel = 0; channel < channels; channel++) {
      for (let i = 0; i < plane; i++) {
        const sum = initChannels === "mean" || channels === 1 ? of(0, i) + of(1, i) + of(2, i) : 3 * of(channel % 3, i);
        out[(feature * channels + channel) * plane + i] = sum / channels;
      }
    }
  }
  return out;
}

/** Parameters that a run may have where the file has none. */
const tokenNames: Readonly<Record<string, string>> = {
  "backbone.register_tokens": "registers",
  "backbone.storage_tokens": "registers",
  "backbone.mask_token": "mask token",
};

/** Throws, naming the flags that help, if the backbones differ in shape, positions aside. */
function expectSameBackbone(theirs: Config, ours: Config): void {
  const [wanted, got] = [shapeFlags(theirs), shapeFlags(ours)];
  const missing = wanted.filter((flag) => !got.includes(flag));
  if (missing.length === 0) return;
  throw new Error(
    `--init ${String(ours.init)} is a backbone of another shape than the run's; these flags make them one: ${missing.join(" ")}`,
  );
}

function shapeFlags(config: Config): string[] {
  const { channels, patch, dim, depth, heads, mlpRatio, registers } = vitConfig(config);
  const ratio = Math.round(dim * mlpRatio) / dim;
  return [
    ...[`--patch-size ${patch}`, `--dim ${dim}`, `--depth ${depth}`, `--heads ${heads}`, `--mlp-ratio ${ratio}`],
    ...(channels === 3 ? [] : [`--channels ${channels}`]), // those of red, green and blue can be carried to others
    ...(registers > 0 ? [`--registers ${registers}`] : []), // a run may have them where the file has none
    `--layer-scale ${config.layerScale === null ? "auto" : "1e-5"}`, // its value is that of the file
    ...backboneTraits.map((name) => `${flagOf(name)} ${formatValue(config[name])}`),
  ];
}

/** Returns why the head of a file cannot be used; undefined if it can. */
function headMisfit(
  { config: theirs, tensors }: Imported,
  ours: Config,
  specs: readonly ParamSpec[],
): string | undefined {
  const wanted = specs.filter(({ name }) => isOfHead(name));
  const found = [...tensors.keys()].filter(isOfHead);
  if (found.length === 0) return "the file has none";
  if (theirs.method !== ours.method) return `that of the file is of --method ${theirs.method}`;
  const isSame = wanted.every(({ name, shape }) => String(tensors.get(name)?.shape) === String(shape));
  if (!isSame || wanted.length !== found.length) return "that of the file is of another shape";
  if (ours.normLastLayer && !theirs.normLastLayer)
    return "--norm-last-layer is true, and the file's last layer has lengths";
  return undefined;
}

/** Resamples a file's position embeddings to another image size, as the official code does. */
async function resampled(device: Device, { config, tensors }: Imported, to: Size): Promise<Float32Array> {
  const { shape, values } = tensors.get(POSITIONS)!; // [1, 1 + patches, dim]
  using embedding = input(device, shape, { label: "positions" });
  embedding.write(values);
  const { resized } = await evaluate(device, () => ({
    resized: positionEmbedding(vitConfig(config), embedding, to.rows, to.cols),
  }));
  return resized;
}
