/** TensorFlow.js on its WebGPU backend. It lacks GELU, LayerNorm and attention, which are composed of its operations. */
import type { Shape } from "../../engine/index.js";
import type { HostTensor } from "../steps/row.js";
import { untilIdle } from "./gpu.js";
import type { Identity, Job } from "./peer.js";
import type { Inputs, Workload } from "./workloads.js";

interface TfTensor {
  readonly name: string; // of a variable
  reshape(shape: Shape): TfTensor;
  transpose(order: readonly number[]): TfTensor;
  data(): Promise<Float32Array>;
  dispose(): void;
}

/** The part of its API in use; its own types bring another version of the WebGPU types. */
interface Tensorflow {
  readonly version_core: string;
  setBackend(name: string): Promise<boolean>;
  ready(): Promise<void>;
  enableProdMode(): void;
  backend(): { ensureCommandEncoderReady(): void; endComputePassEncoder(): void; submitQueue(): void };
  tensor(values: Float32Array, shape: Shape): TfTensor;
  variable(initial: TfTensor): TfTensor;
  tidy<T>(fn: () => T): T;
  variableGrads(
    fn: () => TfTensor,
    variables: readonly TfTensor[],
  ): { readonly value: TfTensor; readonly grads: Readonly<Record<string, TfTensor>> };
  matMul(a: TfTensor, b: TfTensor, transposeA?: boolean, transposeB?: boolean): TfTensor;
  add(a: TfTensor, b: TfTensor | number): TfTensor;
  sub(a: TfTensor, b: TfTensor): TfTensor;
  mul(a: TfTensor, b: TfTensor | number): TfTensor;
  mean(x: TfTensor, axis?: number, keepAxes?: boolean): TfTensor;
  square(x: TfTensor): TfTensor;
  rsqrt(x: TfTensor): TfTensor;
  erf(x: TfTensor): TfTensor;
  softmax(x: TfTensor): TfTensor;
  unstack(x: TfTensor, axis: number): TfTensor[];
}

let tf: Tensorflow;

/** The union package registers the gradients, the backend package the backend. */
const PACKAGES: readonly string[] = ["@tensorflow/tfjs", "@tensorflow/tfjs-backend-webgpu"];

export async function init(): Promise<Identity> {
  const [union] = (await Promise.all(PACKAGES.map((name) => import(name)))) as [Tensorflow];
  tf = union;
  if (!(await tf.setBackend("webgpu"))) throw new Error("tfjs: setBackend refused webgpu");
  await tf.ready();
  tf.enableProdMode();
  return { version: tf.version_core };
}

export const matmul = (_: Workload<"matmul">, { a, b }: Inputs<"matmul">): Job =>
  forward([a, b], (p, q) => tf.matMul(p, q));

export const softmax = (_: Workload<"softmax">, { x }: Inputs<"softmax">): Job => forward([x], (z) => tf.softmax(z));

export const layernorm = ({ eps }: Workload<"layernorm">, { x, gamma, beta }: Inputs<"layernorm">): Job =>
  forward([x, gamma, beta], (z, gain, bias) => normalise(z, gain, bias, eps));

export const attention = (_: Workload<"attention">, { q, k, v }: Inputs<"attention">): Job =>
  forward([q, k, v], (queries, keys, values) => attend(queries, keys, values, q.shape[3]!));

export const mlp_train = ({ params }: Workload<"mlp_train">, inputs: Inputs<"mlp_train">): Job =>
  train(params, inputs, (at) => meanSquare(mlp(at, at.x), at.t));

export const vitblock_train = (
  { H, eps, params }: Workload<"vitblock_train">,
  inputs: Inputs<"vitblock_train">,
): Job => {
  const [B, N, C] = inputs.x.shape as readonly [number, number, number];
  return train(params, inputs, (at) => {
    const x = at.x.reshape([B * N, C]);
    const qkv = dense(normalise(x, at.g1, at.be1, eps), at.wqkv, at.bqkv);
    const parts = qkv.reshape([B, N, 3, H, C / H]).transpose([2, 0, 3, 1, 4]);
    const [q, k, v] = tf.unstack(parts, 0); // [B, H, N, C / H]
    const attended = attend(q!, k!, v!, C / H)
      .transpose([0, 2, 1, 3])
      .reshape([B * N, C]);
    const h = tf.add(x, dense(attended, at.wo, at.bo));
    const y = tf.add(h, mlp(at, normalise(h, at.g2, at.be2, eps)));
    return meanSquare(y, at.t.reshape([B * N, C]));
  });
};

function normalise(x: TfTensor, gain: TfTensor, bias: TfTensor, eps: number): TfTensor {
  const deviation = tf.sub(x, tf.mean(x, -1, true));
  const variance = tf.mean(tf.square(deviation), -1, true);
  return tf.add(tf.mul(tf.mul(deviation, tf.rsqrt(tf.add(variance, eps))), gain), bias);
}

function attend(q: TfTensor, k: TfTensor, v: TfTensor, headDim: number): TfTensor {
  const scores = tf.matMul(tf.mul(q, 1 / Math.sqrt(headDim)), k, false, true);
  return tf.matMul(tf.softmax(scores), v);
}

function mlp({ w1, b1, w2, b2 }: Readonly<Record<"w1" | "b1" | "w2" | "b2", TfTensor>>, x: TfTensor): TfTensor {
  return dense(gelu(dense(x, w1, b1)), w2, b2);
}

function dense(x: TfTensor, weight: TfTensor, bias: TfTensor): TfTensor {
  return tf.add(tf.matMul(x, weight), bias);
}

function gelu(x: TfTensor): TfTensor {
  return tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1));
}

function meanSquare(y: TfTensor, target: TfTensor): TfTensor {
  return tf.mean(tf.square(tf.sub(y, target)));
}

function forward(inputs: readonly HostTensor[], fn: (...inputs: TfTensor[]) => TfTensor): Job {
  const tensors = inputs.map(({ shape, data }) => tf.tensor(data, shape));
  const once = () => tf.tidy(() => fn(...tensors));
  return {
    step: () => once().dispose(),
    sync,
    async read() {
      const out = once();
      const values = await out.data();
      out.dispose();
      return { out: values };
    },
    dispose: () => tensors.forEach((x) => x.dispose()),
  };
}

function train<Names extends string>(
  params: readonly Names[],
  inputs: Readonly<Record<Names, HostTensor>>,
  loss: (at: Readonly<Record<Names, TfTensor>>) => TfTensor,
): Job {
  const entries = Object.entries<HostTensor>(inputs).map(([name, { shape, data }]) => {
    const x = tf.tensor(data, shape);
    if (!(params as readonly string[]).includes(name)) return [name, x] as const;
    const variable = tf.variable(x);
    x.dispose();
    return [name, variable] as const;
  });
  const at = Object.fromEntries(entries) as Record<Names, TfTensor>;
  const variables = params.map((name) => at[name]);
  const once = () => {
    const { value, grads } = tf.tidy(() => tf.variableGrads(() => loss(at), variables));
    return { value, grads, dispose: () => [value, ...Object.values(grads)].forEach((x) => x.dispose()) };
  };
  return {
    step: () => once().dispose(),
    sync,
    async read() {
      const { value, grads, dispose } = once();
      const [total] = await value.data();
      const found = params.map(async (name) => [name, await grads[at[name].name]!.data()] as const);
      const result = { loss: total!, grads: Object.fromEntries(await Promise.all(found)) };
      dispose();
      return result;
    },
    dispose: () => entries.forEach(([, x]) => x.dispose()),
  };
}

/** Submits encoded work and waits; the backend itself submits only every fifteenth dispatch and before reads. */
async function sync(): Promise<void> {
  const backend = tf.backend();
  backend.ensureCommandEncoderReady();
  backend.endComputePassEncoder();
  backend.submitQueue();
  await untilIdle();
}
