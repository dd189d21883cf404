import { halfOfAll, type Projection, type Tensor } from "../../engine/index.js";
import { head, type HeadConfig } from "./head.js";
import type { Dinov2Heads, Network } from "./network.js";
import { scope } from "./vit-config.js";
import { type BlockOptions, clsAndPatches, type ImageGroup, type WantedTokens } from "./vit.js";

/** Output of a network of DINOv2. */
export interface Dinov2Output {
  /** CLS features of the backbone: [all crops * batch, dim]. */
  readonly features: Tensor;
  /** Logits of CLS tokens [all crops * batch, prototypes], and of wanted patches [count, prototypes], not yet multiplied. */
  readonly logits: Projection;
  readonly patchLogits: Projection;
}

/**
 * Computes the features and logits of groups of crops, and of wanted patches of the first group (DINOv2,
 * https://arxiv.org/abs/2304.07193, section 4). Throws for heads with batch norm.
 */
export function dinov2Forward(
  { config, params }: Network<Dinov2Heads>,
  groups: readonly ImageGroup[],
  wanted: WantedTokens,
  options: BlockOptions = {},
): Dinov2Output {
  const { precision = "f32", heads } = config;
  if (precision === "f16") halfOfAll(params, ({ name }) => !name.includes("last_layer")); // whose rows are normalised in f32
  const vit = { ...config.vit, precision };
  const { cls, patches } = clsAndPatches(vit, scope(params.get, "backbone."), groups, wanted, options);
  const project = (headConfig: HeadConfig, prefix: string, x: Tensor) =>
    head({ ...headConfig, precision }, scope(params.get, prefix), x);
  return {
    features: cls,
    logits: project(heads.dino_head, "dino_head.", cls),
    patchLogits: heads.ibot_head
      ? project(heads.ibot_head, "ibot_head.", patches)
      : project(heads.dino_head, "dino_head.", patches),
  };
}
