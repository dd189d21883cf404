/**
 * Opens devices through the browser's WebGPU.
 * @module dino-webgpu/engine/browser
 */
import { createDevice, type Device, type DeviceOptions } from "../core/device.js";
import { shaderTexts } from "./shader-texts.js";

export { type AdapterKind, type KernelSet, type SubgroupMatrixConfig, subgroupMatrixConfigs } from "../core/device.js";

// Symbols that `using` needs, which Safari lacks.
for (const name of ["dispose", "asyncDispose"] as const) {
  if (!(name in Symbol)) Object.defineProperty(Symbol, name, { value: Symbol.for(`Symbol.${name}`) });
}

/** The globals of a page or worker that WebGPU depends on. */
export interface BrowserEnvironment {
  /** Whether the page was loaded over https or from localhost; browsers offer WebGPU only to these. */
  readonly isSecureContext?: boolean;
  readonly navigator?: { readonly gpu?: GPU };
}

/**
 * Opens the adapter of the browser, the faster one of two, in a page or a worker. Throws, with a remedy, if there is no WebGPU
 * or no adapter. Dispose of the device to free its memory.
 */
export async function openDevice(
  options: Omit<DeviceOptions, "shaders"> = {},
  environment: BrowserEnvironment = globalThis as BrowserEnvironment,
): Promise<Device> {
  const adapter = await findAdapter(environment);
  return createDevice(adapter, { shaders: shaderText, ...options });
}

async function findAdapter({ isSecureContext, navigator }: BrowserEnvironment): Promise<GPUAdapter> {
  const gpu = navigator?.gpu;
  if (!gpu) {
    throw new Error(
      isSecureContext === false
        ? "WebGPU: browsers offer it to secure pages only; open this page over https, or from localhost"
        : "WebGPU: this browser has none, or has it switched off; take a recent Chrome, Edge, Safari or Firefox",
    );
  }
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) {
    throw new Error(
      "WebGPU: this browser offers no adapter; switch its hardware acceleration on and update the graphics driver " +
        "(chrome://gpu or about:support say what is wrong), or start Chrome with --enable-unsafe-swiftshader for a slow one",
    );
  }
  return adapter;
}

/** Returns the source of `shaders/NAME.wgsl`. Throws if there is no such file. */
export function shaderText(name: string): string {
  const text = shaderTexts.get(name);
  if (text === undefined) {
    throw new Error(`shaders/${name}.wgsl does not exist; there are ${[...shaderTexts.keys()].join(", ")}`);
  }
  return text;
}
