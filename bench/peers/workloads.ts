/** Workloads of the comparison: parts of a Vision Transformer in the sizes of DINO, and training of two of them. */
import { type Shape, sizeOf } from "../../engine/index.js";
import type { HostTensor } from "../steps/row.js";

/** The inputs of each kind of workload, by name. */
export interface InputNames {
  /** a [M, K] times b [K, N]. */
  readonly matmul: "a" | "b";
  /** Softmax over the last axis of x [R, C]. */
  readonly softmax: "x";
  /** LayerNorm over the last axis of x [R, C], with gamma [C] and beta [C]. */
  readonly layernorm: "x" | "gamma" | "beta";
  /** softmax(q kᵀ / sqrt(D)) v of [B, H, N, D] each. */
  readonly attention: "q" | "k" | "v";
  /** The mean of (gelu(x w1 + b1) w2 + b2 - t)², and its gradients. */
  readonly mlp_train: "x" | "t" | "w1" | "b1" | "w2" | "b2";
  /**
   * A block before t: h = x + attention(norm(x) wqkv + bqkv) wo + bo, y = h + gelu(norm(h) w1 + b1) w2 + b2, the mean of
   * (y - t)², and its gradients. The columns of wqkv are the queries of all heads, their keys, their values.
   */
  readonly vitblock_train: InputNames["mlp_train"] | "g1" | "be1" | "wqkv" | "bqkv" | "wo" | "bo" | "g2" | "be2";
}

export type Kind = keyof InputNames;
export type Inputs<K extends Kind> = Readonly<Record<InputNames[K], HostTensor>>;

/** A tensor of uniform random numbers in shift +- scale. */
export interface RandomTensor {
  readonly shape: Shape;
  readonly seed: number;
  readonly scale: number;
  readonly shift: number;
}

interface Settings {
  readonly matmul: object;
  readonly softmax: object;
  readonly layernorm: { readonly eps: number };
  readonly attention: object;
  /** `params` are the inputs to differentiate by. */
  readonly mlp_train: { readonly params: readonly InputNames["mlp_train"][] };
  /** H is the number of heads. */
  readonly vitblock_train: {
    readonly H: number;
    readonly eps: number;
    readonly params: readonly InputNames["vitblock_train"][];
  };
}

type Workloads = {
  readonly [K in Kind]: Settings[K] & {
    readonly id: string;
    readonly kind: K;
    readonly unit: "GFLOP/s" | "GB/s";
    /** Work of one iteration: flops of the products, forward and backward, or bytes of one read and one write. */
    readonly work: number;
    readonly inputs: Readonly<Record<InputNames[K], RandomTensor>>;
  };
};

export type Workload<K extends Kind = Kind> = Workloads[K];

/** Draws the inputs of a workload, the same for all engines. */
export function inputsOf<K extends Kind>(workload: Workload<K>): Inputs<K> {
  const named = Object.entries<RandomTensor>(workload.inputs).map(([name, drawn]) => [name, draw(drawn)] as const);
  return Object.fromEntries(named) as Inputs<K>;
}

/** Draws numbers by Mulberry32, one per index. */
export function draw({ shape, seed, scale, shift }: RandomTensor): HostTensor {
  const data = new Float32Array(sizeOf(shape));
  let state = seed;
  for (let i = 0; i < data.length; i++) {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), 1 | state);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), 61 | bits);
    data[i] = (((bits ^ (bits >>> 14)) >>> 0) / 2 ** 31 - 1) * scale + shift;
  }
  return { shape, data };
}

const uniform = (shape: Shape, seed: number, scale = 1, shift = 0): RandomTensor => ({ shape, seed, scale, shift });

/** Returns the scale of weights [inner, ...] with which a product preserves the variance of its input. */
const varianceScale = (inner: number) => Math.sqrt(3 / inner);

export const workloads: readonly Workload[] = [
  matmul(512, 512, 512),
  matmul(1024, 1024, 1024),
  matmul(788, 384, 1536),
  matmul(788, 1536, 384),
  matmul(788, 384, 1152),
  softmax(2364, 197),
  softmax(64, 65536),
  layernorm(6304, 384),
  attention(4, 6, 197, 64),
  attention(4, 6, 785, 64),
  mlp(256, 384, 1536, 384),
  block(4, 65, 3, 64, 768),
];

export function matmul(M: number, K: number, N: number): Workload<"matmul"> {
  return {
    id: `matmul_${M}x${K}x${N}`,
    kind: "matmul",
    unit: "GFLOP/s",
    work: 2 * M * N * K,
    inputs: { a: uniform([M, K], 11), b: uniform([K, N], 12) },
  };
}

export function softmax(R: number, C: number): Workload<"softmax"> {
  return {
    id: `softmax_${R}x${C}`,
    kind: "softmax",
    unit: "GB/s",
    work: 8 * R * C,
    inputs: { x: uniform([R, C], 21, 4) },
  };
}

export function layernorm(R: number, C: number): Workload<"layernorm"> {
  return {
    id: `layernorm_${R}x${C}`,
    kind: "layernorm",
    unit: "GB/s",
    work: 8 * R * C,
    eps: 1e-5,
    inputs: { x: uniform([R, C], 31, 2, 0.5), gamma: uniform([C], 32, 0.5, 1), beta: uniform([C], 33, 0.2) },
  };
}

function attention(B: number, H: number, N: number, D: number): Workload<"attention"> {
  const shape = [B, H, N, D];
  return {
    id: `attention_b${B}h${H}n${N}d${D}`,
    kind: "attention",
    unit: "GFLOP/s",
    work: 4 * B * H * N * N * D,
    inputs: { q: uniform(shape, 41), k: uniform(shape, 42), v: uniform(shape, 43) },
  };
}

/** Training of an MLP with one hidden layer on B rows. */
export function mlp(B: number, I: number, hidden: number, O: number): Workload<"mlp_train"> {
  const products = { up: 2 * B * I * hidden, down: 2 * B * hidden * O };
  return {
    id: `mlp_train_${B}x${I}-${hidden}-${O}`,
    kind: "mlp_train",
    unit: "GFLOP/s",
    work: 2 * products.up + 3 * products.down, // x needs no gradient
    params: ["w1", "b1", "w2", "b2"],
    inputs: {
      x: uniform([B, I], 51, 1.5),
      t: uniform([B, O], 52),
      w1: uniform([I, hidden], 53, varianceScale(I)),
      b1: uniform([hidden], 54, 0.1),
      w2: uniform([hidden, O], 55, varianceScale(hidden)),
      b2: uniform([O], 56, 0.1),
    },
  };
}

export function block(B: number, N: number, H: number, headDim: number, hidden: number): Workload<"vitblock_train"> {
  const C = H * headDim;
  const forward = 2 * B * N * C * (4 * C + 2 * hidden) + 4 * B * H * N * N * headDim;
  return {
    id: `vitblock_train_b${B}n${N}c${C}h${H}`,
    kind: "vitblock_train",
    unit: "GFLOP/s",
    work: 3 * forward,
    H,
    eps: 1e-6,
    params: ["g1", "be1", "wqkv", "bqkv", "wo", "bo", "g2", "be2", "w1", "b1", "w2", "b2"],
    inputs: {
      x: uniform([B, N, C], 61, 1.5),
      t: uniform([B, N, C], 62),
      g1: uniform([C], 63, 0.3, 1),
      be1: uniform([C], 64, 0.1),
      wqkv: uniform([C, 3 * C], 65, 1.5 * varianceScale(C)),
      bqkv: uniform([3 * C], 66, 0.1),
      wo: uniform([C, C], 67, varianceScale(C)),
      bo: uniform([C], 68, 0.1),
      g2: uniform([C], 69, 0.3, 1),
      be2: uniform([C], 70, 0.1),
      w1: uniform([C, hidden], 71, varianceScale(C)),
      b1: uniform([hidden], 72, 0.1),
      w2: uniform([hidden, C], 73, varianceScale(hidden)),
      b2: uniform([C], 74, 0.1),
    },
  };
}
