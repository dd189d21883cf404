/** Infers the architecture of a network from the shapes of its weights. */
import { formatSize } from "../config/flags.js";
import type { PartialConfig } from "../config/settings.js";
import { joinNames } from "../files/text.js";
import type { Size } from "../images/pixels.js";
import type { NamedTensor } from "./names.js";

/** Dimensions that shapes do not determine. */
export interface KnownDimensions {
  readonly heads?: number | undefined;
  readonly imageSize?: Size | undefined;
}

/** Features per attention head in every official ViT. */
const HEAD_DIM = 64;

type Shapes = ReadonlyMap<string, NamedTensor>;

/**
 * Returns the settings of the ViT with these weights, under official names. Throws if they are not a ViT's, naming a
 * flag that helps.
 */
export function backboneSettings(tensors: Shapes, known: KnownDimensions): PartialConfig {
  const shapeOf = (name: string) => tensors.get(`backbone.${name}`)?.tensor.shape;
  const projection = shapeOf("patch_embed.proj.weight");
  if (projection?.length !== 4) {
    throw new Error(
      `expected the weights of a ViT, including patch_embed.proj.weight [dim, 3, patch, patch]; got ${joinNames(sourcesOf(tensors))}`,
    );
  }
  const [dim, channels, patchSize, patchCols] = projection as readonly [number, number, number, number];
  if (channels !== 3 || patchSize !== patchCols) {
    throw new Error(`expected square patches of 3 channels, got patch_embed.proj.weight [${projection.join(", ")}]`);
  }
  const blocks = new Set([...tensors.keys()].map((name) => /^backbone\.blocks\.(\d+)\./.exec(name)?.[1]));
  let depth = 0;
  while (blocks.has(String(depth))) depth++;
  if (depth === 0) throw new Error(`expected blocks.0 of a ViT, got ${joinNames(sourcesOf(tensors))}`);
  const [hidden = 4 * dim] = shapeOf("blocks.0.mlp.fc1.weight") ?? [];
  const imageSize = imageSizeOf(shapeOf("pos_embed"), patchSize, known);
  const [, registers = 0] = shapeOf("register_tokens") ?? [];
  return { patchSize, imageSize, dim, depth, heads: headsOf(dim, known), mlpRatio: hidden / dim, registers };
}

function headsOf(dim: number, { heads }: KnownDimensions): number {
  if (heads !== undefined) return heads;
  if (dim % HEAD_DIM === 0) return dim / HEAD_DIM;
  throw new Error(
    `shapes do not determine the number of attention heads, and ${dim} features are not a multiple of ${HEAD_DIM}, ` +
      "the size of a head in every official model; give the number with --heads",
  );
}

/** Returns the image size of position embeddings [1, 1 + patches, dim]: square unless known otherwise. */
function imageSizeOf(
  positions: readonly number[] | undefined,
  patchSize: number,
  { imageSize }: KnownDimensions,
): Size {
  const patches = positions?.length === 3 ? positions[1]! - 1 : undefined;
  if (imageSize !== undefined) {
    const { rows, cols } = imageSize;
    const given = Math.floor(rows / patchSize) * Math.floor(cols / patchSize);
    if (patches === undefined || patches === given) return imageSize;
    throw new Error(
      `an image of ${formatSize(imageSize)} holds ${given} patches of ${patchSize}, the weights have positions for ` +
        `${patches}; give their image size with --image-size`,
    );
  }
  const side = Math.sqrt(patches ?? NaN);
  if (Number.isInteger(side) && side > 0) return { rows: side * patchSize, cols: side * patchSize };
  const problem = patches === undefined ? "there is no pos_embed" : `${patches} positions are not a square`;
  throw new Error(`${problem}: give their image size with dino import --image-size ROWSxCOLS`);
}

/** Returns the settings of the projection head; undefined if tensors of it are missing. */
export function headSettings(tensors: Shapes): PartialConfig | undefined {
  const layers = [...tensors]
    .filter(([name, { tensor }]) => /^head\.mlp(\.\d+)?\.weight$/.test(name) && tensor.shape.length === 2) // not the batch norms
    .sort(([a], [b]) => layerOf(a) - layerOf(b))
    .map(([, { tensor }]) => tensor.shape[0]!);
  const [hiddenDim] = layers;
  const bottleneckDim = layers.at(-1);
  const [outDim] = tensors.get("head.last_layer.weight_v")?.tensor.shape ?? [];
  if (hiddenDim === undefined || bottleneckDim === undefined || outDim === undefined) return undefined;
  const useBnInHead = tensors.has("head.mlp.1.weight");
  return { outDim, hiddenDim, bottleneckDim, headLayers: layers.length, useBnInHead };
}

/** head.mlp.2.weight -> 2 */
function layerOf(name: string): number {
  return Number(name.split(".")[2]);
}

function sourcesOf(tensors: Shapes): string[] {
  return [...tensors.values()].flatMap(({ from }) => from);
}
