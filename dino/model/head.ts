import {
  cast,
  gelu,
  l2Normalize,
  linear,
  type ParamSpec,
  type Precision,
  type Projection,
  type Shape,
  type Tensor,
  weightNorm,
} from "../../engine/index.js";
import type { Rng } from "../math/random.js";
import { type Lookup, scope } from "./vit-config.js";
import { truncatedNormal } from "./vit-params.js";

/** The projection head (DINO, appendix C): an MLP to a bottleneck, L2 normalisation, a weight-normalised linear layer. */
export interface HeadConfig {
  readonly inDim: number;
  /** Width of the hidden MLP layers. */
  readonly hidden: number;
  /** Width of the bottleneck, at most 256 in the paper. */
  readonly bottleneck: number;
  /** Number of prototypes K. */
  readonly out: number;
  /** Linear layers of the MLP; 1 is a single linear layer. */
  readonly layers: number;
  /** Batch normalisation after each hidden layer. */
  readonly batchNorm: boolean;
  /** Keeps the lengths of the prototypes at 1. */
  readonly normLastLayer: boolean;
  /** Precision of matrix products; normalised vectors and logits are f32. Default f32. */
  readonly precision?: Precision;
}

/** Normalises hidden activations over the batch: (layer's name, x [rows, hidden]) -> [rows, hidden]. */
export type BatchNorm = (name: string, x: Tensor) => Tensor;

interface Layer {
  readonly linear: string;
  readonly batchNorm: string | undefined;
  readonly into: number;
  readonly out: number;
}

/** Layers of the MLP under the names of the official nn.Sequential. */
function mlpLayers({ inDim, hidden, bottleneck, layers, batchNorm }: HeadConfig): Layer[] {
  if (layers <= 1) return [{ linear: "mlp", batchNorm: undefined, into: inDim, out: bottleneck }];
  const stride = batchNorm ? 3 : 2; // linear, (batch norm,) GELU
  return Array.from({ length: layers }, (_, i) => {
    const last = i === layers - 1;
    return {
      linear: `mlp.${i * stride}`,
      batchNorm: batchNorm && !last ? `mlp.${i * stride + 1}` : undefined,
      into: i === 0 ? inDim : hidden,
      out: last ? bottleneck : hidden,
    };
  });
}

/** Parameters under their official names, in the official order. */
export function headSpecs(config: HeadConfig): ParamSpec[] {
  const param = (name: string, trainable: boolean, ...shape: number[]): ParamSpec => ({ name, shape, trainable });
  return [
    ...mlpLayers(config).flatMap(({ linear: layer, batchNorm, into, out }) => [
      param(`${layer}.weight`, true, out, into),
      param(`${layer}.bias`, true, out),
      ...(batchNorm ? [param(`${batchNorm}.weight`, true, out), param(`${batchNorm}.bias`, true, out)] : []),
    ]),
    param("last_layer.weight_g", !config.normLastLayer, config.out, 1),
    param("last_layer.weight_v", true, config.out, config.bottleneck),
  ];
}

/** Running statistics of the batch norms, saved but neither trained nor averaged. */
export function headBufferSpecs(config: HeadConfig): ParamSpec[] {
  return mlpLayers(config).flatMap(({ batchNorm, out }) =>
    batchNorm
      ? ["running_mean", "running_var"].map((name) => ({
          name: `${batchNorm}.${name}`,
          shape: [out],
          trainable: false,
        }))
      : [],
  );
}

/**
 * Initial values: truncated normal of `std`, 0.02 in the official code, for linear weights, PyTorch's uniform default for
 * `weight_v`, 1 for lengths and gains.
 */
export function initHeadParam(config: HeadConfig, name: string, shape: Shape, std: number, rng: Rng): Float32Array {
  const size = shape.reduce((product, axis) => product * axis, 1);
  if (name === "last_layer.weight_v") {
    const bound = 1 / Math.sqrt(config.bottleneck);
    return Float32Array.from({ length: size }, () => rng.uniformIn(-bound, bound));
  }
  if (name.endsWith(".bias") || name.endsWith(".running_mean")) return new Float32Array(size);
  if (shape.length === 1 || name === "last_layer.weight_g") return new Float32Array(size).fill(1);
  return truncatedNormal(size, std, rng);
}

/**
 * Computes the logits [rows, out] of the prototypes for features x [rows, inDim], as a product that is not yet
 * multiplied: unit vectors of the bottleneck and weights of the last layer. The loss multiplies them a part at a time.
 * Throws if the config has batch norm and none is given.
 */
export function head(config: HeadConfig, params: Lookup, x: Tensor, batchNorm?: BatchNorm): Projection {
  const layers = mlpLayers(config);
  const { precision = "f32" } = config;
  let y = cast(x, precision);
  layers.forEach((layer, i) => {
    y = linear(y, params(`${layer.linear}.weight`), params(`${layer.linear}.bias`));
    if (i === layers.length - 1) return;
    if (layer.batchNorm) {
      if (!batchNorm) throw new Error(`head: ${layer.batchNorm} needs running statistics`);
      y = cast(batchNorm(layer.batchNorm, cast(y, "f32")), precision);
    }
    y = gelu(y);
  });
  const last = scope(params, "last_layer.");
  const unit = l2Normalize(cast(y, "f32")); // [rows, bottleneck]
  return { x: unit, weight: weightNorm(last("weight_v"), last("weight_g")), precision }; // and [out, bottleneck]
}
