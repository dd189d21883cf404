/** Graphs of a single node in the ONNX format (https://onnx.ai/onnx/repo-docs/IR.html), which is protobuf. */
import type { Shape } from "../../engine/index.js";

export interface OnnxNode {
  readonly op: string;
  /** An integer where it is whole and not said to be a float. */
  readonly attributes?: Readonly<Record<string, number | { readonly float: number }>>;
  /** Of operators that ONNX itself lacks. */
  readonly domain?: "com.microsoft";
}

/** A model that takes `inputs` through one node to `out`, all of them f32. */
export function onnxModel(node: OnnxNode, inputs: Readonly<Record<string, Shape>>, out: Shape): Uint8Array {
  const graph = [
    ...message(1, [
      ...Object.keys(inputs).flatMap((name) => text(1, name)),
      ...text(2, "out"),
      ...text(4, node.op),
      ...Object.entries(node.attributes ?? {}).flatMap(([name, value]) => message(5, attribute(name, value))),
      ...(node.domain ? text(7, node.domain) : []),
    ]),
    ...text(2, "graph"),
    ...Object.entries(inputs).flatMap(([name, shape]) => message(11, valueInfo(name, shape))),
    ...message(12, valueInfo("out", out)),
  ];
  const operators = [["", 17] as const, ["com.microsoft", 1] as const];
  return Uint8Array.from([
    ...integer(1, 8), // version of the format
    ...message(7, graph),
    ...operators.flatMap(([domain, version]) => message(8, [...text(1, domain), ...integer(2, version)])),
  ]);
}

const FLOAT = 1; // as an element type and as the type of an attribute
const INT = 2;

function attribute(name: string, value: number | { readonly float: number }): number[] {
  if (typeof value === "number") return [...text(1, name), ...integer(3, value), ...integer(20, INT)];
  const bytes = new Uint8Array(Float32Array.of(value.float).buffer);
  return [...text(1, name), ...varint((2 << 3) | 5), ...bytes, ...integer(20, FLOAT)];
}

function valueInfo(name: string, shape: Shape): number[] {
  const dims = shape.flatMap((size) => message(1, integer(1, size)));
  return [...text(1, name), ...message(2, message(1, [...integer(1, FLOAT), ...message(2, dims)]))];
}

function integer(field: number, value: number): number[] {
  return [...varint(field << 3), ...varint(value)];
}

function text(field: number, value: string): number[] {
  return message(field, [...new TextEncoder().encode(value)]);
}

function message(field: number, bytes: readonly number[]): number[] {
  return [...varint((field << 3) | 2), ...varint(bytes.length), ...bytes];
}

/** Seven bits a byte, the lowest first; negative numbers as 64 bits of two's complement. */
function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  do {
    bytes.push(Number(rest & 127n) | (rest > 127n ? 128 : 0));
    rest >>= 7n;
  } while (rest > 0n);
  return bytes;
}
