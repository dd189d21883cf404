import {
  batchNorm,
  type BatchNormOptions,
  createParams,
  type Device,
  halfOfAll,
  layoutOf,
  type Params,
  type ParamSpec,
  type Precision,
  type Projection,
  type Tensor,
} from "../../engine/index.js";
import { rng } from "../math/random.js";
import type { Backbone } from "./backbone.js";
import { type BatchNorm, head, headBufferSpecs, type HeadConfig, headSpecs, initHeadParam } from "./head.js";
import { scope, type VitConfig } from "./vit-config.js";
import { initVitParam, vitSpecs } from "./vit-params.js";
import { type BlockOptions, vitOfGroups } from "./vit.js";

/** The projection head of DINO, by the official prefix of its parameters. */
export interface DinoHeads {
  readonly head: HeadConfig;
}

/** The heads of DINOv2, by the official prefixes of their parameters. */
export interface Dinov2Heads {
  /** Head of CLS tokens. */
  readonly dino_head: HeadConfig;
  /** Head of masked patches; default: that of CLS tokens. */
  readonly ibot_head?: HeadConfig | undefined;
}

export type Heads = DinoHeads | Dinov2Heads;

/** A backbone and its projection heads. */
export interface NetworkConfig<H extends Heads = Heads> {
  readonly vit: VitConfig;
  readonly heads: H;
  /** Precision of training, between f32 parameters and an f32 loss; default f32. */
  readonly precision?: Precision;
}

/** Parameters `backbone.*` and those of the heads, and the running statistics of the heads' batch norms. */
export interface Network<H extends Heads = Heads> extends Disposable {
  readonly config: NetworkConfig<H>;
  readonly params: Params;
  readonly buffers: Params | undefined;
}

/** Lists the heads with the prefixes of their parameters. */
function headsOf({ heads }: NetworkConfig): (readonly [prefix: string, HeadConfig])[] {
  const all = Object.entries(heads) as [string, HeadConfig | undefined][];
  return all.flatMap(([name, config]) => (config ? [[`${name}.`, config] as const] : []));
}

/** Returns parameters under names with a prefix. */
const prefixed = (prefix: string, specs: readonly ParamSpec[]) =>
  specs.map((spec) => ({ ...spec, name: prefix + spec.name }));

/** Lists every parameter under its official name, in the official order. */
export function networkSpecs(config: NetworkConfig): ParamSpec[] {
  const { vit } = config;
  const isIdle = ({ name }: ParamSpec) => "head" in config.heads && isUnusedByDino(vit, name);
  const backbone = vitSpecs(vit).map((spec) => (isIdle(spec) ? { ...spec, trainable: false } : spec));
  const heads = headsOf(config).flatMap(([prefix, headConfig]) => prefixed(prefix, headSpecs(headConfig)));
  return [...prefixed("backbone.", backbone), ...heads];
}

/** Whether the CLS tokens of images without masks do not depend on a parameter, so that it has no gradient. */
function isUnusedByDino({ maskToken, untiedNorms = {} }: VitConfig, name: string): boolean {
  return (name === "mask_token" && maskToken === "optional") || (name.startsWith("norm.") && untiedNorms.cls === true);
}

/** Lists the running statistics under their official names. */
export function bufferSpecs(config: NetworkConfig): ParamSpec[] {
  return headsOf(config).flatMap(([prefix, headConfig]) => prefixed(prefix, headBufferSpecs(headConfig)));
}

/** Returns the backbone of a network, which shares the network's memory. */
export function backboneOf({ config, params }: Network): Backbone {
  return { device: params.device, vit: config.vit, params: scope(params.get, "backbone.") };
}

/** Creates a network with all parameters zero; `label` ("student", "teacher") names it in messages. */
export function createNetwork<H extends Heads>(device: Device, config: NetworkConfig<H>, label: string): Network<H> {
  const params = createParams(device, layoutOf(networkSpecs(config)), label);
  const statistics = bufferSpecs(config);
  const buffers = statistics.length > 0 ? createParams(device, layoutOf(statistics), `${label} statistics`) : undefined;
  return {
    config,
    params,
    buffers,
    [Symbol.dispose]() {
      params[Symbol.dispose]();
      buffers?.[Symbol.dispose]();
    },
  };
}

/** Options of initialisation besides the network. */
export interface InitOptions {
  readonly seed: number;
  /** Standard deviation of the backbone's weights, and of those of the heads of DINOv2. */
  readonly initStd: number;
}

/** Returns initial values of all parameters and statistics; each depends on the seed and its name, not on the order. */
export function initialValues(config: NetworkConfig, start: InitOptions): Map<string, Float32Array> {
  const specs = [...networkSpecs(config), ...bufferSpecs(config)];
  return new Map(specs.map((spec) => [spec.name, initialValue(config, spec, start)]));
}

/** Returns the initial value of one parameter or statistic. */
export function initialValue(
  config: NetworkConfig,
  { name, shape }: ParamSpec,
  { seed, initStd }: InitOptions,
): Float32Array {
  const random = rng({ seed, purpose: `init ${name}` });
  const localName = name.slice(name.indexOf(".") + 1);
  const [, headConfig] = headsOf(config).find(([prefix]) => name.startsWith(prefix)) ?? [];
  const headStd = "head" in config.heads ? 0.02 : initStd; // without batch norm, the outputs of a narrow head would be tiny
  return headConfig
    ? initHeadParam(headConfig, localName, shape, headStd, random)
    : initVitParam(config.vit, localName, shape, initStd, random);
}

/** Writes parameters and statistics. Throws for missing and unknown names. */
export function writeNetwork(network: Network, values: ReadonlyMap<string, ArrayLike<number>>): void {
  const { params, buffers } = network;
  const isBuffer = (name: string) => buffers !== undefined && name in buffers.tensors;
  params.write(new Map([...values].filter(([name]) => !isBuffer(name))));
  buffers?.write(new Map([...values].filter(([name]) => isBuffer(name))));
}

/** Reads parameters and statistics under their official names. */
export async function readNetwork({ params, buffers }: Network): Promise<Map<string, Float32Array>> {
  return new Map([...(await params.read()), ...((await buffers?.read()) ?? [])]);
}

export interface ForwardOptions extends BlockOptions {
  /** Options of the head's batch norms. */
  readonly batchNorm?: Pick<BatchNormOptions, "across" | "updateLater">;
}

/**
 * The output for a batch of crops: backbone features [rows, dim] and logits of the prototypes [rows, out], not yet
 * multiplied.
 */
export interface NetworkOutput {
  readonly features: Tensor;
  readonly logits: Projection;
}

/**
 * Computes features and logits for crops of several sizes (MultiCropWrapper of the official code): groups of crops
 * [crops * batch, channels, rows, cols] of one size each, the global crops first. Rows are in the order given, [all crops *
 * batch, ...].
 */
export function forward(
  network: Network<DinoHeads>,
  groups: readonly Tensor[],
  options: ForwardOptions = {},
): NetworkOutput {
  const { config, params } = network;
  const { precision = "f32" } = config;
  if (precision === "f16") halfOfAll(params, ({ name }) => !name.includes("last_layer")); // whose rows are normalised in f32
  const backbone = scope(params.get, "backbone.");
  const vitConfig = { ...config.vit, precision };
  const views = groups.map((images, i) => ({ images, localCrops: i > 0 }));
  const features = vitOfGroups(vitConfig, backbone, views, options); // [all crops * batch, dim]
  const headConfig = { ...config.heads.head, precision };
  return {
    features,
    logits: head(headConfig, scope(params.get, "head."), features, trainingBatchNorm(network, options)),
  };
}

/**
 * Returns batch norm with batch statistics, for student and teacher in training; it also updates the running
 * statistics.
 */
function trainingBatchNorm(
  { params, buffers }: Network,
  { batchNorm: options }: ForwardOptions,
): BatchNorm | undefined {
  if (!buffers) return undefined;
  return (name, x) =>
    batchNorm(
      x,
      params.get(`head.${name}.weight`),
      params.get(`head.${name}.bias`),
      {
        runningMean: buffers.get(`head.${name}.running_mean`),
        runningVariance: buffers.get(`head.${name}.running_var`),
      },
      options,
    );
}
