import type { ParamSpec, Shape } from "../../engine/index.js";
import type { Rng } from "../math/random.js";
import { learnedPositions, patchGrid } from "./positions.js";
import { registersName } from "./tokens.js";
import type { VitConfig } from "./vit-config.js";

/** Lists the parameters under their official names, in the official order. */
export function vitSpecs(config: VitConfig): ParamSpec[] {
  const { dim, patch, channels, registers = 0, positions = learnedPositions, untiedNorms = {} } = config;
  const { rows, cols } = patchGrid(config, config.imageRows, config.imageCols);
  const param = (name: string, ...shape: number[]): ParamSpec => ({ name, shape, trainable: !isFrozen(config, name) });
  const normSpecs = (name: string) => [param(`${name}.weight`, dim), param(`${name}.bias`, dim)];
  const layer = (name: string, out: number, into: number) => [
    param(`${name}.weight`, out, into),
    param(`${name}.bias`, out),
  ];
  const gamma = (name: string) => (config.layerScale === undefined ? [] : [param(`${name}.gamma`, dim)]);
  return [
    param("cls_token", 1, 1, dim),
    ...(positions.kind === "learned" ? [param("pos_embed", 1, 1 + rows * cols, dim)] : []),
    ...(registers > 0 ? [param(registersName(config), 1, registers, dim)] : []),
    ...(config.maskToken ? [param("mask_token", 1, dim)] : []),
    param("patch_embed.proj.weight", dim, channels, patch, patch),
    param("patch_embed.proj.bias", dim),
    ...Array.from({ length: config.depth }, (_, i) => [
      ...normSpecs(`blocks.${i}.norm1`),
      ...layer(`blocks.${i}.attn.qkv`, 3 * dim, dim).slice(0, config.qkvBias === false ? 1 : 2),
      ...layer(`blocks.${i}.attn.proj`, dim, dim),
      ...gamma(`blocks.${i}.ls1`),
      ...normSpecs(`blocks.${i}.norm2`),
      ...ffnLayers(config).flatMap(({ name, out, into }) => layer(`blocks.${i}.mlp.${name}`, out, into)),
      ...gamma(`blocks.${i}.ls2`),
    ]).flat(),
    ...normSpecs("norm"),
    ...(untiedNorms.cls ? normSpecs("cls_norm") : []),
    ...(untiedNorms.localCls ? normSpecs("local_cls_norm") : []),
  ];
}

/** Linear layers after attention, by their official names. */
function ffnLayers({ dim, mlpRatio, ffn = "mlp", hidden = Math.round(dim * mlpRatio) }: VitConfig) {
  const up = (name: string, out = hidden) => ({ name, out, into: dim });
  const down = (name: string) => ({ name, out: dim, into: hidden });
  switch (ffn) {
    case "mlp":
      return [up("fc1"), down("fc2")];
    case "swiglu":
      return [up("w1"), up("w2"), down("w3")];
    case "packed swiglu":
      return [up("w12", 2 * hidden), down("w3")];
    default:
      return ffn satisfies never;
  }
}

function isFrozen({ frozenBlocks = 0 }: VitConfig, name: string): boolean {
  if (frozenBlocks === 0 || /^(norm|cls_norm|local_cls_norm)\./.test(name)) return false;
  const [, number] = /^blocks\.(\d+)\./.exec(name) ?? [];
  return number === undefined || Number(number) < frozenBlocks;
}

/**
 * Returns the initial value of one backbone parameter: truncated normal of `std` for the weights of linear layers and
 * of 0.02 for the CLS token and positions (0.02 for all in the official code), of 1e-6 for registers and, beside a mask token,
 * the CLS token, as in DINOv2, with rotary positions 0.02 as in DINOv3, 0 for biases and the mask token, 1 for LayerNorm gains, `layerScale` for the
 * factors of branches; the patch projection keeps PyTorch's uniform default of convolutions, +-1 / sqrt(fan-in).
 */
export function initVitParam(config: VitConfig, name: string, shape: Shape, std: number, rng: Rng): Float32Array {
  const size = shape.reduce((product, axis) => product * axis, 1);
  if (name.startsWith("patch_embed.")) {
    const bound = 1 / Math.sqrt(config.channels * config.patch ** 2);
    return Float32Array.from({ length: size }, () => rng.uniformIn(-bound, bound));
  }
  if (/(^|\.|_)norm\d?\.weight$/.test(name)) return new Float32Array(size).fill(1);
  if (name.endsWith(".gamma")) return new Float32Array(size).fill(config.layerScale!);
  if (name.endsWith(".bias") || name === "mask_token") return new Float32Array(size);
  const isOfDinov2 = name === "register_tokens" || (name === "cls_token" && config.maskToken === "optional");
  if (isOfDinov2) return truncatedNormal(size, 1e-6, rng);
  if (name === "storage_tokens") return truncatedNormal(size, 0.02, rng);
  const isToken = name === "cls_token" || name === "pos_embed";
  return truncatedNormal(size, isToken ? 0.02 : std, rng);
}

/**
 * Draws from a normal distribution of mean 0, redrawn outside [-2, 2] as in the official trunc_normal_ (absolute
 * bounds, not multiples of std).
 */
export function truncatedNormal(size: number, std: number, rng: Rng): Float32Array {
  const draw = (): number => {
    const value = std * rng.normal();
    return Math.abs(value) <= 2 ? value : draw();
  };
  return Float32Array.from({ length: size }, draw);
}
