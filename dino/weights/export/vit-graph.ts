/** The network of `vit.ts` as an ONNX model, which resamples the positions for images of any size. */
import { patchGrid } from "../../model/positions.js";
import type { VitConfig } from "../../model/vit-config.js";
import type { Values } from "../checkpoint-bytes.js";
import type { OnnxAttribute, OnnxModel, OnnxNode, OnnxTensor, OnnxValue } from "./onnx.js";

/** Parameters under their official names without prefix; see `vitSpecs`. */
export type ExportedBackbone = ReadonlyMap<string, Values>;

type Names = readonly string[];

/** A graph under construction; values are identified by name. */
interface Graph {
  readonly nodes: OnnxNode[];
  readonly tensors: OnnxTensor[];
  /** Adds a node with one output. */
  readonly op: (
    op: string,
    inputs: Names,
    attributes?: Readonly<Record<string, OnnxAttribute>>,
    name?: string,
  ) => string;
  /** Adds a parameter unchanged. */
  readonly param: (name: string) => string;
  /** Adds a linear layer with weight [out, in] and bias [out]: x [..., in] -> [..., out]. */
  readonly linear: (x: string, name: string) => string;
  /** Adds an f32 constant: [], and [values]. */
  readonly number: (value: number) => string;
  readonly numbers: (...values: readonly number[]) => string;
  /** Adds an integer constant: [], and [values]. */
  readonly integer: (value: number) => string;
  readonly integers: (...values: readonly number[]) => string;
}

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

function openGraph(params: ExportedBackbone, onProgress: GraphOptions["onProgress"]): Graph {
  const nodes: OnnxNode[] = [];
  const tensors: OnnxTensor[] = [];
  const op: Graph["op"] = (kind, inputs, attributes = {}, name = `${kind}_${nodes.length}`) => {
    nodes.push({ op: kind, inputs, outputs: [name], attributes });
    return name;
  };
  const put = (tensor: OnnxTensor): string => {
    tensors.push(tensor);
    return tensor.name;
  };
  let taken = 0;
  const take = (name: string): Values => {
    const found = params.get(name);
    if (!found) throw new Error(`the network has no parameter ${name}`);
    onProgress?.(++taken, params.size);
    return found;
  };
  const param = (name: string) => put({ name, ...take(name) });
  const linear = (x: string, name: string): string => {
    const weight = put({ name: `${name}.weight`, ...transposed(take(`${name}.weight`)) });
    return op("Add", [op("MatMul", [x, weight]), param(`${name}.bias`)]);
  };
  const constant = (shape: readonly number[], values: OnnxTensor["values"]) =>
    put({ name: `constant_${tensors.length}`, shape, values });
  return {
    nodes,
    tensors,
    op,
    param,
    linear,
    number: (value) => constant([], Float32Array.of(value)),
    numbers: (...values) => constant([values.length], Float32Array.from(values)),
    integer: (value) => constant([], BigInt64Array.of(BigInt(value))),
    integers: (...values) => constant([values.length], BigInt64Array.from(values, BigInt)),
  };
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

/**
 * Implements `positionEmbedding` for images of the size [batch, channels, rows, cols]: returns positions of the cls
 * token [1, 1, dim] and of the patches [1, patches, dim]. Where the embedding is used unchanged, resampling has the
 * scale 1, which is the identity. The ONNX operator Resize is no alternative: runtimes scale by the ratio of the sizes,
 * which differs from the official scale.
 */
function positions(graph: Graph, vit: VitConfig, size: string): { readonly ofCls: string; readonly ofPatches: string } {
  const { nodes, op, param, number, integer, integers } = graph;
  const base = patchGrid(vit, vit.imageRows, vit.imageCols);
  const embedding = param("pos_embed"); // [1, 1 + patches, dim]
  const [ofCls, made] = ["position_of_cls", "positions_made"];
  const lengths = integers(1, base.rows * base.cols);
  nodes.push({ op: "Split", inputs: [embedding, lengths], outputs: [ofCls, made], attributes: { axis: 1 } });
  const across = op("Transpose", [made], { perm: [0, 2, 1] }); // [1, dim, patches]
  const map = op("Reshape", [across, integers(1, vit.dim, base.rows, base.cols)]);

  const [rows, cols] = [op("Gather", [size, integer(2)]), op("Gather", [size, integer(3)])];
  const [down, right] = [rows, cols].map((pixels) => op("Div", [pixels, integer(vit.patch)])) as [string, string];
  const are = (one: readonly [string, number], other: readonly [string, number]) =>
    op("And", [op("Equal", [one[0], integer(one[1])]), op("Equal", [other[0], integer(other[1])])]);
  const sameGrid = are([down, base.rows], [right, base.cols]);
  const isMadeFor = are([rows, vit.imageRows], [cols, vit.imageCols]);
  const asTheyAre = op("And", [sameGrid, op("Or", [op("Equal", [rows, cols]), isMadeFor])]);
  const weights = (from: number, wanted: string): string => {
    const to = op("Cast", [wanted], { to: FLOAT });
    const scale = op("Div", [op("Add", [to, number(0.1)]), number(from)]);
    return bicubicWeights(graph, { from, to, scale: op("Where", [asTheyAre, number(1), scale]) });
  };
  const acrossWeights = op("Transpose", [weights(base.cols, right)], { perm: [1, 0] });
  const resized = op("MatMul", [op("MatMul", [weights(base.rows, down), map]), acrossWeights]); // [1, dim, rows, cols]
  return { ofCls, ofPatches: inRow(graph, resized, vit.dim) };
}

/** TensorProto.DataType of a cast to floats. */
const FLOAT = 1;

interface Resampling {
  readonly from: number;
  readonly to: string;
  readonly scale: string;
}

/**
 * Computes the weights of `resizeGrid` along one axis as a matrix [to, from]; each row holds the four taps of an
 * output.
 */
function bicubicWeights({ op, number, numbers, integers }: Graph, { from, to, scale }: Resampling): string {
  const outputs = op("Unsqueeze", [op("Range", [number(0), to, number(1)]), integers(1)]); // [to, 1]
  const position = op("Sub", [op("Div", [op("Add", [outputs, number(0.5)]), scale]), number(0.5)]);
  const tap = op("Add", [op("Floor", [position]), numbers(-1, 0, 1, 2)]); // [to, 4]
  const weight = cubic(op, number, op("Abs", [op("Sub", [position, tap])]));
  const source = op("Unsqueeze", [op("Clip", [tap, number(0), number(from - 1)]), integers(2)]); // [to, 4, 1]
  const isSource = op("Equal", [source, numbers(...Array.from({ length: from }, (_, i) => i))]); // [to, 4, from]
  const row = op("MatMul", [op("Unsqueeze", [weight, integers(1)]), op("Cast", [isSource], { to: FLOAT })]);
  return op("Squeeze", [row, integers(1)]);
}

/** The cubic convolution kernel with a = -0.75 for distances of 0 to 2: [...] -> [...]. */
function cubic(op: Graph["op"], number: Graph["number"], d: string): string {
  const a = -0.75;
  const polynomial = (...[first, ...rest]: readonly number[]): string =>
    rest.reduce((sum, next) => op("Add", [op("Mul", [sum, d]), number(next)]), number(first!));
  const near = polynomial(a + 2, -(a + 3), 0, 1);
  const far = polynomial(a, -5 * a, 8 * a, -4 * a);
  return op("Where", [op("LessOrEqual", [d, number(1)]), near, far]);
}

/** Flattens a map: [batch, dim, rows, cols] -> [batch, rows * cols, dim]. */
function inRow({ op, integers }: Graph, map: string, dim: number): string {
  return op("Transpose", [op("Reshape", [map, integers(0, dim, -1)])], { perm: [0, 2, 1] });
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

/** Transposes [rows, cols] -> [cols, rows]. */
function transposed({ shape, values }: Values): Values {
  const [rows, cols] = shape as readonly [number, number];
  const turned = new Float32Array(values.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < cols; c++) turned[c * rows + r] = values[r * cols + c]!;
  return { shape: [cols, rows], values: turned };
}
