/** WebGPU for browser libraries, on the adapter that this project chooses. */
import { globals } from "webgpu";
import { chooseAdapter } from "../../engine/adapters/node.js";
import { adapterName } from "../../engine/core/device.js";

/** Devices opened by the libraries of this process. */
const devices: GPUDevice[] = [];
const adapters = new Set<string>();
const failures: string[] = [];

/** Defines `navigator.gpu`, without the features in `hidden`. */
export async function provideGpu(hidden: readonly string[]): Promise<void> {
  Object.assign(globalThis, globals);
  const { gpu } = await chooseAdapter();
  const navigator = {
    userAgent: `Node.js/${process.versions.node}`,
    language: "en-US",
    languages: ["en-US"],
    platform: process.platform,
    hardwareConcurrency: 1,
    gpu: {
      requestAdapter: () => openAdapter(hidden),
      getPreferredCanvasFormat: () => "bgra8unorm",
      wgslLanguageFeatures: gpu.wgslLanguageFeatures,
    },
  };
  Object.defineProperty(globalThis, "navigator", { value: navigator, configurable: true, writable: true });
}

async function openAdapter(hidden: readonly string[]): Promise<GPUAdapter> {
  const { adapter } = await chooseAdapter();
  const requestDevice = adapter.requestDevice.bind(adapter);
  return Object.defineProperties(adapter, {
    features: { value: new Set([...adapter.features].filter((feature) => !hidden.includes(feature))) },
    requestDevice: {
      async value(descriptor?: GPUDeviceDescriptor) {
        const device = await requestDevice(descriptor);
        device.addEventListener("uncapturederror", ({ error }) => void failures.push(error.message.trim()));
        devices.push(device);
        adapters.add(adapterName(adapter.info));
        return device;
      },
    },
  });
}

/** Returns the names of the adapters of open devices. */
export function adaptersInUse(): string {
  return [...adapters].join(" and ");
}

/** Throws the first device error since the last call. */
export function throwGpuFailure(): void {
  const [first] = failures.splice(0);
  if (first !== undefined) throw new Error(first);
}

/** Resolves when all submitted work of this process is done. */
export async function untilIdle(): Promise<void> {
  await Promise.all(devices.map(({ queue }) => queue.onSubmittedWorkDone()));
}
