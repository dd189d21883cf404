/** A backbone of DINOv2 or DINOv3 as a golden file describes it. */
import { rotaryPeriods } from "../../dino/model/positions.js";
import type { RotaryPositions, VitConfig } from "../../dino/model/vit-config.js";
import { nameWithoutChunk } from "../../dino/weights/names.js";
import { createParams, layoutOf, type Params } from "../../engine/index.js";
import { testDevice } from "../support/device.js";
import { goldenV2 } from "./golden.js";

interface SharedConfig {
  readonly patch_size: number;
  readonly embed_dim: number;
  readonly depth: number;
  readonly num_heads: number;
  readonly ffn_layer: string;
  readonly ffn_hidden: number;
  readonly layerscale: boolean;
  readonly qkv_bias: boolean;
  readonly layernorm_eps: number;
}

interface V2Config extends SharedConfig {
  readonly img_size: number;
  readonly mlp_ratio: number;
  readonly num_register_tokens: number;
  readonly interpolate_antialias: boolean;
  readonly interpolate_offset: number;
}

/** How rotary positions are given, alone and with a backbone. */
interface RopeConfig {
  readonly base: number | null;
  readonly min_period?: number;
  readonly max_period?: number;
  readonly normalize_coords: RotaryPositions["normalize"];
}

interface V3Config extends SharedConfig {
  readonly ffn_ratio: number;
  readonly n_storage_tokens: number;
  readonly mask_k_bias: boolean;
  readonly untie_global_and_local_cls_norm: boolean;
  readonly untie_cls_and_patch_norms: boolean;
  readonly rope_base: number;
  readonly rope_normalize_coords: RotaryPositions["normalize"];
}

/** One call of get_intermediate_layers. */
interface Intermediate {
  readonly n: number | readonly number[];
  readonly reshape: boolean;
  readonly norm: boolean;
  readonly tensors: readonly string[];
}

type Forward = "plain" | "masked";

export type BackboneInput = {
  readonly shape: readonly [number, number, number, number];
  readonly grid: readonly [number, number];
  readonly intermediate: readonly Intermediate[];
} & Partial<Record<`loss_${Forward}`, number>> &
  Partial<Record<`no_grad_${Forward}` | `loss_terms_${Forward}`, readonly string[]>> &
  Partial<Record<`grad_norms_${Forward}`, Readonly<Record<string, number>>>>;

/** Several images at once, the first global and the second local crops, in training mode. */
export interface BackboneList {
  readonly shapes: readonly (readonly number[])[];
  readonly masks: readonly (string | null)[];
  readonly loss: number;
  readonly no_grad: readonly string[];
  readonly grad_norms: Readonly<Record<string, number>>;
}

export interface BackboneCase {
  readonly files: Readonly<Record<"state" | "io" | "grads", string>>;
  readonly config: V2Config | V3Config;
  readonly parameters: Readonly<Record<string, readonly number[]>>;
  readonly buffers?: Readonly<Record<string, readonly number[]>>;
  readonly inputs: Readonly<Record<string, BackboneInput>>;
  readonly list?: BackboneList;
  readonly tolerance: Readonly<Record<string, string>>;
}

export function rotaryPositions({ base, min_period, max_period, normalize_coords }: RopeConfig): RotaryPositions {
  const periods = base === null ? { min: min_period!, max: max_period! } : { base };
  return { kind: "rotary", periods, normalize: normalize_coords };
}

export function backboneConfig({ config, inputs }: BackboneCase): VitConfig {
  const [first] = Object.values(inputs);
  const shared = {
    patch: config.patch_size,
    dim: config.embed_dim,
    depth: config.depth,
    heads: config.num_heads,
    channels: first!.shape[1],
    dropPathRate: 0,
    normEpsilon: config.layernorm_eps,
    hidden: config.ffn_hidden,
    qkvBias: config.qkv_bias,
    ...(config.layerscale && { layerScale: 1 }),
  };
  if ("img_size" in config)
    return {
      ...shared,
      imageRows: config.img_size,
      imageCols: config.img_size,
      mlpRatio: config.mlp_ratio,
      registers: config.num_register_tokens,
      positions: { kind: "learned", offset: config.interpolate_offset, antialias: config.interpolate_antialias },
      ffn: config.ffn_layer === "mlp" ? "mlp" : "packed swiglu",
      maskToken: "optional",
    };
  return {
    ...shared,
    imageRows: first!.shape[2],
    imageCols: first!.shape[3],
    mlpRatio: config.ffn_ratio,
    registers: config.n_storage_tokens,
    positions: rotaryPositions({ base: config.rope_base, normalize_coords: config.rope_normalize_coords }),
    ffn: config.ffn_layer === "mlp" ? "mlp" : "swiglu",
    maskKeyBias: config.mask_k_bias,
    untiedNorms: { cls: config.untie_cls_and_patch_norms, localCls: config.untie_global_and_local_cls_norm },
    maskToken: "always",
  };
}

/** Returns the tensors of one of a case's files. */
export const filesOf = ({ files }: BackboneCase, which: keyof BackboneCase["files"]) =>
  goldenV2.tensors(files[which].replace(/\.safetensors$/, ""));

/** Creates the parameters of a case, without the chunks in their names. */
export async function backboneParams(golden: BackboneCase): Promise<Params> {
  const state = filesOf(golden, "state");
  const names = Object.keys(golden.parameters);
  const specs = names.map((name) => ({ name: nameWithoutChunk(name), shape: state.shape(name), trainable: true }));
  const params = createParams(await testDevice(), layoutOf(specs), "golden");
  params.write(new Map(names.map((name) => [nameWithoutChunk(name), state.f32(name)])));
  return params;
}

/** The values that buffers of a case must have, by their names. */
export function expectedBuffers({ dim, depth, heads, positions }: VitConfig): ReadonlyMap<string, ArrayLike<number>> {
  if (positions?.kind !== "rotary") return new Map();
  const keysMasked = Array.from({ length: 3 * dim }, (_, i) => (i >= dim && i < 2 * dim ? 0 : 1));
  return new Map<string, ArrayLike<number>>([
    ["rope_embed.periods", rotaryPeriods(positions, dim / heads)],
    ...Array.from({ length: depth }, (_, i) => [`blocks.${i}.attn.qkv.bias_mask`, keysMasked] as const),
  ]);
}
