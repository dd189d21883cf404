import { chooseAdapter } from "../../engine/adapters/node.js";

/** Minimum limits of WebGPU: https://www.w3.org/TR/webgpu/#limits */
const MIN_LIMITS: Readonly<Record<string, number>> = {
  maxBufferSize: 2 ** 28,
  maxStorageBufferBindingSize: 2 ** 27,
  maxStorageBuffersPerShaderStage: 8,
  maxComputeWorkgroupStorageSize: 16384,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupSizeY: 256,
  maxComputeWorkgroupSizeZ: 64,
  maxComputeWorkgroupsPerDimension: 65535,
};

/** Returns an adapter with minimum limits and no features. The null backend validates without computing. */
export async function leastAdapter(prefer?: "null"): Promise<GPUAdapter> {
  const { adapter } = await chooseAdapter(prefer ? { prefer } : {});
  const limits = new Proxy(adapter.limits, {
    get: (all, name) => MIN_LIMITS[name as string] ?? (Reflect.get(all, name, all) as number),
  });
  return new Proxy(adapter, {
    get: (all, name) => {
      if (name === "limits") return limits;
      if (name === "features") return new Set();
      const value: unknown = Reflect.get(all, name, all);
      return typeof value === "function" ? (value.bind(all) as unknown) : value;
    },
  });
}
