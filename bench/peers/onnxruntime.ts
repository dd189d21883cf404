/** ONNX Runtime Web on WebGPU, with inputs and outputs in GPU buffers. It is made for inference and has no gradients. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import * as ort from "onnxruntime-web/webgpu";
import { encodeOnnx, type OnnxNode } from "../../dino/weights/export/onnx.js";
import type { Shape } from "../../engine/index.js";
import type { HostTensor } from "../steps/row.js";
import { untilIdle } from "./gpu.js";
import { swapMiddle } from "./layouts.js";
import type { Identity, Job } from "./peer.js";
import type { Inputs, Workload } from "./workloads.js";

const OPTIONS: ort.InferenceSession.SessionOptions = {
  executionProviders: ["webgpu"],
  preferredOutputLocation: "gpu-buffer",
  logSeverityLevel: 3,
};

let device: GPUDevice;

export async function init(): Promise<Identity> {
  copySharedMemory();
  const wasm = import.meta.resolve("onnxruntime-web/ort-wasm-simd-threaded.asyncify.wasm");
  ort.env.wasm.wasmBinary = Uint8Array.from(await readFile(fileURLToPath(wasm))).buffer;
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "error";
  // The device lives as long as any session, so this one is never released.
  await ort.InferenceSession.create(oneNode({ op: "Softmax" }, { x: [1, 1] }, [1, 1]), OPTIONS);
  device = await ort.env.webgpu.device;
  return { version: ort.env.versions.web ?? "" };
}

/** Copies shared WebAssembly memory before writeBuffer: browsers accept it, Dawn under Node does not. */
function copySharedMemory(): void {
  const prototype = GPUQueue.prototype as {
    writeBuffer: (this: GPUQueue, ...args: Parameters<GPUQueue["writeBuffer"]>) => void;
  };
  const { writeBuffer } = prototype;
  prototype.writeBuffer = function (buffer, bufferOffset, values, start = 0, size) {
    if (!(values instanceof Uint8Array && values.buffer instanceof SharedArrayBuffer)) {
      writeBuffer.call(this, buffer, bufferOffset, values, start, size);
      return;
    }
    const end = start + (size ?? values.length - start);
    writeBuffer.call(this, buffer, bufferOffset, values.slice(start, end));
  };
}

export const matmul = (_: Workload<"matmul">, { a, b }: Inputs<"matmul">): Promise<Job> =>
  forward({ op: "MatMul" }, { a, b }, [a.shape[0]!, b.shape[1]!]);

export const softmax = (_: Workload<"softmax">, { x }: Inputs<"softmax">): Promise<Job> =>
  forward({ op: "Softmax", attributes: { axis: -1 } }, { x }, x.shape);

export const layernorm = ({ eps }: Workload<"layernorm">, { x, gamma, beta }: Inputs<"layernorm">): Promise<Job> =>
  forward({ op: "LayerNormalization", attributes: { axis: -1, epsilon: { float: eps } } }, { x, gamma, beta }, x.shape);

/** Its layout has heads within tokens; inputs are converted once beforehand. */
export async function attention(_: Workload<"attention">, { q, k, v }: Inputs<"attention">): Promise<Job> {
  const [batch, heads, tokens, headDim] = q.shape as readonly [number, number, number, number];
  const within = (x: HostTensor) => ({ shape: [batch, tokens, heads * headDim], data: swapMiddle(x).data });
  const node = { op: "MultiHeadAttention", attributes: { num_heads: heads }, domain: "com.microsoft" } as const;
  const out = [batch, tokens, heads * headDim];
  const job = await forward(node, { q: within(q), k: within(k), v: within(v) }, out);
  return {
    ...job,
    async read() {
      const { out: result } = await job.read();
      return { out: swapMiddle({ shape: [batch, tokens, heads, headDim], data: result }).data };
    },
  };
}

type Operation = Omit<OnnxNode, "inputs" | "outputs">;

/** Encodes a model with one node from `inputs` to `out`. */
function oneNode(node: Operation, inputs: Readonly<Record<string, Shape>>, out: Shape): Uint8Array {
  return encodeOnnx({
    nodes: [{ ...node, inputs: Object.keys(inputs), outputs: ["out"] }],
    tensors: [],
    inputs: Object.entries(inputs).map(([name, shape]) => ({ name, shape })),
    outputs: [{ name: "out", shape: out }],
  });
}

async function forward(
  node: Operation,
  inputs: Readonly<Record<string, HostTensor>>,
  out: Shape,
): Promise<Job<{ readonly out: Float32Array }>> {
  const shapes = Object.fromEntries(Object.entries(inputs).map(([name, { shape }]) => [name, shape]));
  const session = await ort.InferenceSession.create(oneNode(node, shapes, out), OPTIONS);
  const uploaded = Object.entries(inputs).map(([name, x]) => ({ name, x, buffer: upload(x) }));
  const feeds = Object.fromEntries(
    uploaded.map(({ name, x, buffer }) => {
      return [name, ort.Tensor.fromGpuBuffer(buffer, { dataType: "float32", dims: x.shape })];
    }),
  );
  const once = async () => (await session.run(feeds))["out"]!;
  return {
    step: async () => (await once()).dispose(),
    sync: untilIdle,
    async read() {
      const result = await once();
      const values = (await result.getData()) as Float32Array;
      result.dispose();
      return { out: values.slice() };
    },
    async dispose() {
      await session.release();
      for (const { buffer } of uploaded) buffer.destroy();
    },
  };
}

function upload({ data }: HostTensor): GPUBuffer {
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
  const buffer = device.createBuffer({ size: data.byteLength, usage });
  device.queue.writeBuffer(buffer, 0, data);
  return buffer;
}
