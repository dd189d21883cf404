/** An ONNX graph under construction. */
import type { Values } from "../checkpoint-bytes.js";
import type { OnnxAttribute, OnnxNode, OnnxTensor } from "./onnx.js";

/** Parameters under their official names without prefix; see `vitSpecs`. */
export type ExportedBackbone = ReadonlyMap<string, Values>;

type Names = readonly string[];

/** A graph under construction; values are identified by name. */
export interface Graph {
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
  /** Adds a linear layer with weight [out, in] and bias [out], if the network has one: x [..., in] -> [..., out]. */
  readonly linear: (x: string, name: string) => string;
  /** Adds an f32 constant: [], and [values]. */
  readonly number: (value: number) => string;
  readonly numbers: (...values: readonly number[]) => string;
  /** Adds an integer constant: [], and [values]. */
  readonly integer: (value: number) => string;
  readonly integers: (...values: readonly number[]) => string;
}

/** Opens an empty graph; `onProgress` is called with the number of parameters added and their total. */
export function openGraph(params: ExportedBackbone, onProgress?: (done: number, total: number) => void): Graph {
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
    const product = op("MatMul", [x, weight]);
    return params.has(`${name}.bias`) ? op("Add", [product, param(`${name}.bias`)]) : product;
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

/** Transposes [rows, cols] -> [cols, rows]. */
function transposed({ shape, values }: Values): Values {
  const [rows, cols] = shape as readonly [number, number];
  const turned = new Float32Array(values.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < cols; c++) turned[c * rows + r] = values[r * cols + c]!;
  return { shape: [cols, rows], values: turned };
}
