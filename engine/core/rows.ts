/** Compiled dispatches. */
import { type Device, throwIfFailed } from "./device.js";
import { type Pipeline, pipelineOf } from "./pipeline.js";
import type { Dispatch } from "./recording.js";
import { bytesOf, offsetInOwner, owner, type Tensor, type Transient } from "./tensor.js";
import { withTimeout } from "./with-timeout.js";

/** A dispatch with its compiled pipeline and bind group. */
export interface Row {
  readonly dispatch: Dispatch;
  readonly pipeline: GPUComputePipeline;
  readonly bindGroup: GPUBindGroup;
}

/** Compiles the kernels of dispatches in parallel, and binds their tensors. */
export async function compile(
  device: Device,
  dispatches: readonly Dispatch[],
  bufferOf: ReadonlyMap<Transient, GPUBuffer>,
): Promise<Row[]> {
  const compiling = dispatches.map((d) => pipelineOf(device, d.kernel, d.constants));
  const settled = await withTimeout(device, Promise.allSettled(compiling));
  throwIfFailed(device);
  return settled.map((pipeline, i) => {
    if (pipeline.status === "rejected") throw pipeline.reason;
    const dispatch = dispatches[i]!;
    return { dispatch, pipeline: pipeline.value.pipeline, bindGroup: bind(device, dispatch, pipeline.value, bufferOf) };
  });
}

function bind(
  device: Device,
  { kernel, tensors }: Dispatch,
  { layout, bindings }: Pipeline,
  bufferOf: ReadonlyMap<Transient, GPUBuffer>,
): GPUBindGroup {
  return device.gpu.createBindGroup({
    label: kernel.file,
    layout,
    entries: kernel.bindings.map(({ name }) => {
      const { number, dtype } = bindings[name]!;
      const x = tensors[name]!;
      if (x.dtype !== dtype) throw new Error(`${kernel.file}: ${name} holds ${x.dtype}, the kernel reads ${dtype}`);
      return { binding: number, resource: { ...locate(x, bufferOf), size: bytesOf(x) } };
    }),
  });
}

export function locate(
  x: Tensor,
  bufferOf: ReadonlyMap<Transient, GPUBuffer>,
): { readonly buffer: GPUBuffer; readonly offset: number } {
  const storage = owner(x.storage);
  const buffer = storage.kind === "resident" ? storage.buffer : bufferOf.get(storage);
  return { buffer: buffer!, offset: offsetInOwner(x) };
}

/** Encodes a row into a pass whose pipeline is `current`; skipping redundant calls saves the host a microsecond each. */
export function encodeDispatch(
  pass: GPUComputePassEncoder,
  { pipeline, bindGroup, dispatch }: Row,
  current?: GPUComputePipeline,
): void {
  if (pipeline !== current) pass.setPipeline(pipeline);
  pass.setBindGroup(0, bindGroup);
  const [x, y, z] = dispatch.grid;
  if (y === 1 && z === 1) pass.dispatchWorkgroups(x);
  else pass.dispatchWorkgroups(x, y, z);
}
