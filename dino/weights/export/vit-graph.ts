/** The network of `vit.ts` as an ONNX model, which resamples the positions for images of any size. */
import type { VitConfig } from "../../model/vit-config.js";
import { type ExportedBackbone, type Graph, openGraph } from "./graph.js";
import type { OnnxModel, OnnxValue } from "./onnx.js";
import { inRow, positions } from "./position-graph.js";

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
 * Builds the graph: normalised images [batch, 3, rows, cols] -> tokens after the final norm, as `encode` of `vit.ts`
 * computes them. Images may have any size that holds a patch.
 */
export function vitGraph({ vit, params, naming, onProgress }: GraphOptions): Omit<OnnxModel, "notes"> {
  const graph = openGraph(params, onProgress);
  const { dim, depth, registers = 0 } = vit;
  const isOurs = naming === "dino";
  const images = isOurs ? "images" : "pixel_values";
  let x = tokens(graph, vit, images); // [batch, 1 + registers + patches, dim]
  for (let i = 0; i < depth; i++) x = block(graph, vit, { x, name: `blocks.${i}` });
  const last = norm(graph, x, "norm", isOurs ? undefined : "last_hidden_state");
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
  return { nodes, tensors, inputs: [{ name: images, shape: ["batch", 3, "rows", "cols"] }], outputs };
}

/** Implements `prepareTokens`: images -> [batch, 1 + registers + patches, dim]. */
function tokens(graph: Graph, vit: VitConfig, images: string): string {
  const { op, param, integers } = graph;
  const { dim, patch, registers = 0 } = vit;
  const projection = [images, param("patch_embed.proj.weight"), param("patch_embed.proj.bias")];
  const cells = op("Conv", projection, { kernel_shape: [patch, patch], strides: [patch, patch] }); // [batch, dim, rows, cols]
  const size = op("Shape", [images]); // [4]
  const { ofCls, ofPatches } = positions(graph, vit, size);
  const patches = op("Add", [inRow(graph, cells, dim), ofPatches]); // [batch, patches, dim]
  const cls = op("Add", [param("cls_token"), ofCls]); // [1, 1, dim]
  const learnt = registers === 0 ? cls : op("Concat", [cls, param("register_tokens")], { axis: 1 });
  const batch = op("Slice", [size, integers(0), integers(1)]);
  const forAll = op("Expand", [learnt, op("Concat", [batch, integers(1, 1)], { axis: 0 })]); // [batch, 1 + registers, dim]
  return op("Concat", [forAll, patches], { axis: 1 });
}

/** Implements a block of `vit.ts`: [batch, tokens, dim] -> the same. */
function block(graph: Graph, vit: VitConfig, { x, name }: { readonly x: string; readonly name: string }): string {
  const { op, linear, number } = graph;
  const attended = attention(graph, vit, linear(norm(graph, x, `${name}.norm1`), `${name}.attn.qkv`));
  const y = op("Add", [x, linear(attended, `${name}.attn.proj`)]);
  const hidden = linear(norm(graph, y, `${name}.norm2`), `${name}.mlp.fc1`);
  const error = op("Erf", [op("Div", [hidden, number(Math.SQRT2)])]);
  const twice = op("Mul", [hidden, op("Add", [error, number(1)])]);
  return op("Add", [y, linear(op("Mul", [twice, number(0.5)]), `${name}.mlp.fc2`)]);
}

/** Implements attention: queries, keys and values [batch, tokens, 3 * dim] -> [batch, tokens, dim]. */
function attention({ op, nodes, number, integers }: Graph, { dim, heads }: VitConfig, qkv: string): string {
  const parted = op("Reshape", [qkv, integers(0, 0, 3, heads, dim / heads)]);
  const ordered = op("Transpose", [parted], { perm: [2, 0, 3, 1, 4] }); // [3, batch, heads, tokens, headDim]
  const [q, k, v] = ["q", "k", "v"].map((part) => `${part}_${nodes.length}`) as [string, string, string];
  nodes.push({ op: "Split", inputs: [ordered, integers(1, 1, 1)], outputs: [q, k, v], attributes: { axis: 0 } });
  const columns = op("Transpose", [k], { perm: [0, 1, 2, 4, 3] });
  const scores = op("Mul", [op("MatMul", [q, columns]), number(1 / Math.sqrt(dim / heads))]);
  const mixed = op("MatMul", [op("Softmax", [scores], { axis: -1 }), v]); // [1, batch, heads, tokens, headDim]
  const together = op("Transpose", [mixed], { perm: [1, 3, 0, 2, 4] }); // [batch, tokens, 1, heads, headDim]
  return op("Reshape", [together, integers(0, 0, dim)]);
}

/** The official models' epsilon. */
const EPSILON = { float: 1e-6 };

function norm({ op, param }: Graph, x: string, name: string, output?: string): string {
  const inputs = [x, param(`${name}.weight`), param(`${name}.bias`)];
  return op("LayerNormalization", inputs, { axis: -1, epsilon: EPSILON }, output);
}
