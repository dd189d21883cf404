/** Positions in an ONNX graph: learned embeddings, and rotary ones. */
import { patchGrid, rotaryPeriods } from "../../model/positions.js";
import type { LearnedPositions, RotaryPositions, VitConfig } from "../../model/vit-config.js";
import type { Graph } from "./graph.js";

/**
 * Implements `positionEmbedding` for images of the size [batch, channels, rows, cols]: returns positions of the cls
 * token [1, 1, dim] and of the patches [1, patches, dim]. Where the embedding is used unchanged, resampling has the
 * scale 1, which is the identity. The ONNX operator Resize is no alternative: runtimes scale by the ratio of the sizes,
 * which differs from the official scale.
 */
export function learnedEmbedding(
  graph: Graph,
  vit: VitConfig,
  { size, rule }: { readonly size: string; readonly rule: LearnedPositions },
): { readonly ofCls: string; readonly ofPatches: string } {
  const { nodes, op, param, number, integer, integers } = graph;
  const base = patchGrid(vit, vit.imageRows, vit.imageCols);
  const embedding = param("pos_embed"); // [1, 1 + patches, dim]
  const [ofCls, made] = ["position_of_cls", "positions_made"];
  const lengths = integers(1, base.rows * base.cols);
  nodes.push({ op: "Split", inputs: [embedding, lengths], outputs: [ofCls, made], attributes: { axis: 1 } });
  const across = op("Transpose", [made], { perm: [0, 2, 1] }); // [1, dim, patches]
  const map = op("Reshape", [across, integers(1, vit.dim, base.rows, base.cols)]);

  const { rows, cols, down, right } = gridOf(graph, vit, size);
  const are = (one: readonly [string, number], other: readonly [string, number]) =>
    op("And", [op("Equal", [one[0], integer(one[1])]), op("Equal", [other[0], integer(other[1])])]);
  const sameGrid = are([down, base.rows], [right, base.cols]);
  const isMadeFor = are([rows, vit.imageRows], [cols, vit.imageCols]);
  const asTheyAre = op("And", [sameGrid, op("Or", [op("Equal", [rows, cols]), isMadeFor])]);
  const weights = (from: number, wanted: string): string => {
    const to = op("Cast", [wanted], { to: FLOAT });
    const scale = op("Div", [op("Add", [to, number(rule.offset)]), number(from)]);
    const resampling = { from, to, scale: op("Where", [asTheyAre, number(1), scale]) };
    return rule.antialias ? antialiasedWeights(graph, resampling) : bicubicWeights(graph, resampling);
  };
  const acrossWeights = op("Transpose", [weights(base.cols, right)], { perm: [1, 0] });
  const resized = op("MatMul", [op("MatMul", [weights(base.rows, down), map]), acrossWeights]); // [1, dim, rows, cols]
  return { ofCls, ofPatches: inRow(graph, resized, vit.dim) };
}

/** Sizes of images [batch, channels, rows, cols] in pixels and in patches. */
function gridOf({ op, integer }: Graph, { patch }: VitConfig, size: string) {
  const [rows, cols] = [op("Gather", [size, integer(2)]), op("Gather", [size, integer(3)])];
  return { rows, cols, down: op("Div", [rows, integer(patch)]), right: op("Div", [cols, integer(patch)]) };
}

/** Cosines and sines by which patches turn a head: [patches, headDim / 2]. */
export interface GraphRotation {
  readonly cosines: string;
  readonly sines: string;
}

/** Implements `rotationOf` for images of the size [batch, channels, rows, cols]. */
export function rotation(
  graph: Graph,
  vit: VitConfig,
  { size, rule }: { readonly size: string; readonly rule: RotaryPositions },
): GraphRotation {
  const { op, number, numbers, integers } = graph;
  const { down, right } = gridOf(graph, vit, size);
  const counts = [down, right].map((count) => op("Cast", [count], { to: FLOAT }));
  const longest = { max: op("Max", counts), min: op("Min", counts) };
  const perTurn = numbers(...rotaryPeriods(rule, vit.dim / vit.heads).map((period) => (2 * Math.PI) / period));
  const angles = counts.map((count, axis) => {
    const extent = rule.normalize === "separate" ? count : longest[rule.normalize];
    const centers = op("Add", [op("Range", [number(0), count, number(1)]), number(0.5)]); // [rows] or [cols]
    const coordinates = op("Sub", [op("Mul", [op("Div", [centers, extent]), number(2)]), number(1)]);
    const turned = op("Mul", [op("Unsqueeze", [coordinates, integers(1)]), perTurn]); // [rows or cols, headDim / 4]
    const alone = op("Unsqueeze", [turned, integers(1 - axis)]); // [rows, 1, headDim / 4] or [1, cols, headDim / 4]
    const last = integers(vit.dim / vit.heads / 4);
    const shape = op("Concat", [...[down, right].map((whole) => op("Unsqueeze", [whole, integers(0)])), last], {
      axis: 0,
    });
    return op("Expand", [alone, shape]); // [rows, cols, headDim / 4]
  });
  const all = op("Concat", angles, { axis: 2 }); // [rows, cols, headDim / 2]
  const rowsOf = (x: string) => op("Reshape", [x, integers(-1, vit.dim / vit.heads / 2)]);
  return { cosines: rowsOf(op("Cos", [all])), sines: rowsOf(op("Sin", [all])) };
}

/** Turns the patches of queries or keys [1, batch, heads, tokens, headDim], the last tokens. */
export function rotated(
  { nodes, op, integers }: Graph,
  { registers = 0, dim, heads }: VitConfig,
  { x, rotation: { cosines, sines } }: { readonly x: string; readonly rotation: GraphRotation },
): string {
  const first = integers(1 + registers);
  const others = op("Slice", [x, integers(0), first, integers(3)]);
  const patches = op("Slice", [x, first, integers(Number.MAX_SAFE_INTEGER), integers(3)]);
  const half = dim / heads / 2;
  const [a, b] = ["a", "b"].map((part) => `half_${part}_${nodes.length}`) as [string, string];
  nodes.push({ op: "Split", inputs: [patches, integers(half, half)], outputs: [a, b], attributes: { axis: 4 } });
  const product = (part: string, factors: string) => op("Mul", [part, factors]);
  const turned = [
    op("Sub", [product(a, cosines), product(b, sines)]),
    op("Add", [product(b, cosines), product(a, sines)]),
  ];
  return op("Concat", [others, op("Concat", turned, { axis: 4 })], { axis: 3 });
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
  const weight = cubic(op, number, { distance: op("Abs", [op("Sub", [position, tap])]), a: -0.75 });
  const source = op("Unsqueeze", [op("Clip", [tap, number(0), number(from - 1)]), integers(2)]); // [to, 4, 1]
  const isSource = op("Equal", [source, numbers(...Array.from({ length: from }, (_, i) => i))]); // [to, 4, from]
  const row = op("MatMul", [op("Unsqueeze", [weight, integers(1)]), op("Cast", [isSource], { to: FLOAT })]);
  return op("Squeeze", [row, integers(1)]);
}

/**
 * Computes the weights of `resizeGrid` with antialias along one axis as a matrix [to, from]: the kernel is 0 where it has no
 * taps.
 */
function antialiasedWeights({ op, number, numbers, integers }: Graph, { from, to, scale }: Resampling): string {
  const outputs = op("Unsqueeze", [op("Range", [number(0), to, number(1)]), integers(1)]); // [to, 1]
  const center = op("Div", [op("Add", [outputs, number(0.5)]), scale]);
  const stretch = op("Max", [op("Div", [number(1), scale]), number(1)]);
  const sources = numbers(...Array.from({ length: from }, (_, i) => i + 0.5)); // [from]
  const apart = op("Div", [op("Abs", [op("Sub", [sources, center])]), stretch]); // [to, from]
  const distance = op("Min", [apart, number(2)]);
  const weight = cubic(op, number, { distance, a: -0.5 });
  return op("Div", [weight, op("ReduceSum", [weight, integers(1)], { keepdims: 1 })]);
}

/** The cubic convolution kernel for distances of 0 to 2: [...] -> [...]. */
function cubic(
  op: Graph["op"],
  number: Graph["number"],
  { distance: d, a }: { readonly distance: string; readonly a: number },
): string {
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
