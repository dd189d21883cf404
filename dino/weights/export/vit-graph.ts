/** The network of `vit.ts` as an ONNX model, which resamples the positions for images of any size. */
import { learnedPositions } from "../../model/positions.js";
import { registersName } from "../../model/tokens.js";
import type { VitConfig } from "../../model/vit-config.js";
import { type ExportedBackbone, type Graph, openGraph } from "./graph.js";
import type { OnnxModel, OnnxValue } from "./onnx.js";
import { type GraphRotation, inRow, learnedEmbedding, rotated, rotation } from "./position-graph.js";

export interface GraphOptions {
  readonly vit: VitConfig;
  readonly params: ExportedBackbone;
  /**
   * Names of inputs and outputs. `dino`: images -> features [batch, dim], the cls token after the final norm, and
   * patch_tokens [batch, patches, dim]. `transformers`: pixel_values -> last_hidden_state [batch, 1 + patches, dim].
   */
  readonly naming: "dino" | "transformers";
  /** Called with the number of parameters added and their total. */
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Builds the graph: normalised images [batch, channels, rows, cols] -> tokens after the final norm, as `encode` of `vit.ts`
 * computes them. Images may have any size that holds a patch.
 */
export function vitGraph({ vit, params, naming, onProgress }: GraphOptions): Omit<OnnxModel, "notes"> {
  const graph = openGraph(usedParams(vit, params), onProgress);
  const { dim, depth, registers = 0, positions = learnedPositions } = vit;
  const isOurs = naming === "dino";
  const images = isOurs ? "images" : "pixel_values";
  const size = graph.op("Shape", [images]); // [4]
  const turned = positions.kind === "rotary" ? rotation(graph, vit, { size, rule: positions }) : undefined;
  let x = tokens(graph, vit, { images, size }); // [batch, 1 + registers + patches, dim]
  for (let i = 0; i < depth; i++) x = block(graph, vit, { x, name: `blocks.${i}`, rotation: turned });
  const last = finalNorm(graph, vit, { x, output: isOurs ? undefined : "last_hidden_state" });
  if (isOurs) {
    const first = graph.op("Slice", [last, graph.integers(0), graph.integers(1), graph.integers(1)]);
    graph.op("Squeeze", [first, graph.integers(1)], {}, "features");
    const [from, to] = [graph.integers(1 + registers), graph.integers(Number.MAX_SAFE_INTEGER)];
    graph.op("Slice", [last, from, to, graph.integers(1)], {}, "patch_tokens");
  }
  const outputs: readonly OnnxValue[] = isOurs
    ? [
        { name: "features", shape: ["batch", dim] },
        { name: "patch_tokens", shape: ["batch", "patches", dim] },
      ]
    : [{ name: "last_hidden_state", shape: ["batch", "tokens", dim] }];
  const { nodes, tensors } = graph;
  return { nodes, tensors, inputs: [{ name: images, shape: ["batch", vit.channels, "rows", "cols"] }], outputs };
}

/** Leaves out the parameters that only training uses, and sets the bias of keys to 0 where the network takes it so. */
function usedParams({ maskKeyBias = false, dim }: VitConfig, params: ExportedBackbone): ExportedBackbone {
  const used = [...params].filter(([name]) => !/^(mask_token$|local_cls_norm\.)/.test(name));
  const masked = used.map(([name, { shape, values }]) => {
    const isMasked = maskKeyBias && name.endsWith("attn.qkv.bias");
    return [name, { shape, values: isMasked ? values.slice().fill(0, dim, 2 * dim) : values }] as const;
  });
  return new Map(masked);
}

interface GraphImages {
  readonly images: string;
  /** Their shape, [4]. */
  readonly size: string;
}

/** Implements `prepareTokens`: images -> [batch, 1 + registers + patches, dim]. */
function tokens(graph: Graph, vit: VitConfig, { images, size }: GraphImages): string {
  const { op, param, integers } = graph;
  const { dim, patch, registers = 0, positions = learnedPositions } = vit;
  const projection = [images, param("patch_embed.proj.weight"), param("patch_embed.proj.bias")];
  const cells = op("Conv", projection, { kernel_shape: [patch, patch], strides: [patch, patch] }); // [batch, dim, rows, cols]
  const embedding = positions.kind === "learned" ? learnedEmbedding(graph, vit, { size, rule: positions }) : undefined;
  const row = inRow(graph, cells, dim); // [batch, patches, dim]
  const patches = embedding ? op("Add", [row, embedding.ofPatches]) : row;
  const cls = embedding ? op("Add", [param("cls_token"), embedding.ofCls]) : param("cls_token"); // [1, 1, dim]
  const learnt = registers === 0 ? cls : op("Concat", [cls, param(registersName(vit))], { axis: 1 });
  const batch = op("Slice", [size, integers(0), integers(1)]);
  const forAll = op("Expand", [learnt, op("Concat", [batch, integers(1, 1)], { axis: 0 })]); // [batch, 1 + registers, dim]
  return op("Concat", [forAll, patches], { axis: 1 });
}

interface GraphBlock {
  readonly x: string;
  readonly name: string;
  readonly rotation: GraphRotation | undefined;
}

/** Implements a block of `vit.ts`: [batch, tokens, dim] -> the same. */
function block(graph: Graph, vit: VitConfig, { x, name, rotation: turned }: GraphBlock): string {
  const { op, linear } = graph;
  const qkv = linear(norm(graph, vit, { x, name: `${name}.norm1` }), `${name}.attn.qkv`);
  const attended = linear(attention(graph, vit, { qkv, rotation: turned }), `${name}.attn.proj`);
  const y = op("Add", [x, scaled(graph, vit, { branch: attended, name: `${name}.ls1.gamma` })]);
  const fed = feedForward(graph, vit, { x: norm(graph, vit, { x: y, name: `${name}.norm2` }), name: `${name}.mlp` });
  return op("Add", [y, scaled(graph, vit, { branch: fed, name: `${name}.ls2.gamma` })]);
}

function scaled(
  { op, param }: Graph,
  { layerScale }: VitConfig,
  { branch, name }: { readonly branch: string; readonly name: string },
): string {
  return layerScale === undefined ? branch : op("Mul", [branch, param(name)]);
}

interface NamedInput {
  readonly x: string;
  readonly name: string;
}

/** Implements the layers after attention: [batch, tokens, dim] -> the same. */
function feedForward({ op, nodes, linear, number, integers }: Graph, vit: VitConfig, { x, name }: NamedInput): string {
  const { ffn = "mlp", dim, mlpRatio, hidden = Math.round(dim * mlpRatio) } = vit;
  const gated = (gate: string, value: string) =>
    linear(op("Mul", [op("Mul", [gate, op("Sigmoid", [gate])]), value]), `${name}.w3`);
  switch (ffn) {
    case "mlp": {
      const wide = linear(x, `${name}.fc1`);
      const error = op("Erf", [op("Div", [wide, number(Math.SQRT2)])]);
      const twice = op("Mul", [wide, op("Add", [error, number(1)])]);
      return linear(op("Mul", [twice, number(0.5)]), `${name}.fc2`);
    }
    case "swiglu":
      return gated(linear(x, `${name}.w1`), linear(x, `${name}.w2`));
    case "packed swiglu": {
      const both = linear(x, `${name}.w12`);
      const [gate, value] = ["gate", "value"].map((part) => `${part}_${nodes.length}`) as [string, string];
      nodes.push({
        op: "Split",
        inputs: [both, integers(hidden, hidden)],
        outputs: [gate, value],
        attributes: { axis: 2 },
      });
      return gated(gate, value);
    }
    default:
      return ffn satisfies never;
  }
}

interface GraphAttention {
  readonly qkv: string;
  readonly rotation: GraphRotation | undefined;
}

/** Implements attention: queries, keys and values [batch, tokens, 3 * dim] -> [batch, tokens, dim]. */
function attention(graph: Graph, vit: VitConfig, { qkv, rotation: turned }: GraphAttention): string {
  const { op, nodes, number, integers } = graph;
  const { dim, heads } = vit;
  const parted = op("Reshape", [qkv, integers(0, 0, 3, heads, dim / heads)]);
  const ordered = op("Transpose", [parted], { perm: [2, 0, 3, 1, 4] }); // [3, batch, heads, tokens, headDim]
  const parts = ["q", "k", "v"].map((part) => `${part}_${nodes.length}`) as [string, string, string];
  nodes.push({ op: "Split", inputs: [ordered, integers(1, 1, 1)], outputs: parts, attributes: { axis: 0 } });
  const [q, k] = parts.slice(0, 2).map((x) => (turned ? rotated(graph, vit, { x, rotation: turned }) : x));
  const columns = op("Transpose", [k!], { perm: [0, 1, 2, 4, 3] });
  const scores = op("Mul", [op("MatMul", [q!, columns]), number(1 / Math.sqrt(dim / heads))]);
  const mixed = op("MatMul", [op("Softmax", [scores], { axis: -1 }), parts[2]]); // [1, batch, heads, tokens, headDim]
  const together = op("Transpose", [mixed], { perm: [1, 3, 0, 2, 4] }); // [batch, tokens, 1, heads, headDim]
  return op("Reshape", [together, integers(0, 0, dim)]);
}

interface GraphNorm {
  readonly x: string;
  readonly output: string | undefined;
}

/** Implements the final norm, that of the cls token and the registers apart where it has its own. */
function finalNorm(graph: Graph, vit: VitConfig, { x, output }: GraphNorm): string {
  const { op, integers } = graph;
  if (!vit.untiedNorms?.cls) return norm(graph, vit, { x, name: "norm" }, output);
  const first = integers(1 + (vit.registers ?? 0));
  const learnt = op("Slice", [x, integers(0), first, integers(1)]);
  const patches = op("Slice", [x, first, integers(Number.MAX_SAFE_INTEGER), integers(1)]);
  const parts = [norm(graph, vit, { x: learnt, name: "cls_norm" }), norm(graph, vit, { x: patches, name: "norm" })];
  return op("Concat", parts, { axis: 1 }, output);
}

function norm({ op, param }: Graph, { normEpsilon = 1e-6 }: VitConfig, { x, name }: NamedInput, output?: string) {
  const inputs = [x, param(`${name}.weight`), param(`${name}.bias`)];
  return op("LayerNormalization", inputs, { axis: -1, epsilon: { float: normEpsilon } }, output);
}
