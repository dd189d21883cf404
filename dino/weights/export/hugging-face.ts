/** Settings of a ViT as Hugging Face's libraries read them, in Python and in JavaScript. */
import { evalView, isRgb } from "../../config/derive.js";
import type { Config } from "../../config/settings.js";
import { learnedPositions } from "../../model/positions.js";
import type { RotaryPositions, VitConfig } from "../../model/vit-config.js";
import type { Values } from "../checkpoint-bytes.js";
import { dinov2Names, dinov3Names, vitNames } from "../name-tables.js";
import { huggingFaceTensors } from "../names.js";
import type { ReadNetwork } from "../read-network.js";

/** A model of Hugging Face's library: config.json, and tensors under its names. */
export interface HubModel {
  readonly settings: object;
  readonly tensors: ReadonlyMap<string, Values>;
}

/**
 * Returns a network as ViTModel, Dinov2Model, Dinov2WithRegistersModel or DINOv3ViTModel. Throws for a network that none of
 * them computes.
 */
export function hubModel({ vit, backbone }: Pick<ReadNetwork, "vit" | "backbone">): HubModel {
  const { positions = learnedPositions, layerScale, registers = 0, untiedNorms = {} } = vit;
  if (untiedNorms.cls) throw unsupported("a norm of its own for cls token and registers");
  if (positions.kind === "rotary") return dinov3Model(vit, positions, backbone);
  if (layerScale !== undefined) return dinov2Model(vit, backbone);
  if (registers > 0) throw unsupported(`${registers} registers without LayerScale`);
  if (vit.ffn !== "mlp") throw unsupported("SwiGLU without LayerScale");
  const names = { architectures: ["ViTModel"], model_type: "vit" };
  const settings = { ...names, ...sharedSettings(vit), intermediate_size: hiddenOf(vit), hidden_act: "gelu" };
  return { settings, tensors: huggingFaceTensors(backbone, vitNames) };
}

function unsupported(what: string): Error {
  return new Error(
    `--format hf: the network has ${what}, which no model of Hugging Face has; take --format onnx or safetensors`,
  );
}

const hiddenOf = ({ dim, mlpRatio }: VitConfig) => Math.round(dim * mlpRatio);

function sharedSettings({ imageRows, imageCols, patch, dim, depth, heads, channels, qkvBias, normEpsilon }: VitConfig) {
  return {
    hidden_size: dim,
    num_hidden_layers: depth,
    num_attention_heads: heads,
    layer_norm_eps: normEpsilon,
    image_size: imageRows === imageCols ? imageRows : [imageRows, imageCols],
    patch_size: patch,
    num_channels: channels,
    qkv_bias: qkvBias,
    hidden_dropout_prob: 0,
    attention_probs_dropout_prob: 0,
    torch_dtype: "float32",
  };
}

function dinov2Model(vit: VitConfig, backbone: ReadonlyMap<string, Values>): HubModel {
  const { dim, registers = 0, ffn, maskToken } = vit;
  if (ffn === "swiglu") throw unsupported("SwiGLU in two layers with learned positions");
  const hidden = hiddenOf(vit);
  const isGated = ffn === "packed swiglu";
  if (isGated && hidden % 8 !== 0) throw unsupported(`SwiGLU of ${hidden} features, not a multiple of 8,`);
  const whole = isGated ? (3 * hidden) / 2 : hidden; // of which Dinov2SwiGLUFFN takes two thirds
  const [architecture, type] =
    registers > 0 ? ["Dinov2WithRegistersModel", "dinov2_with_registers"] : ["Dinov2Model", "dinov2"];
  const settings = {
    architectures: [architecture],
    model_type: type,
    ...sharedSettings(vit),
    mlp_ratio: Number.isInteger(whole / dim) ? whole / dim : (whole + 0.5) / dim, // the library rounds the product down
    hidden_act: "gelu",
    use_swiglu_ffn: isGated,
    layerscale_value: 1,
    drop_path_rate: 0,
    use_mask_token: maskToken !== undefined,
    ...(registers > 0 && { num_register_tokens: registers }),
  };
  return { settings, tensors: huggingFaceTensors(backbone, dinov2Names) };
}

function dinov3Model(vit: VitConfig, positions: RotaryPositions, backbone: ReadonlyMap<string, Values>): HubModel {
  const { ffn, registers = 0, qkvBias = true, maskKeyBias = false } = vit;
  const { periods, normalize } = positions;
  if (vit.layerScale === undefined) throw unsupported("rotary positions without LayerScale");
  if (!("base" in periods)) throw unsupported("rotary positions with a shortest and a longest period");
  if (normalize !== "separate") throw unsupported(`rotary positions along the ${normalize} side`);
  if (ffn === "packed swiglu") throw unsupported("packed SwiGLU with rotary positions");
  const isGated = ffn === "swiglu";
  const settings = {
    architectures: ["DINOv3ViTModel"],
    model_type: "dinov3_vit",
    ...sharedSettings(vit),
    intermediate_size: hiddenOf(vit),
    hidden_act: isGated ? "silu" : "gelu",
    use_gated_mlp: isGated,
    num_register_tokens: registers,
    rope_theta: periods.base,
    query_bias: qkvBias,
    key_bias: qkvBias && !maskKeyBias,
    value_bias: qkvBias,
    proj_bias: true,
    mlp_bias: true,
    layerscale_value: 1,
    drop_path_rate: 0,
  };
  const renamed = huggingFaceTensors(backbone, dinov3Names({ gated: isGated }));
  const kept = [...renamed].filter(([name]) => !(maskKeyBias && name.endsWith(".k_proj.bias")));
  const tensors = kept.map(([name, { shape, values }]): [string, Values] => {
    return [name, { shape: name.endsWith(".mask_token") ? [1, ...shape] : shape, values }];
  });
  return { settings, tensors: new Map(tensors) };
}

/** Pillow's constant. */
const BICUBIC = 3;

/**
 * Returns preprocessor_config.json: the evaluation view of an image. ViTImageProcessor resizes to rows and columns and
 * does not crop; BitImageProcessor, which DINOv2 uses too, resizes the shorter side and center-crops.
 */
export function processorSettings(config: Config): object {
  const { resize, crop } = evalView(config);
  return {
    image_processor_type: "BitImageProcessor",
    do_convert_rgb: isRgb(config),
    do_resize: true,
    size: { shortest_edge: resize },
    resample: BICUBIC,
    do_center_crop: true,
    crop_size: { height: crop.rows, width: crop.cols },
    do_rescale: true,
    rescale_factor: 1 / 255,
    do_normalize: true,
    image_mean: config.mean,
    image_std: config.std,
  };
}
