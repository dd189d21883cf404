/** This project's engine, through its public API. */
import { readShader } from "../../engine/adapters/node.js";
import { createDevice, type Device } from "../../engine/core/device.js";
import {
  add,
  attention as attend,
  createParams,
  gelu,
  input,
  layernorm as normalise,
  layoutOf,
  linear,
  matmul as multiply,
  mean,
  mul,
  parameterGradients,
  type Program,
  record,
  scale,
  softmax as soften,
  type Tensor,
} from "../../engine/index.js";
import type { HostTensor } from "../steps/row.js";
import { packHeads, swapMiddle, transpose } from "./layouts.js";
import type { Identity, Job } from "./peer.js";
import type { Inputs, Workload } from "./workloads.js";

let device: Device; // one peer per process, one device per peer

export async function init(): Promise<Identity> {
  const { navigator } = globalThis as { readonly navigator?: { readonly gpu?: GPU } };
  const adapter = await navigator?.gpu?.requestAdapter();
  if (!adapter) throw new Error("ours: navigator.gpu has no adapter");
  device = await createDevice(adapter, { shaders: readShader });
  return { version: "of this commit" };
}

export const matmul = (_: Workload<"matmul">, { a, b }: Inputs<"matmul">): Promise<Job> =>
  forward([a, b], (p, q) => multiply(p, q));

export const softmax = (_: Workload<"softmax">, { x }: Inputs<"softmax">): Promise<Job> =>
  forward([x], (z) => soften(z));

export const layernorm = ({ eps }: Workload<"layernorm">, { x, gamma, beta }: Inputs<"layernorm">): Promise<Job> =>
  forward([x, gamma, beta], (z, gain, bias) => normalise(z, gain, bias, { epsilon: eps }));

/** Our layout has heads within tokens; inputs are packed once beforehand. */
export async function attention(_: Workload<"attention">, { q, k, v }: Inputs<"attention">): Promise<Job> {
  const [batch, heads, tokens, headDim] = q.shape as readonly [number, number, number, number];
  const job = await forward([packHeads(q, k, v)], (qkv) => attend(qkv, heads));
  const read = async () => ({
    out: swapMiddle({ shape: [batch, tokens, heads, headDim], data: (await job.read()).out }).data,
  });
  return { ...job, read };
}

export const mlp_train = ({ params }: Workload<"mlp_train">, inputs: Inputs<"mlp_train">): Promise<Job> =>
  train(params, inputs, (at) => meanSquare(mlp(at, at("x")), at("t")));

export const vitblock_train = (
  { H, eps, params }: Workload<"vitblock_train">,
  inputs: Inputs<"vitblock_train">,
): Promise<Job> =>
  train(params, inputs, (at) => {
    const x = at("x"); // [batch, tokens, dim]
    const qkv = linear(normalise(x, at("g1"), at("be1"), { epsilon: eps }), at("wqkv"), at("bqkv")); // [batch, tokens, 3 * dim]
    const h = add(x, linear(attend(qkv, H), at("wo"), at("bo")));
    return meanSquare(add(h, mlp(at, normalise(h, at("g2"), at("be2"), { epsilon: eps }))), at("t"));
  });

function mlp(at: (name: "w1" | "b1" | "w2" | "b2") => Tensor, x: Tensor): Tensor {
  return linear(gelu(linear(x, at("w1"), at("b1"))), at("w2"), at("b2"));
}

function meanSquare(y: Tensor, target: Tensor): Tensor {
  const error = add(y, scale(target, -1));
  return mean(mul(error, error));
}

async function forward(
  inputs: readonly HostTensor[],
  fn: (...inputs: Tensor[]) => Tensor,
): Promise<Job<{ readonly out: Float32Array }>> {
  const tensors = inputs.map(uploaded);
  const program = await record(device, () => ({ out: fn(...tensors) }));
  return {
    ...running(program, tensors),
    async read() {
      await program.run();
      return { out: await program.read("out") };
    },
  };
}

/** Records the loss and all gradients; weights are [out, in] here and [in, out] in the workloads. */
async function train<Names extends string>(
  params: readonly Names[],
  inputs: Readonly<Record<Names, HostTensor>>,
  loss: (at: (name: Names) => Tensor) => Tensor,
): Promise<Job> {
  const isParam = (name: string) => (params as readonly string[]).includes(name);
  const transposed = (x: HostTensor) => (x.shape.length === 2 ? transpose(x) : x);
  const layout = layoutOf(params.map((name) => ({ name, shape: transposed(inputs[name]).shape, trainable: true })));
  const values = createParams(device, layout, "peers");
  values.write(new Map(params.map((name) => [name, transposed(inputs[name]).data])));
  const fixed = Object.entries<HostTensor>(inputs).filter(([name]) => !isParam(name));
  const tensors = new Map(fixed.map(([name, x]) => [name, uploaded(x)]));
  const program = await record(device, () => {
    const total = loss((name) => tensors.get(name) ?? values.get(name));
    return { loss: total, gradients: parameterGradients(total, values).flat };
  });
  return {
    ...running(program, [...tensors.values(), values]),
    async read() {
      await program.run();
      const flat = await program.read("gradients");
      const grads = layout.entries.map(({ name, shape, offset, size }) => {
        const gradient = { shape, data: flat.slice(offset, offset + size) };
        return [name, transposed(gradient).data] as const;
      });
      return { loss: await program.readScalar("loss"), grads: Object.fromEntries(grads) };
    },
  };
}

function uploaded({ shape, data }: HostTensor) {
  const x = input(device, shape);
  x.write(data);
  return x;
}

function running(program: Program, owned: readonly Pick<Disposable, typeof Symbol.dispose>[]): Omit<Job, "read"> {
  return {
    step: () => program.run(),
    sync: () => device.gpu.queue.onSubmittedWorkDone(),
    dispose: () => [program, ...owned].forEach((x) => x[Symbol.dispose]()),
  };
}
