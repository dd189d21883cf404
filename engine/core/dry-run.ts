import type { Device } from "./device.js";

/** A device that allocates and computes nothing, for measuring memory use. */
export interface DryRun {
  readonly device: Device;
  /** Returns the bytes of all buffers created so far. */
  readonly bytes: () => number;
}

/** Returns a dry-run copy of a device: recordings make the same choices, and allocate nothing at any size. */
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
  const unlimited = { maxBufferSize: Infinity, maxStorageBufferBindingSize: Infinity };
  const limits = {
    ...unlimited,
    minStorageBufferOffsetAlignment,
    maxStorageBuffersPerShaderStage,
  } as GPUSupportedLimits;
  return {
    device: { ...device, limits, gpu: gpu as unknown as GPUDevice, failure: () => undefined, fail: () => undefined },
    bytes: () => bytes,
  };
}
