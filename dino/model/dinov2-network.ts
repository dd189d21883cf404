import {
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
import { head, type HeadConfig, headSpecs, initHeadParam } from "./head.js";
import { type InitOptions, prefixed } from "./network.js";
import { scope, type VitConfig } from "./vit-config.js";
import { initVitParam, vitSpecs } from "./vit-params.js";
import { type BlockOptions, clsAndPatches, type ImageGroup, type WantedTokens } from "./vit.js";

/** A backbone with the heads of DINOv2 (https://arxiv.org/abs/2304.07193). */
export interface Dinov2Config {
  readonly vit: VitConfig;
  /** Head of CLS tokens. */
  readonly dinoHead: HeadConfig;
  /** Head of masked patches; by default that of CLS tokens. */
  readonly ibotHead?: HeadConfig | undefined;
  /** Precision of training, between f32 parameters and an f32 loss; default f32. */
  readonly precision?: Precision;
}

/** Parameters `backbone.*`, `dino_head.*` and, with a head of their own for patches, `ibot_head.*`. */
export interface Dinov2Network extends Disposable {
  readonly config: Dinov2Config;
  readonly params: Params;
}

/** Lists every parameter under its official name, in the official order. */
export function dinov2Specs({ vit, dinoHead, ibotHead }: Dinov2Config): ParamSpec[] {
  return [
    ...prefixed("backbone.", vitSpecs(vit)),
    ...prefixed("dino_head.", headSpecs(dinoHead)),
    ...(ibotHead ? prefixed("ibot_head.", headSpecs(ibotHead)) : []),
  ];
}

/** Creates a network with all parameters zero; `label` ("student", "teacher") names it in messages. Throws for batch norm. */
export function createDinov2Network(device: Device, config: Dinov2Config, label: string): Dinov2Network {
  for (const { batchNorm } of [config.dinoHead, config.ibotHead ?? config.dinoHead])
    if (batchNorm) throw new Error(`${label}: heads of DINOv2 have no batch norm`);
  const params = createParams(device, layoutOf(dinov2Specs(config)), label);
  return { config, params, [Symbol.dispose]: () => params[Symbol.dispose]() };
}

/** Returns initial values of all parameters; each depends on the seed and its name, not on the order. */
export function initialDinov2Values(config: Dinov2Config, { seed, initStd }: InitOptions): Map<string, Float32Array> {
  const { vit, dinoHead, ibotHead = dinoHead } = config;
  const valueOf = ({ name, shape }: ParamSpec): Float32Array => {
    const random = rng({ seed, purpose: `init ${name}` });
    const localName = name.slice(name.indexOf(".") + 1);
    if (name.startsWith("backbone.")) return initVitParam(vit, localName, shape, initStd, random);
    return initHeadParam(name.startsWith("dino_head.") ? dinoHead : ibotHead, localName, shape, random);
  };
  return new Map(dinov2Specs(config).map((spec) => [spec.name, valueOf(spec)]));
}

/** Output of a network of DINOv2. */
export interface Dinov2Output {
  /** CLS features of the backbone: [all crops * batch, dim]. */
  readonly features: Tensor;
  /** Logits of CLS tokens [all crops * batch, prototypes], and of wanted patches [count, prototypes], not yet multiplied. */
  readonly logits: Projection;
  readonly patchLogits: Projection;
}

/** Computes the features and logits of groups of crops, and of wanted patches of the first group. */
export function dinov2Forward(
  { config, params }: Dinov2Network,
  groups: readonly ImageGroup[],
  wanted: WantedTokens,
  options: BlockOptions = {},
): Dinov2Output {
  const { precision = "f32", dinoHead, ibotHead } = config;
  if (precision === "f16") halfOfAll(params, ({ name }) => !name.includes("last_layer")); // whose rows are normalised in f32
  const vit = { ...config.vit, precision };
  const { cls, patches } = clsAndPatches(vit, scope(params.get, "backbone."), groups, wanted, options);
  const own = (headConfig: HeadConfig, prefix: string, x: Tensor) =>
    head({ ...headConfig, precision }, scope(params.get, prefix), x);
  return {
    features: cls,
    logits: own(dinoHead, "dino_head.", cls),
    patchLogits: ibotHead ? own(ibotHead, "ibot_head.", patches) : own(dinoHead, "dino_head.", patches),
  };
}
