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

/** A backbone and its projection head. */
export interface NetworkConfig {
  readonly vit: VitConfig;
  readonly head: HeadConfig;
  /** Precision of training, between f32 parameters and an f32 loss; default f32. */
  readonly precision?: Precision;
}

/** Parameters `backbone.*` and `head.*`, and the running statistics of the head's batch norms. */
export interface Network {
  readonly config: NetworkConfig;
  readonly params: Params;
  readonly buffers: Params | undefined;
  [Symbol.dispose](): void;
}

/** Returns parameters under names with a prefix. */
export const prefixed = (prefix: string, specs: readonly ParamSpec[]) =>
  specs.map((spec) => ({ ...spec, name: prefix + spec.name }));

/** Lists every parameter under its official name, in the official order. */
export function networkSpecs({ vit: vitConfig, head: headConfig }: NetworkConfig): ParamSpec[] {
  const backbone = vitSpecs(vitConfig).map((spec) => (isUnused(vitConfig, spec.name) ? untrainable(spec) : spec));
  return [...prefixed("backbone.", backbone), ...prefixed("head.", headSpecs(headConfig))];
}

const untrainable = (spec: ParamSpec): ParamSpec => ({ ...spec, trainable: false });

/** Whether the CLS tokens of images without masks do not depend on a parameter, so that it has no gradient. */
function isUnused({ maskToken, untiedNorms = {} }: VitConfig, name: string): boolean {
  return (name === "mask_token" && maskToken === "optional") || (name.startsWith("norm.") && untiedNorms.cls === true);
}

/** Lists the running statistics under their official names. */
export function bufferSpecs({ head: headConfig }: NetworkConfig): ParamSpec[] {
  return prefixed("head.", headBufferSpecs(headConfig));
}

/** Returns the backbone of a network, which shares the network's memory. */
export function backboneOf({ config, params }: Network): Backbone {
  return { device: params.device, vit: config.vit, params: scope(params.get, "backbone.") };
}

/** Creates a network with all parameters zero; `label` ("student", "teacher") names it in messages. */
export function createNetwork(device: Device, config: NetworkConfig, label: string): Network {
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
  /** Standard deviation of the backbone's weights. */
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
  return name.startsWith("backbone.")
    ? initVitParam(config.vit, localName, shape, initStd, random)
    : initHeadParam(config.head, localName, shape, random);
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
export function forward(network: Network, groups: readonly Tensor[], options: ForwardOptions = {}): NetworkOutput {
  const { config, params } = network;
  const { precision = "f32" } = config;
  if (precision === "f16") halfOfAll(params, ({ name }) => !name.includes("last_layer")); // whose rows are normalised in f32
  const backbone = scope(params.get, "backbone.");
  const vitConfig = { ...config.vit, precision };
  const views = groups.map((images, i) => ({ images, localCrops: i > 0 }));
  const features = vitOfGroups(vitConfig, backbone, views, options); // [all crops * batch, dim]
  const headConfig = { ...config.head, precision };
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
