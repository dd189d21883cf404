/** Names of tensors in other projects. */

/** Pairs of another project's name and the official one, without `.weight` and `.bias`. */
export type NamePairs = readonly (readonly [theirs: string, official: string])[];

/** Names outside of blocks, the name of blocks before their number, and names within a block. */
export interface NameTable {
  readonly outside: NamePairs;
  readonly blocks: string;
  readonly within: NamePairs;
}

/** Queries, keys and values, which Hugging Face separates, in the order of the official `qkv`. */
export const ATTENTION_PARTS = ["query", "key", "value"];

const embeddings: NamePairs = [
  ["embeddings.cls_token", "cls_token"],
  ["embeddings.position_embeddings", "pos_embed"],
  ["embeddings.mask_token", "mask_token"],
  ["embeddings.patch_embeddings.projection", "patch_embed.proj"],
  ["layernorm", "norm"],
];

const attention: NamePairs = [
  ...ATTENTION_PARTS.map((part) => [`attention.attention.${part}`, `attn.${part}`] as const),
  ["attention.output.dense", "attn.proj"],
];

const factors: NamePairs = [
  ["layer_scale1.lambda1", "ls1.gamma"],
  ["layer_scale2.lambda1", "ls2.gamma"],
];

/** Names of ViTModel up to transformers 4, which 5 reads too. */
export const vitNames: NameTable = {
  outside: embeddings,
  blocks: "encoder.layer.",
  within: [
    ["layernorm_before", "norm1"],
    ["layernorm_after", "norm2"],
    ...attention,
    ["intermediate.dense", "mlp.fc1"],
    ["output.dense", "mlp.fc2"],
  ],
};

/** Names of Dinov2Model and Dinov2WithRegistersModel. */
export const dinov2Names: NameTable = {
  outside: [...embeddings, ["embeddings.register_tokens", "register_tokens"]],
  blocks: "encoder.layer.",
  within: [
    ["norm1", "norm1"],
    ["norm2", "norm2"],
    ...attention,
    ["mlp.fc1", "mlp.fc1"],
    ["mlp.fc2", "mlp.fc2"],
    ["mlp.weights_in", "mlp.w12"],
    ["mlp.weights_out", "mlp.w3"],
    ...factors,
  ],
};

/** Names of DINOv3ViTModel, whose MLP with a gate has other layers under the same names. */
export function dinov3Names({ gated }: { readonly gated: boolean }): NameTable {
  return {
    outside: [
      ["embeddings.cls_token", "cls_token"],
      ["embeddings.register_tokens", "storage_tokens"],
      ["embeddings.mask_token", "mask_token"],
      ["embeddings.patch_embeddings", "patch_embed.proj"],
      ["norm", "norm"],
      ["local_cls_norm", "local_cls_norm"], // not of DINOv3ViTModel, which ignores it
    ],
    blocks: "layer.",
    within: [
      ["norm1", "norm1"],
      ["norm2", "norm2"],
      ...ATTENTION_PARTS.map((part) => [`attention.${part[0]!}_proj`, `attn.${part}`] as const),
      ["attention.o_proj", "attn.proj"],
      ...(gated
        ? ([
            ["mlp.gate_proj", "mlp.w1"],
            ["mlp.up_proj", "mlp.w2"],
            ["mlp.down_proj", "mlp.w3"],
          ] as const)
        : ([
            ["mlp.up_proj", "mlp.fc1"],
            ["mlp.down_proj", "mlp.fc2"],
          ] as const)),
      ...factors,
    ],
  };
}

/** Layers after attention in timm, which has the names of an MLP for all: SwiGLU in two layers, packed, or none. */
const timmLayers: Readonly<Record<"swiglu" | "packed swiglu" | "mlp", NamePairs>> = {
  swiglu: [
    ["mlp.fc1_g", "mlp.w1"],
    ["mlp.fc1_x", "mlp.w2"],
    ["mlp.fc2", "mlp.w3"],
  ],
  "packed swiglu": [
    ["mlp.fc1", "mlp.w12"],
    ["mlp.fc2", "mlp.w3"],
  ],
  mlp: [],
};

/** Names of timm that are not official ones. */
export function timmNames({
  isRotary,
  ffn,
}: {
  readonly isRotary: boolean;
  readonly ffn: keyof typeof timmLayers;
}): NameTable {
  return {
    outside: [["reg_token", isRotary ? "storage_tokens" : "register_tokens"]],
    blocks: "blocks.",
    within: [
      ["attn.q_bias", "attn.query.bias"],
      ["attn.v_bias", "attn.value.bias"],
      ["gamma_1", "ls1.gamma"],
      ["gamma_2", "ls2.gamma"],
      ...timmLayers[ffn],
    ],
  };
}
