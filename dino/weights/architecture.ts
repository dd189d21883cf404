/** Infers the architecture of a network from the shapes of its weights. */
import { archOf } from "../config/derive.js";
import { formatSize } from "../config/flags.js";
import type { Config, PartialConfig } from "../config/settings.js";
import { joinNames } from "../files/text.js";
import { MAX_CHANNELS, type Size } from "../images/pixels.js";
import type { NamedTensor } from "./derived-tensors.js";
import type { OfficialTensors } from "./names.js";
import type { Dtype } from "./torch/stored.js";

/** Dimensions that shapes do not determine. */
export interface KnownDimensions {
  readonly heads?: number | null | undefined;
  readonly imageSize?: Size | undefined;
  readonly positions?: Config["positions"] | undefined;
}

/** Features per attention head in every official ViT but ViT-7B. */
const HEAD_DIM = 64;

/** The size that official evaluations crop images to. */
const EVAL_SIZE = 224;

type Shapes = ReadonlyMap<string, NamedTensor>;

/** Settings of a network by its shapes. */
export type ShapeSettings = PartialConfig &
  Pick<Config, "channels" | "patchSize" | "imageSize" | "dim" | "depth" | "heads">;

/**
 * Returns the settings of the ViT with these weights, under official names. Throws if they are not a ViT's, naming a
 * flag that helps.
 */
export function settingsOfShapes(official: OfficialTensors, known: KnownDimensions): ShapeSettings {
  const { tensors, maskKeyBias } = official;
  const shapeOf = (name: string) => tensors.get(`backbone.${name}`)?.tensor.shape;
  const has = (name: string) => tensors.has(`backbone.${name}`);
  const [dim, channels, patchSize] = projectionShape(tensors);
  const depth = depthOf(tensors);
  const [, registers = 0] = shapeOf("register_tokens") ?? shapeOf("storage_tokens") ?? [];
  const isRotary = known.positions === undefined ? hasRotaryPositions(official) : known.positions === "rotary";
  const imageSize = isRotary
    ? (known.imageSize ?? square(EVAL_SIZE, patchSize))
    : imageSizeOf(shapeOf("pos_embed"), patchSize, known);
  const hasFactors = has("blocks.0.ls1.gamma");
  return {
    ...{ channels, patchSize, imageSize, dim, depth, registers, maskKeyBias },
    heads: headsOf({ dim, depth }, known),
    ...ffnOf(tensors, dim),
    ...(isRotary
      ? { positions: "rotary", normEpsilon: 1e-5 }
      : { positionOffset: registers > 0 && hasFactors ? 0 : 0.1, positionAntialias: registers > 0 && hasFactors }),
    layerScale: hasFactors ? 1e-5 : null, // the initial value, which the weights replace
    qkvBias: has("blocks.0.attn.qkv.bias"),
    maskToken: !has("mask_token") ? "none" : isRotary ? "always" : "optional",
    clsNorm: has("cls_norm.weight"),
    localClsNorm: has("local_cls_norm.weight"),
    evalSize: hasFactors && Math.min(imageSize.rows, imageSize.cols) > EVAL_SIZE ? square(EVAL_SIZE, patchSize) : null,
  };
}

/** Returns the shape of the patch projection [dim, channels, patch, patch]. Throws if there is none of this form. */
function projectionShape(tensors: Shapes): readonly [number, number, number, number] {
  const projection = tensors.get("backbone.patch_embed.proj.weight")?.tensor.shape;
  if (projection?.length === 5) {
    throw new Error(
      `expected a network of images, got patches of several frames, patch_embed.proj.weight [${projection.join(", ")}], as networks of videos have`,
    );
  }
  if (projection?.length !== 4) {
    throw new Error(
      `expected the weights of a ViT, including patch_embed.proj.weight [dim, channels, patch, patch]; got ${joinNames(sourcesOf(tensors))}`,
    );
  }
  const [dim, channels, patchSize, patchCols] = projection as readonly [number, number, number, number];
  if (!(channels >= 1 && channels <= MAX_CHANNELS) || patchSize !== patchCols) {
    throw new Error(
      `expected square patches of 1 to ${MAX_CHANNELS} channels, got patch_embed.proj.weight [${projection.join(", ")}]`,
    );
  }
  return [dim, channels, patchSize, patchCols];
}

function depthOf(tensors: Shapes): number {
  const blocks = new Set([...tensors.keys()].map((name) => /^backbone\.blocks\.(\d+)\./.exec(name)?.[1]));
  let depth = 0;
  while (blocks.has(String(depth))) depth++;
  if (depth === 0) throw new Error(`expected blocks.0 of a ViT, got ${joinNames(sourcesOf(tensors))}`);
  return depth;
}

/** Whether a network has the rotary positions of DINOv3. Throws if it has learned ones too. */
function hasRotaryPositions({ isRotary, tensors }: OfficialTensors): boolean {
  const learned = tensors.get("backbone.pos_embed");
  if (!isRotary || !learned) return isRotary;
  throw new Error(
    `the tensors are of two families: ${joinNames(learned.from)} of DINO and DINOv2, others of DINOv3, which has no such positions`,
  );
}

/** Returns the kind and width of the layers after attention. */
function ffnOf(tensors: Shapes, dim: number): PartialConfig {
  const rowsOf = (name: string) => tensors.get(`backbone.blocks.0.mlp.${name}.weight`)?.tensor.shape[0];
  const [packed, gate] = [rowsOf("w12"), rowsOf("w1")];
  if (packed !== undefined) return { ffn: "packed-swiglu", mlpRatio: packed / 2 / dim };
  if (gate !== undefined) return { ffn: "swiglu", mlpRatio: gate / dim };
  return { ffn: "mlp", mlpRatio: (rowsOf("fc1") ?? 4 * dim) / dim };
}

function headsOf(size: { readonly dim: number; readonly depth: number }, { heads }: KnownDimensions): number {
  const { dim } = size;
  const known = heads ?? archOf(size)?.heads;
  if (known !== undefined) return known;
  if (dim % HEAD_DIM === 0) return dim / HEAD_DIM;
  throw new Error(
    `shapes do not determine the number of attention heads, and ${dim} features are not a multiple of ${HEAD_DIM}, ` +
      "the size of a head in the official models; give the number with --heads",
  );
}

/** Returns a square of whole patches, of `side` pixels if they divide it, else smaller, but of one patch at least. */
function square(side: number, patch: number): Size {
  const whole = Math.max(1, Math.floor(side / patch)) * patch;
  return { rows: whole, cols: whole };
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
  if (patches === undefined)
    throw new Error(
      "there is no pos_embed [1, 1 + patches, dim]; only networks of DINOv3 are read without learned positions",
    );
  const side = Math.sqrt(patches);
  if (Number.isInteger(side) && side > 0) return { rows: side * patchSize, cols: side * patchSize };
  throw new Error(
    `${patches} positions are not a square: give their image size with dino import --image-size ROWSxCOLS`,
  );
}

/**
 * Returns the settings of rotary positions with these periods, as DINOv3 saves them, and the heads they are for. Throws if
 * they do not grow geometrically.
 */
export function ropeSettings(
  periods: ArrayLike<number>,
  { dim, dtype }: { readonly dim: number; readonly dtype: Dtype },
): PartialConfig {
  const count = periods.length;
  const tolerance = dtype === "F32" || dtype === "F64" ? 1e-6 : 2 ** -8; // BF16 has 8 binary digits
  const heads = dim / (4 * count);
  const last = periods[count - 1]!;
  const isSame = (expected: (j: number) => number) =>
    Array.from(periods).every((period, j) => Math.abs(period / expected(j) - 1) < tolerance);
  const exact = last ** (count / Math.max(count - 1, 1));
  const bases = [...[2, 3, 4, 5].map((digits) => Number(exact.toPrecision(digits))), exact];
  const ropeBase = bases.find((base) => isSame((j) => base ** (j / count)));
  if (count > 1 && ropeBase !== undefined) return { heads, ropeBase };
  const first = periods[0]!;
  if (first > 0 && isSame((j) => first * (last / first) ** (j / Math.max(count - 1, 1))))
    return { heads, ropePeriods: [first, last] };
  throw new Error(
    `rope_embed.periods: expected periods that grow geometrically, got ${Array.from(periods).join(", ")}`,
  );
}

/** Returns the settings of the projection heads; undefined if tensors of them are missing. */
export function headSettings(tensors: Shapes): PartialConfig | undefined {
  const isDinov2 = tensors.has("dino_head.last_layer.weight_v");
  const prefix = isDinov2 ? "dino_head." : "head.";
  const layers = [...tensors]
    .flatMap(([name, { tensor }]) => (name.startsWith(prefix) ? [[name.slice(prefix.length), tensor] as const] : []))
    .filter(([name, { shape }]) => /^mlp(\.\d+)?\.weight$/.test(name) && shape.length === 2) // not the batch norms
    .sort(([a], [b]) => layerOf(a) - layerOf(b))
    .map(([, { shape }]) => shape[0]!);
  const [hiddenDim] = layers;
  const bottleneckDim = layers.at(-1);
  const [outDim] = tensors.get(`${prefix}last_layer.weight_v`)?.tensor.shape ?? [];
  if (hiddenDim === undefined || bottleneckDim === undefined || outDim === undefined) return undefined;
  return {
    ...{ outDim, hiddenDim, bottleneckDim, headLayers: layers.length },
    useBnInHead: tensors.has(`${prefix}mlp.1.weight`),
    ...(isDinov2 && { method: "dinov2", normLastLayer: false, separateHead: tensors.has("ibot_head.mlp.0.weight") }),
  };
}

/** mlp.2.weight -> 2 */
function layerOf(name: string): number {
  return Number(name.split(".")[1]);
}

function sourcesOf(tensors: Shapes): string[] {
  return [...tensors.values()].flatMap(({ from }) => from);
}
