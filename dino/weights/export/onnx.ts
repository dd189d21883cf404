/**
 * Encodes models in the ONNX format (https://onnx.ai/onnx/repo-docs/IR.html): the subset of `onnx.proto` in use here.
 */
import type { Shape } from "../../../engine/index.js";
import {
  bytes,
  viewBytes,
  type Encoded,
  float,
  integer,
  concatenate,
  message,
  sequence,
  stringField,
} from "../../files/protobuf.js";

/** An attribute; a plain number is an integer. */
export type OnnxAttribute = number | { readonly float: number } | string | readonly number[];

/** An operation with the names of its inputs and outputs; "" is an omitted input. */
export interface OnnxNode {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes?: Readonly<Record<string, OnnxAttribute>>;
  /** Domain of operators that ONNX itself lacks. */
  readonly domain?: "com.microsoft";
}

/** A constant of a model: f32, or 64-bit integers. */
export interface OnnxTensor {
  readonly name: string;
  readonly shape: Shape;
  readonly values: Float32Array | BigInt64Array;
}

/** An f32 input or output of a model; a name stands for a size that may vary between runs. */
export interface OnnxValue {
  readonly name: string;
  readonly shape: readonly (number | string)[];
}

export interface OnnxModel {
  /** In topological order. */
  readonly nodes: readonly OnnxNode[];
  readonly tensors: readonly OnnxTensor[];
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
  /** Metadata. */
  readonly notes?: Readonly<Record<string, string>>;
}

/** Operator sets; LayerNormalization exists since 17. */
const OPERATORS = [
  ["", 17],
  ["com.microsoft", 1],
] as const;
const FORMAT_VERSION = 8;

/** Maximum size of a protocol buffer. */
const MAX_BYTES = 2 ** 31 - 1;

/** Encodes a model. Throws if it exceeds the maximum size of a protocol buffer. */
export function encodeOnnx({ nodes, tensors, inputs, outputs, notes = {} }: OnnxModel): Uint8Array<ArrayBuffer> {
  const used = new Set(nodes.map(({ domain = "" }) => domain));
  const graph = [
    ...nodes.map(nodeField),
    stringField(2, "graph"),
    ...tensors.map(tensorField),
    ...inputs.map((value) => message(11, ...valueFields(value))),
    ...outputs.map((value) => message(12, ...valueFields(value))),
  ];
  const model = sequence([
    integer(1, FORMAT_VERSION),
    stringField(2, "dino-webgpu"),
    message(7, ...graph),
    ...OPERATORS.filter(([domain]) => domain === "" || used.has(domain)).map(([domain, version]) =>
      message(8, stringField(1, domain), integer(2, version)),
    ),
    ...Object.entries(notes).map(([key, value]) => message(14, stringField(1, key), stringField(2, value))),
  ]);
  if (model.bytes > MAX_BYTES) {
    throw new Error(
      `onnx: the model takes ${model.bytes} bytes, but a file of this format holds at most ${MAX_BYTES}; ` +
        "use --format safetensors",
    );
  }
  return concatenate(model);
}

function nodeField({ op, inputs, outputs, attributes = {}, domain }: OnnxNode): Encoded {
  return message(
    1,
    ...inputs.map((name) => stringField(1, name)),
    ...outputs.map((name) => stringField(2, name)),
    stringField(3, outputs[0]!), // a unique name, which some readers require
    stringField(4, op),
    ...Object.entries(attributes).map(([name, value]) => message(5, stringField(1, name), ...attributeFields(value))),
    ...(domain ? [stringField(7, domain)] : []),
  );
}

/** AttributeProto.AttributeType. */
const kinds = { float: 1, integer: 2, text: 3, integers: 7 } as const;

function attributeFields(value: OnnxAttribute): readonly Encoded[] {
  if (typeof value === "number") return [integer(3, value), integer(20, kinds.integer)];
  if (typeof value === "string") return [stringField(4, value), integer(20, kinds.text)];
  if ("float" in value) return [float(2, value.float), integer(20, kinds.float)];
  return [...value.map((each) => integer(8, each)), integer(20, kinds.integers)];
}

/** TensorProto.DataType. */
const elements = { f32: 1, i64: 7 } as const;

function tensorField({ name, shape, values }: OnnxTensor): Encoded {
  return message(
    5,
    ...shape.map((size) => integer(1, size)),
    integer(2, values instanceof Float32Array ? elements.f32 : elements.i64),
    stringField(8, name),
    bytes(9, viewBytes(values)),
  );
}

function valueFields({ name, shape }: OnnxValue): readonly Encoded[] {
  const sizes = shape.map((size) => message(1, typeof size === "number" ? integer(1, size) : stringField(2, size)));
  return [stringField(1, name), message(2, message(1, integer(1, elements.f32), message(2, ...sizes)))];
}
