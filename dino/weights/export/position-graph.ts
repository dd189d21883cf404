/** Position embeddings in an ONNX graph. */
import { patchGrid } from "../../model/positions.js";
import type { VitConfig } from "../../model/vit-config.js";
import type { Graph } from "./graph.js";

/**
 * Implements `positionEmbedding` for images of the size [batch, channels, rows, cols]: returns positions of the cls
 * token [1, 1, dim] and of the patches [1, patches, dim]. Where the embedding is used unchanged, resampling has the
 * scale 1, which is the identity. The ONNX operator Resize is no alternative: runtimes scale by the ratio of the sizes,
 * which differs from the official scale.
 */
export function positions(
  graph: Graph,
  vit: VitConfig,
  size: string,
): { readonly ofCls: string; readonly ofPatches: string } {
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
export function inRow({ op, integers }: Graph, map: string, dim: number): string {
  return op("Transpose", [op("Reshape", [map, integers(0, dim, -1)])], { perm: [0, 2, 1] });
}
