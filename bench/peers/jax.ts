/** jax-js on WebGPU, with everything under jit. */
import { readFileSync } from "node:fs";
import type { Shape } from "../../engine/index.js";
import type { HostTensor } from "../steps/row.js";
import { untilIdle } from "./gpu.js";
import type { Identity, Job, Outcome } from "./peer.js";
import type { Inputs, Workload } from "./workloads.js";

/** A reference-counted array: functions consume it, `ref` adds a reference. */
interface JaxArray {
  readonly ref: JaxArray;
  reshape(shape: Shape): JaxArray;
  add(other: JaxArray): JaxArray;
  sub(other: JaxArray): JaxArray;
  mul(other: JaxArray | number): JaxArray;
  data(): Promise<Float32Array>;
}

type Named<Names extends string> = Readonly<Record<Names, JaxArray>>;
type Arrays = JaxArray | readonly Arrays[] | { readonly [name: string]: Arrays };

/** The part of its API in use; its own types take longer to compile than this project. */
interface Jax {
  init(device: "webgpu"): Promise<readonly string[]>;
  defaultDevice(device: "webgpu"): void;
  jit<Args extends readonly unknown[], Result>(fn: (...args: Args) => Result): (...args: Args) => Result;
  valueAndGrad<Params, Args extends readonly unknown[]>(
    fn: (params: Params, ...args: Args) => JaxArray,
  ): (params: Params, ...args: Args) => readonly [JaxArray, Params];
  blockUntilReady(arrays: Arrays): Promise<unknown>;
  readonly tree: { ref<T extends Arrays>(arrays: T): T; dispose(arrays: Arrays): void };
  readonly numpy: {
    array(values: Float32Array): JaxArray;
    matmul(a: JaxArray, b: JaxArray): JaxArray;
    mean(x: JaxArray): JaxArray;
    square(x: JaxArray): JaxArray;
    transpose(x: JaxArray, order: readonly number[]): JaxArray;
    swapaxes(x: JaxArray, a: number, b: number): JaxArray;
    split(x: JaxArray, parts: number, axis: number): JaxArray[];
  };
  readonly nn: {
    softmax(x: JaxArray, axis: number): JaxArray;
    standardize(x: JaxArray, axis: number, options: { readonly epsilon: number }): JaxArray;
    gelu(x: JaxArray, options: { readonly approximate: boolean }): JaxArray;
  };
}

let jax: Jax;

const PACKAGE: string = "@jax-js/jax";

export async function init(): Promise<Identity> {
  jax = (await import(PACKAGE)) as Jax;
  const devices = await jax.init("webgpu");
  if (!devices.includes("webgpu")) throw new Error(`jax-js: no webgpu, only ${devices.join(", ")}`);
  jax.defaultDevice("webgpu");
  const manifest = readFileSync(new URL("../package.json", import.meta.resolve(PACKAGE)), "utf8");
  return JSON.parse(manifest) as Identity;
}

export const matmul = (_: Workload<"matmul">, { a, b }: Inputs<"matmul">): Promise<Job> =>
  forward([a, b], (p, q) => jax.numpy.matmul(p, q));

export const softmax = (_: Workload<"softmax">, { x }: Inputs<"softmax">): Promise<Job> =>
  forward([x], (z) => jax.nn.softmax(z, -1));

export const layernorm = ({ eps }: Workload<"layernorm">, { x, gamma, beta }: Inputs<"layernorm">): Promise<Job> =>
  forward([x, gamma, beta], (z, gain, bias) => normalise(z, gain, bias, eps));

export const attention = (_: Workload<"attention">, { q, k, v }: Inputs<"attention">): Promise<Job> =>
  forward([q, k, v], (queries, keys, values) => attend(queries, keys, values, q.shape[3]!));

export const mlp_train = ({ params }: Workload<"mlp_train">, inputs: Inputs<"mlp_train">): Promise<Job> =>
  train(params, inputs, (at) => meanSquare(mlp(at, at.x), at.t));

export const vitblock_train = (
  { H, eps, params }: Workload<"vitblock_train">,
  inputs: Inputs<"vitblock_train">,
): Promise<Job> => {
  const [B, N, C] = inputs.x.shape as readonly [number, number, number];
  return train(params, inputs, (at) => {
    const qkv = dense(normalise(at.x.ref, at.g1, at.be1, eps), at.wqkv, at.bqkv);
    const parts = jax.numpy.transpose(qkv.reshape([B, N, 3, H, C / H]), [2, 0, 3, 1, 4]);
    const [q, k, v] = jax.numpy.split(parts, 3, 0).map((part) => part.reshape([B, H, N, C / H]));
    const attended = jax.numpy.transpose(attend(q!, k!, v!, C / H), [0, 2, 1, 3]).reshape([B, N, C]);
    const h = at.x.add(dense(attended, at.wo, at.bo));
    return meanSquare(mlp(at, normalise(h.ref, at.g2, at.be2, eps)).add(h), at.t);
  });
};

function normalise(x: JaxArray, gain: JaxArray, bias: JaxArray, eps: number): JaxArray {
  return jax.nn.standardize(x, -1, { epsilon: eps }).mul(gain).add(bias);
}

function attend(q: JaxArray, k: JaxArray, v: JaxArray, headDim: number): JaxArray {
  const scores = jax.numpy.matmul(q.mul(1 / Math.sqrt(headDim)), jax.numpy.swapaxes(k, -1, -2));
  return jax.numpy.matmul(jax.nn.softmax(scores, -1), v);
}

function mlp({ w1, b1, w2, b2 }: Named<"w1" | "b1" | "w2" | "b2">, x: JaxArray): JaxArray {
  return dense(jax.nn.gelu(dense(x, w1, b1), { approximate: false }), w2, b2);
}

function dense(x: JaxArray, weight: JaxArray, bias: JaxArray): JaxArray {
  return jax.numpy.matmul(x, weight).add(bias);
}

function meanSquare(y: JaxArray, target: JaxArray): JaxArray {
  return jax.numpy.mean(jax.numpy.square(y.sub(target)));
}

async function forward(inputs: readonly HostTensor[], fn: (...inputs: JaxArray[]) => JaxArray): Promise<Job> {
  const arrays = inputs.map(arrayOf);
  await jax.blockUntilReady(arrays);
  const compiled = jax.jit(fn);
  return jobOf(
    arrays,
    () => compiled(...arrays.map((x) => x.ref)),
    async (out) => ({ out: await out.data() }),
  );
}

async function train<Names extends string>(
  params: readonly Names[],
  inputs: Readonly<Record<Names, HostTensor>>,
  loss: (at: Named<Names>) => JaxArray,
): Promise<Job> {
  const isParam = (name: string) => (params as readonly string[]).includes(name);
  const arrays = Object.entries<HostTensor>(inputs).map(([name, x]) => [name, arrayOf(x)] as const);
  await jax.blockUntilReady(arrays.map(([, x]) => x));
  const values = Object.fromEntries(arrays.filter(([name]) => isParam(name)));
  const fixed = Object.fromEntries(arrays.filter(([name]) => !isParam(name)));
  const both = (weights: Named<string>, others: Named<string>) => loss({ ...weights, ...others } as Named<Names>);
  const compiled = jax.jit(jax.valueAndGrad(both));
  const once = () => compiled(jax.tree.ref(values), jax.tree.ref(fixed));
  return jobOf([values, fixed], once, async ([total, gradients]) => {
    const grads: Record<string, Float32Array> = {};
    for (const name of params) grads[name] = await gradients[name]!.data();
    return { loss: (await total.data())[0]!, grads };
  });
}

/** Creates a job. Work starts only when its results are awaited, so the results of every step are held until `sync`. */
function jobOf<Result extends Arrays>(
  inputs: Arrays,
  once: () => Result,
  read: (result: Result) => Promise<Outcome>,
): Job {
  let pending: Result[] = [];
  return {
    step: () => void pending.push(once()),
    async sync() {
      await jax.blockUntilReady(pending);
      await untilIdle();
      jax.tree.dispose(pending);
      pending = [];
    },
    read: () => read(once()),
    dispose: () => jax.tree.dispose(inputs),
  };
}

function arrayOf({ shape, data }: HostTensor): JaxArray {
  return jax.numpy.array(data).reshape(shape);
}
