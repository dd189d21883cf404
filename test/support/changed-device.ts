/** Devices that change what they are given, to test kernels by changing them. */
import type { Device } from "../../engine/core/device.js";

/**
 * Returns the device with methods of its GPU object replaced. The object is a distinct one, so that compiled kernels are not
 * shared with the real device.
 */
export function withMethods(device: Device, methods: Partial<GPUDevice>): Device {
  const gpu = new Proxy(device.gpu, {
    get: (target, key) => {
      if (Object.hasOwn(methods, key)) return Reflect.get(methods, key) as unknown;
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
  return { ...device, gpu };
}

/** Returns the device with the text of every shader file rewritten. */
export function withShaders(device: Device, rewrite: (text: string, file: string) => string): Device {
  return { ...withMethods(device, {}), shaders: (file) => rewrite(device.shaders(file), file) };
}

/** Returns the device with the code of every kernel rewritten, its includes appended. */
export function withCode(device: Device, rewrite: (code: string, kernel: string) => string): Device {
  return withMethods(device, {
    createShaderModule: (module) =>
      device.gpu.createShaderModule({ ...module, code: rewrite(module.code, module.label ?? "") }),
  });
}
