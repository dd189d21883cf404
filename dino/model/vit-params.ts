import type { ParamSpec, Shape } from "../../engine/index.js";
import type { Rng } from "../math/random.js";
import { patchGrid } from "./positions.js";
import type { VitConfig } from "./vit-config.js";

/** Lists the parameters under their official names, in the official order. */
export function vitSpecs(config: VitConfig): ParamSpec[] {
  const { dim, patch, channels, registers = 0 } = config;
  const { rows, cols } = patchGrid(config, config.imageRows, config.imageCols);
  const hidden = Math.round(dim * config.mlpRatio);
  const param = (name: string, ...shape: number[]): ParamSpec => ({ name, shape, trainable: !isFrozen(config, name) });
  const normSpecs = (name: string) => [param(`${name}.weight`, dim), param(`${name}.bias`, dim)];
  const layer = (name: string, out: number, into: number) => [
    param(`${name}.weight`, out, into),
    param(`${name}.bias`, out),
  ];
  return [
    param("cls_token", 1, 1, dim),
    param("pos_embed", 1, 1 + rows * cols, dim),
    ...(registers > 0 ? [param("register_tokens", 1, registers, dim)] : []), // its name and place in DINOv2
    param("patch_embed.proj.weight", dim, channels, patch, patch),
    param("patch_embed.proj.bias", dim),
    ...Array.from({ length: config.depth }, (_, i) => [
      ...normSpecs(`blocks.${i}.norm1`),
      ...layer(`blocks.${i}.attn.qkv`, 3 * dim, dim),
      ...layer(`blocks.${i}.attn.proj`, dim, dim),
      ...normSpecs(`blocks.${i}.norm2`),
      ...layer(`blocks.${i}.mlp.fc1`, hidden, dim),
      ...layer(`blocks.${i}.mlp.fc2`, dim, hidden),
    ]).flat(),
    ...normSpecs("norm"),
  ];
}

function isFrozen({ frozenBlocks = 0 }: VitConfig, name: string): boolean {
  if (frozenBlocks === 0 || name.startsWith("norm.")) return false;
  const [, number] = /^blocks\.(\d+)\./.exec(name) ?? [];
  return number === undefined || Number(number) < frozenBlocks;
}

/**
 * Returns the initial value of one backbone parameter: truncated normal of `std` for the weights of linear layers and
 * of 0.02 for the CLS token and positions (0.02 for all in the official code), normal of 1e-6 for registers (as in
 * DINOv2), 0 for biases, 1 for LayerNorm gains; the patch projection keeps PyTorch's uniform default of convolutions,
 * +-1 / sqrt(fan-in).
 */
export function initVitParam(config: VitConfig, name: string, shape: Shape, std: number, rng: Rng): Float32Array {
  const size = shape.reduce((product, axis) => product * axis, 1);
  if (name.startsWith("patch_embed.")) {
    const bound = 1 / Math.sqrt(config.channels * config.patch ** 2);
    return Float32Array.from({ length: size }, () => rng.uniformIn(-bound, bound));
  }
  if (/(^|\.)norm\d?\.weight$/.test(name)) return new Float32Array(size).fill(1);
  if (name.endsWith(".bias")) return new Float32Array(size);
  if (name === "register_tokens") return truncatedNormal(size, 1e-6, rng);
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
