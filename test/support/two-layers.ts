/** A network of two layers, and numbers for it. */
import { rng } from "../../dino/math/random.js";
import type { Device } from "../../engine/core/device.js";
import {
  createParams,
  gelu,
  layoutOf,
  linear,
  logSoftmax,
  mean,
  mul,
  type Params,
  scale,
  type Tensor,
} from "../../engine/index.js";

const random = rng({ seed: 3, purpose: "program test" });

/** Draws standard normal numbers, `size` of them. */
export const normals = (size: number): Float32Array => Float32Array.from({ length: size }, () => random.normal());

/** Returns the bits of numbers, for comparisons bit by bit. */
export const bits = (x: Float32Array): number[] => [...new Uint32Array(x.buffer, x.byteOffset, x.length)];

/** Layout of a network of two layers, with one entry that is not trainable. */
export const layout = layoutOf([
  { name: "first.weight", shape: [6, 8], trainable: true },
  { name: "first.bias", shape: [6], trainable: true },
  { name: "second.length", shape: [], trainable: false },
  { name: "second.weight", shape: [3, 6], trainable: true },
]);

/** Parameters of that network, drawn at random. */
export function network(device: Device): Params {
  const params = createParams(device, layout, "network");
  params.write(new Map(layout.entries.map(({ name, size }) => [name, normals(size)])));
  return params;
}

/** The loss of that network: the mean negative log-softmax of its logits. x [rows, 8] -> []. */
export function forward(params: Params, x: Tensor): Tensor {
  const hidden = gelu(linear(x, params.get("first.weight"), params.get("first.bias")));
  const logits = mul(linear(hidden, params.get("second.weight")), params.get("second.length"));
  return scale(mean(logSoftmax(logits)), -1);
}
