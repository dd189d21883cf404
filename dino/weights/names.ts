/** Translates parameter names of several projects to the official ones, and back. */
import type { Size } from "../images/pixels.js";
import { isOfNetwork, type Values } from "./checkpoint-bytes.js";
import { joinAttention, type NamedTensor, withClsPosition, withoutFirstAxis } from "./derived-tensors.js";
import {
  ATTENTION_PARTS,
  dinov2Names,
  dinov3Names,
  type NamePairs,
  type NameTable,
  timmNames,
  vitNames,
} from "./name-tables.js";
import { findPrefix } from "./prefixes.js";
import type { StoredTensor } from "./torch/stored.js";

/** A network's tensors under official names (`backbone.*`, `head.*`, `dino_head.*`, `ibot_head.*`), and the names of all others. */
export interface OfficialTensors {
  readonly naming: "official" | "timm" | "Hugging Face";
  readonly tensors: ReadonlyMap<string, NamedTensor>;
  /** Constants that the official code of DINOv3 saves with its parameters, by official names. */
  readonly constants: ReadonlyMap<string, NamedTensor>;
  /** Whether names are those of a network with rotary positions, DINOv3. */
  readonly isRotary: boolean;
  /** Whether keys have no bias where queries and values have one. */
  readonly maskKeyBias: boolean;
  /** What came before the names of the network in the file, such as `model.`; often nothing. */
  readonly prefix: string;
  /** Tensors of heads that no network of this program has, such as those of DINOv3, and those outside of a chosen prefix. */
  readonly unused: readonly string[];
  readonly others: readonly string[];
}

/** A tensor by its name without wrappers, and by the file's name. */
interface Entry {
  readonly name: string;
  readonly from: string;
  readonly tensor: StoredTensor;
}

/** Takes the names of wrappers out of a name: DistributedDataParallel, FSDP, torch.compile and activation checkpoints. */
export function nameWithoutWrappers(name: string): string {
  return name
    .replace(/(?<=^|\.)(_fsdp_wrapped_module|_orig_mod|_checkpoint_wrapped_module)\./g, "")
    .replace(/^(module\.)+/, "");
}

/** Takes the chunk out of a block's name: `blocks.{chunk}.{i}.` of DINOv2, where i counts over all chunks, is `blocks.{i}.` */
export function nameWithoutChunk(name: string): string {
  return name.replace(/^(.*\.)?blocks\.\d+\.(\d+\.)/, "$1blocks.$2");
}

/** What is known of a network in a file. */
export interface KnownOfFile {
  /** What its names begin with. */
  readonly prefix?: string | undefined;
  /** Image size of its positions. */
  readonly imageSize?: Size | undefined;
}

/**
 * Detects the naming and translates it: `backbone.*` and `head.*` of full checkpoints; names of a plain backbone, which
 * timm shares with a few exceptions; names of Hugging Face's ViTModel, Dinov2Model, Dinov2WithRegistersModel and
 * DINOv3ViTModel, with or without the prefix of a model, up to transformers 4 and from 5 on. All may lie behind another
 * prefix, which `findPrefix` finds unless it is given.
 */
export function officialTensors(
  stored: ReadonlyMap<string, StoredTensor>,
  { prefix: wanted, imageSize }: KnownOfFile = {},
): OfficialTensors {
  const all = [...stored].map(([from, tensor]): Entry => {
    const name = nameWithoutWrappers(nameWithoutWrappers(from).replace(/^(teacher|student)\./, ""));
    return { name: nameWithoutChunk(name), from, tensor };
  });
  const { prefix, isChosen } = findPrefix(
    all.map(({ name }) => name),
    wanted === undefined ? undefined : nameWithoutWrappers(wanted),
  );
  const [inside, outside] = [true, false].map((is) => all.filter(({ name }) => name.startsWith(prefix) === is));
  const entries = inside!.map((entry) => ({ ...entry, name: entry.name.slice(prefix.length) }));
  const elsewhere = outside!.map(({ from }) => from);
  const { naming, isRotary, translate } = translation(entries);
  const tensors = new Map<string, NamedTensor>();
  const constants = new Map<string, NamedTensor>();
  const others = isChosen ? [] : [...elsewhere];
  for (const { name, tensor, from } of entries) {
    if (name.endsWith(".num_batches_tracked")) continue; // step count of a batch norm, unused
    const official = translate(name);
    const isConstant =
      official !== undefined && /^backbone\.(rope_embed\.periods|.*\.attn\.qkv\.bias_mask)$/.test(official);
    const into = isConstant ? constants : tensors;
    if (official === undefined || into.has(official)) others.push(from);
    else into.set(official, { tensor, from: [from] });
  }
  const unused = [...(isChosen ? elsewhere : []), ...takeUnusedHeads(tensors)];
  const keysLackBias = joinAttention(tensors, ATTENTION_PARTS);
  const maskKeyBias = keysLackBias || [...constants.keys()].some((name) => name.endsWith(".bias_mask"));
  const mayBeOfTimm = tensors.has("backbone.register_tokens") || tensors.has("backbone.blocks.0.ls1.gamma");
  if (mayBeOfTimm) withClsPosition(tensors, imageSize && patchesIn(imageSize, tensors));
  withoutFirstAxis(tensors, "backbone.mask_token");
  return { naming, isRotary, prefix, tensors, constants, maskKeyBias, unused, others };
}

/** Returns the number of whole patches of an image; undefined for tensors without a patch projection. */
function patchesIn({ rows, cols }: Size, tensors: ReadonlyMap<string, NamedTensor>): number | undefined {
  const [, , patchRows, patchCols] = tensors.get("backbone.patch_embed.proj.weight")?.tensor.shape ?? [];
  return patchRows && patchCols ? Math.floor(rows / patchRows) * Math.floor(cols / patchCols) : undefined;
}

/** Takes out heads of DINOv2 unless they are of the form that a network of this program has; returns the file's names of them. */
function takeUnusedHeads(tensors: Map<string, NamedTensor>): string[] {
  const prototypes = (head: string) => tensors.get(`${head}.last_layer.weight_v`)?.tensor.shape;
  const wanted = prototypes("dino_head");
  const isAlike = !tensors.has("ibot_head.mlp.0.weight") || String(prototypes("ibot_head")) === String(wanted);
  if (wanted && isAlike && tensors.has("backbone.mask_token")) return [];
  const unused = [...tensors].filter(([name]) => /^(dino|ibot)_head\./.test(name));
  for (const [name] of unused) tensors.delete(name);
  return unused.flatMap(([, { from }]) => from);
}

interface Translation extends Pick<OfficialTensors, "naming" | "isRotary"> {
  readonly translate: (name: string) => string | undefined;
}

function translation(entries: readonly Entry[]): Translation {
  const some = (pattern: RegExp) => entries.some(({ name }) => pattern.test(name));
  const isOfDinov3 = some(/(^|\.)(storage_tokens|rope_embed\.periods|attn\.qkv\.bias_mask|cls_norm\.weight)$/);
  const official = { naming: "official", isRotary: isOfDinov3 } as const;
  if (some(/^backbone\./)) {
    return { ...official, translate: (name) => (isOfNetwork(name) ? name : undefined) };
  }
  if (some(/(^|\.)embeddings\.patch_embeddings\./)) {
    const own = dinov3Names({ gated: some(/\.mlp\.gate_proj\./) });
    const isRotary = some(/(^|\.)embeddings\.patch_embeddings\.weight$/);
    const nameOf = reader(isRotary ? [own] : [vitNames, dinov2Names, own]); // transformers 5 has names of DINOv3 in ViTModel
    return { naming: "Hugging Face", isRotary, translate: (name) => nameOf(name.replace(MODEL_PREFIX, "")) };
  }
  if (isOfTimm(entries)) {
    const ffn = some(/\.mlp\.fc1_g\./) ? "swiglu" : isPacked(entries) ? "packed swiglu" : "mlp";
    const isRotary = some(/^blocks\.\d+\.gamma_1$/);
    const nameOf = reader([timmNames({ isRotary, ffn })]);
    return { naming: "timm", isRotary, translate: (name) => nameOf(name) ?? `backbone.${name}` };
  }
  return { ...official, translate: (name) => `backbone.${name}` };
}

/** Name of a model within a larger one, such as a classifier. */
const MODEL_PREFIX = /^((vit|dinov2|dinov2_with_registers|dinov3_vit|model)\.)+/;

/** Returns the translation of names by tables; the first table that has a name decides. */
function reader(tables: readonly NameTable[]): (name: string) => string | undefined {
  const last = [...tables].reverse();
  const outside = new Map(last.flatMap((table) => table.outside));
  const within = new Map(last.flatMap((table) => table.within));
  return (name) => {
    const [, stem = name, kind = ""] = /^(.*)(\.weight|\.bias)$/.exec(name) ?? [];
    const [, block, rest = ""] = /^(?:encoder\.layer|layers?|blocks)\.(\d+)\.(.*)$/.exec(stem) ?? [];
    const found = block === undefined ? outside.get(stem) : within.get(rest);
    if (found === undefined) return undefined;
    return block === undefined ? `backbone.${found}${kind}` : `backbone.blocks.${block}.${found}${kind}`;
  };
}

/** Whether names or shapes are those of timm where they differ from the official ones. */
function isOfTimm(entries: readonly Entry[]): boolean {
  const pattern = /^reg_token$|^blocks\.\d+\.(gamma_[12]|attn\.[qv]_bias|mlp\.fc1_[gx]\.(weight|bias))$/;
  return entries.some(({ name }) => pattern.test(name)) || isPacked(entries);
}

/** Whether the first layer after attention has the rows of a gate and a value. */
function isPacked(entries: readonly Entry[]): boolean {
  const shapeOf = (wanted: string) => entries.find(({ name }) => name === wanted)?.tensor.shape ?? [];
  const [into] = shapeOf("blocks.0.mlp.fc1.weight");
  const [, out] = shapeOf("blocks.0.mlp.fc2.weight");
  return into !== undefined && out !== undefined && into === 2 * out;
}

/**
 * Renames a backbone to a table of Hugging Face's names, with queries, keys and values apart. Throws for parameters that
 * the table lacks.
 */
export function huggingFaceTensors(backbone: ReadonlyMap<string, Values>, table: NameTable): Map<string, Values> {
  const split = [...backbone].flatMap(([name, tensor]): (readonly [string, Values])[] =>
    name.includes(".attn.qkv.")
      ? thirds(tensor).map((part, i) => [name.replace("qkv", ATTENTION_PARTS[i]!), part])
      : [[name, tensor]],
  );
  return new Map(split.map(([name, tensor]) => [nameFor(table, name), tensor]));
}

function nameFor({ outside, blocks, within }: NameTable, name: string): string {
  const [, stem = name, kind = ""] = /^(.*)(\.weight|\.bias)$/.exec(name) ?? [];
  const [, block, rest = stem] = /^blocks\.(\d+)\.(.*)$/.exec(stem) ?? [];
  const names: NamePairs = block === undefined ? outside : within;
  const [found] = names.find(([, official]) => official === rest) ?? [];
  if (found === undefined) throw new Error(`Hugging Face's model has no ${name}`);
  return (block === undefined ? found : `${blocks}${block}.${found}`) + kind;
}

/** Splits a tensor in three along its first axis. */
function thirds({ shape: [rows, ...rest], values }: Values): readonly Values[] {
  const third = values.length / 3;
  return [0, 1, 2].map((i) => ({ shape: [rows! / 3, ...rest], values: values.subarray(i * third, (i + 1) * third) }));
}
