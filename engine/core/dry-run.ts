import type { Device } from "./device.js";

/** A device that has no memory and computes nothing, for knowing what something would take. */
export interface DryRun {
  readonly device: Device;
  /** Of all buffers made so far. */
  readonly bytes: () => number;
}

/** The same device on paper: what is recorded there makes the same choices, and takes no memory, however large it is. */
export function dryRun(device: Device): DryRun {
  let bytes = 0;
  const gpu = {
    createBuffer({ size }: GPUBufferDescriptor) {
      bytes += size;
      return { size, destroy: () => undefined };
    },
    createBindGroup: () => ({}),
    createBindGroupLayout: () => ({}),
    createPipelineLayout: () => ({}),
    createComputePipelineAsync: () => Promise.resolve({}),
    createShaderModule: () => ({ getCompilationInfo: () => Promise.resolve({ messages: [] }) }),
    pushErrorScope: () => undefined,
    popErrorScope: () => Promise.resolve(null),
    queue: { writeBuffer: () => undefined },
  };
  const { minStorageBufferOffsetAlignment, maxStorageBuffersPerShaderStage } = device.limits;
  const roomy = { maxBufferSize: Infinity, maxStorageBufferBindingSize: Infinity };
  const limits = { ...roomy, minStorageBufferOffsetAlignment, maxStorageBuffersPerShaderStage } as GPUSupportedLimits;
  return {
    device: { ...device, limits, gpu: gpu as unknown as GPUDevice, failure: () => undefined, fail: () => undefined },
    bytes: () => bytes,
  };
}
