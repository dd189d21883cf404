/** Translates parameter names of several projects to the official ones, and back. */
import type { Values } from "./checkpoint-bytes.js";
import type { StoredTensor } from "./torch/stored.js";

/** A tensor and its names in the file: three for joined queries, keys and values. */
export interface NamedTensor {
  readonly tensor: StoredTensor;
  readonly from: readonly string[];
}

/** A network's tensors under official names (`backbone.*`, `head.*`), and the names of all others. */
export interface OfficialTensors {
  readonly naming: "official" | "Hugging Face";
  readonly tensors: ReadonlyMap<string, NamedTensor>;
  readonly others: readonly string[];
}

/**
 * Detects the naming and translates it: `backbone.*` and `head.*` of full checkpoints, with a prefix `module.` from
 * DistributedDataParallel; names of a plain backbone, which timm also uses; names of Hugging Face's ViTModel, with or
 * without the prefix `vit.`, up to transformers 4 and from 5 on.
 */
export function officialTensors(tensors: ReadonlyMap<string, StoredTensor>): OfficialTensors {
  const bare = [...tensors].map(([name, tensor]) => ({ name: name.replace(/^module\./, ""), tensor, from: name }));
  const isWhole = bare.some(({ name }) => name.startsWith("backbone."));
  const isHuggingFace = bare.some(({ name }) => /^(vit\.)?embeddings\.patch_embeddings\./.test(name));
  const official = new Map<string, NamedTensor>();
  const others: string[] = [];
  for (const { name, tensor, from } of bare) {
    if (name.endsWith(".num_batches_tracked")) continue; // step count of a batch norm, unused
    const translated = isWhole ? wholeName(name) : isHuggingFace ? huggingFaceName(name) : `backbone.${name}`;
    if (translated === undefined || official.has(translated)) others.push(from);
    else official.set(translated, { tensor, from: [from] });
  }
  if (isHuggingFace && !isWhole) joinAttention(official);
  return { naming: isHuggingFace && !isWhole ? "Hugging Face" : "official", tensors: official, others };
}

/** Takes the chunk out of a block's name: `blocks.{chunk}.{i}.` of DINOv2, where i counts over all chunks, is `blocks.{i}.` */
export function nameWithoutChunk(name: string): string {
  return name.replace(/^(.*\.)?blocks\.\d+\.(\d+\.)/, "$1blocks.$2");
}

function wholeName(name: string): string | undefined {
  return /^(backbone|head)\./.test(name) ? name : undefined;
}

/** Separate tensors in Hugging Face's naming, in the order of `qkv`. */
const ATTENTION_PARTS = ["query", "key", "value"];

const huggingFaceNames: ReadonlyMap<string, string> = new Map([
  ["embeddings.cls_token", "cls_token"],
  ["embeddings.position_embeddings", "pos_embed"],
  ["embeddings.patch_embeddings.projection", "patch_embed.proj"],
  ["layernorm", "norm"],
]);

/** Names within a block: those up to transformers 4, which 5 reads too, and those from 5 on. */
const huggingFaceBlockNames: ReadonlyMap<string, string> = new Map([
  ["layernorm_before", "norm1"],
  ["layernorm_after", "norm2"],
  ...ATTENTION_PARTS.map((part) => [`attention.attention.${part}`, `attn.${part}`] as const),
  ["attention.output.dense", "attn.proj"],
  ["intermediate.dense", "mlp.fc1"],
  ["output.dense", "mlp.fc2"],
  ["attention.q_proj", "attn.query"],
  ["attention.k_proj", "attn.key"],
  ["attention.v_proj", "attn.value"],
  ["attention.o_proj", "attn.proj"],
  ["mlp.fc1", "mlp.fc1"],
  ["mlp.fc2", "mlp.fc2"],
]);

function huggingFaceName(name: string): string | undefined {
  const [, own = name] = /^vit\.(.*)$/.exec(name) ?? [];
  const [, stem = own, kind = ""] = /^(.*)(\.weight|\.bias)$/.exec(own) ?? [];
  const [, block, rest = ""] = /^(?:encoder\.layer|layers)\.(\d+)\.(.*)$/.exec(stem) ?? [];
  const found = block === undefined ? huggingFaceNames.get(stem) : huggingFaceBlockNames.get(rest);
  if (found === undefined) return undefined;
  return block === undefined ? `backbone.${found}${kind}` : `backbone.blocks.${block}.${found}${kind}`;
}

/** Renames a backbone to Hugging Face's ViTModel, up to transformers 4. Throws for parameters that ViTModel lacks. */
export function huggingFaceTensors(backbone: ReadonlyMap<string, Values>): Map<string, Values> {
  const split = [...backbone].flatMap(([name, tensor]): (readonly [string, Values])[] =>
    name.includes(".attn.qkv.")
      ? thirds(tensor).map((part, i) => [name.replace("qkv", ATTENTION_PARTS[i]!), part])
      : [[name, tensor]],
  );
  return new Map(split.map(([name, tensor]) => [nameForHuggingFace(name), tensor]));
}

function nameForHuggingFace(name: string): string {
  const [, stem = name, kind = ""] = /^(.*)(\.weight|\.bias)$/.exec(name) ?? [];
  const [, block, rest = stem] = /^blocks\.(\d+)\.(.*)$/.exec(stem) ?? [];
  const names = block === undefined ? huggingFaceNames : huggingFaceBlockNames;
  const found = [...names].find(([, own]) => own === rest)?.[0];
  if (found === undefined) throw new Error(`Hugging Face's ViTModel has no ${name}`);
  return (block === undefined ? found : `encoder.layer.${block}.${found}`) + kind;
}

/** Splits a tensor in three along its first axis. */
function thirds({ shape: [rows, ...rest], values }: Values): readonly Values[] {
  const third = values.length / 3;
  return [0, 1, 2].map((i) => ({ shape: [rows! / 3, ...rest], values: values.subarray(i * third, (i + 1) * third) }));
}

/** Joins queries, keys and values, separate in Hugging Face's naming, to the official `qkv`. */
function joinAttention(official: Map<string, NamedTensor>): void {
  for (const [name] of [...official]) {
    const [, before, kind] = /^(.*\.attn\.)query(\.weight|\.bias)$/.exec(name) ?? [];
    if (before === undefined || kind === undefined) continue;
    const names = ATTENTION_PARTS.map((part) => before + part + kind);
    const parts = names.flatMap((part) => official.get(part) ?? []);
    const [first] = parts;
    if (!first || parts.length < 3 || parts.some(({ tensor }) => String(tensor.shape) !== String(first.tensor.shape)))
      continue;
    for (const part of names) official.delete(part);
    official.set(`${before}qkv${kind}`, {
      tensor: joined(parts.map(({ tensor }) => tensor)),
      from: parts.flatMap(({ from }) => from),
    });
  }
}

/** Concatenates tensors of one shape along the first axis. */
function joined(parts: readonly StoredTensor[]): StoredTensor {
  const [{ shape, dtype }] = parts as readonly [StoredTensor];
  return {
    dtype,
    shape: [shape[0]! * parts.length, ...shape.slice(1)],
    async read() {
      const numbers: Float32Array[] = [];
      for (const part of parts) numbers.push(await part.read());
      const [{ length }] = numbers as [Float32Array];
      const whole = new Float32Array(length * parts.length);
      numbers.forEach((values, i) => whole.set(values, i * length));
      return whole;
    },
  };
}
