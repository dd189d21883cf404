/** Names that ViTs have in the files of several projects, as the official ones, and back. */
import type { StoredTensor } from "./torch/stored.js";
import type { Values } from "./checkpoint-bytes.js";

/** A tensor and the names that it has in the file: three for queries, keys and values that are joined. */
export interface NamedTensor {
  readonly tensor: StoredTensor;
  readonly from: readonly string[];
}

/** A network's tensors: those with an official name (`backbone.*`, `head.*`) under it, and the names of all others. */
export interface OfficialTensors {
  readonly naming: "official" | "Hugging Face";
  readonly tensors: ReadonlyMap<string, NamedTensor>;
  readonly others: readonly string[];
}

/**
 * Finds the naming out and translates it: `backbone.*` and `head.*` of full checkpoints, behind `module.` where they come from
 * DistributedDataParallel; plain names of a backbone, which timm shares; those of Hugging Face's ViTModel, behind `vit.`
 * or not, up to transformers 4 and from 5 on.
 */
export function officialTensors(tensors: ReadonlyMap<string, StoredTensor>): OfficialTensors {
  const bare = [...tensors].map(([name, tensor]) => ({ name: name.replace(/^module\./, ""), tensor, from: name }));
  const isWhole = bare.some(({ name }) => name.startsWith("backbone."));
  const isHuggingFace = bare.some(({ name }) => /^(vit\.)?embeddings\.patch_embeddings\./.test(name));
  const official = new Map<string, NamedTensor>();
  const others: string[] = [];
  for (const { name, tensor, from } of bare) {
    if (name.endsWith(".num_batches_tracked")) continue; // counts the steps of a batch norm; nothing needs it
    const translated = isWhole ? wholeName(name) : isHuggingFace ? huggingFaceName(name) : `backbone.${name}`;
    if (translated === undefined || official.has(translated)) others.push(from);
    else official.set(translated, { tensor, from: [from] });
  }
  if (isHuggingFace && !isWhole) joinAttention(official);
  return { naming: isHuggingFace && !isWhole ? "Hugging Face" : "official", tensors: official, others };
}

function wholeName(name: string): string | undefined {
  return /^(backbone|head)\./.test(name) ? name : undefined;
}

/** What Hugging Face keeps apart, in the order that `qkv` has them. */
const ATTENTION_PARTS = ["query", "key", "value"];

const huggingFaceNames: ReadonlyMap<string, string> = new Map([
  ["embeddings.cls_token", "cls_token"],
  ["embeddings.position_embeddings", "pos_embed"],
  ["embeddings.patch_embeddings.projection", "patch_embed.proj"],
  ["layernorm", "norm"],
]);

/** Of a block: up to transformers 4, whose names 5 reads too, and from 5 on. */
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

/** A backbone under the names of Hugging Face's ViTModel, up to transformers 4. Throws for parameters that it has not. */
export function huggingFaceTensors(backbone: ReadonlyMap<string, Values>): Map<string, Values> {
  const apart = [...backbone].flatMap(([name, tensor]): (readonly [string, Values])[] =>
    name.includes(".attn.qkv.")
      ? thirds(tensor).map((part, i) => [name.replace("qkv", ATTENTION_PARTS[i]!), part])
      : [[name, tensor]],
  );
  return new Map(apart.map(([name, tensor]) => [nameForHuggingFace(name), tensor]));
}

function nameForHuggingFace(name: string): string {
  const [, stem = name, kind = ""] = /^(.*)(\.weight|\.bias)$/.exec(name) ?? [];
  const [, block, rest = stem] = /^blocks\.(\d+)\.(.*)$/.exec(stem) ?? [];
  const names = block === undefined ? huggingFaceNames : huggingFaceBlockNames;
  const found = [...names].find(([, own]) => own === rest)?.[0];
  if (found === undefined) throw new Error(`Hugging Face's ViTModel has no ${name}`);
  return (block === undefined ? found : `encoder.layer.${block}.${found}`) + kind;
}

/** A tensor in three along its first axis. */
function thirds({ shape: [rows, ...rest], values }: Values): readonly Values[] {
  const third = values.length / 3;
  return [0, 1, 2].map((i) => ({ shape: [rows! / 3, ...rest], values: values.subarray(i * third, (i + 1) * third) }));
}

/** Queries, keys and values, which Hugging Face keeps apart, as the one `qkv` that they are in the official code. */
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

/** Tensors of one shape one after another along the first axis. */
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
