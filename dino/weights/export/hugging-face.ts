/** Settings of a ViT as Hugging Face's libraries read them, in Python and in JavaScript. */
import { evalView } from "../../config/derive.js";
import type { Config } from "../../config/settings.js";
import { vitConfig } from "../../model/configure.js";

/** Returns config.json of a ViTModel. Throws for a network with registers, which ViTModel does not support. */
export function huggingFaceSettings(config: Config): object {
  const { imageRows, imageCols, patch, dim, depth, heads, mlpRatio, channels, registers } = vitConfig(config);
  if (registers > 0) {
    throw new Error(
      `--format hf: the network has ${registers} registers, and Hugging Face's ViTModel has none; take --format onnx or safetensors`,
    );
  }
  return {
    architectures: ["ViTModel"],
    model_type: "vit",
    hidden_size: dim,
    num_hidden_layers: depth,
    num_attention_heads: heads,
    intermediate_size: Math.round(dim * mlpRatio),
    hidden_act: "gelu",
    layer_norm_eps: 1e-6,
    image_size: imageRows === imageCols ? imageRows : [imageRows, imageCols],
    patch_size: patch,
    num_channels: channels,
    qkv_bias: true,
    hidden_dropout_prob: 0,
    attention_probs_dropout_prob: 0,
    torch_dtype: "float32",
  };
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
    do_convert_rgb: true,
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
