/** Compilation of kernels into pipelines, one for each set of constants. */
import type { Device } from "./device.js";
import type { Kernel } from "./recording.js";
import type { DType } from "./tensor.js";

/** A kernel compiled for one set of constants. */
export interface Pipeline {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  readonly bindings: Readonly<Record<string, ParsedBinding>>;
}

interface Compiled {
  readonly module: GPUShaderModule;
  readonly layout: GPUBindGroupLayout;
  readonly pipelineLayout: GPUPipelineLayout;
  /** Whether the engine sets the workgroup size, by `override LANES`. */
  readonly needsLanes: boolean;
  readonly bindings: Readonly<Record<string, ParsedBinding>>;
}

interface Cache {
  readonly modules: Map<string, Promise<Compiled>>;
  readonly pipelines: Map<string, Promise<Pipeline>>;
}

const caches = new WeakMap<GPUDevice, Cache>();

function cacheOf(device: Device): Cache {
  let cache = caches.get(device.gpu);
  if (!cache) caches.set(device.gpu, (cache = { modules: new Map(), pipelines: new Map() }));
  return cache;
}

/** Returns the number of pipelines compiled on a device so far. */
export function pipelineCount(device: Device): number {
  return cacheOf(device).pipelines.size;
}

/** Returns the pipeline of a kernel with these constants, compiled once per device. Throws `file.wgsl:line:col message`. */
export function pipelineOf(
  device: Device,
  kernel: Kernel,
  constants: Readonly<Record<string, number>>,
): Promise<Pipeline> {
  const { modules, pipelines } = cacheOf(device);
  const file = `${kernel.file} for ${device.kernels}`; // lanes and includes depend on the kernel set
  const key = `${file} ${kernel.constants.map((name) => constants[name]).join(" ")}`;
  let pipeline = pipelines.get(key);
  if (!pipeline) {
    let compiled = modules.get(file);
    if (!compiled) modules.set(file, (compiled = compileModule(device, kernel)));
    pipelines.set(key, (pipeline = specialise(device, kernel, constants, compiled)));
  }
  return pipeline;
}

/**
 * Returns the threads per row of kernels with `override LANES`: several subgroups on a GPU, one vector on a CPU, which needs no
 * switching between threads at barriers (8 lanes beat 64 by 8x, bench rows "softmax", "layernorm").
 */
function rowLanes({ kernels }: Device): number {
  return kernels === "gpu" ? 64 : 8;
}

async function specialise(
  device: Device,
  kernel: Kernel,
  constants: Readonly<Record<string, number>>,
  compiling: Promise<Compiled>,
): Promise<Pipeline> {
  const { module, layout, pipelineLayout, bindings, needsLanes: choosesLanes } = await compiling;
  const given = Object.fromEntries(kernel.constants.map((name) => [name, constants[name]!]));
  try {
    const pipeline = await device.gpu.createComputePipelineAsync({
      label: kernel.file,
      layout: pipelineLayout,
      compute: {
        module,
        entryPoint: "main",
        constants: choosesLanes ? { ...given, LANES: rowLanes(device) } : given,
      },
    });
    return { pipeline, layout, bindings };
  } catch (error) {
    const list = Object.entries(given).map(([name, value]) => `${name} = ${value}`);
    const message = (error as Error).message;
    throw new Error(`${kernel.file}.wgsl with ${list.join(", ") || "no constants"}: ${message}`, { cause: error });
  }
}

async function compileModule(device: Device, kernel: Kernel): Promise<Compiled> {
  const { code, locate } = assemble(device, kernel.file);
  const found = parseBindings(code);
  checkDeclaration(kernel, found);
  device.gpu.pushErrorScope("validation");
  const module = device.gpu.createShaderModule({ label: kernel.file, code });
  const scope = device.gpu.popErrorScope();
  const { messages } = await module.getCompilationInfo();
  const error = messages.find((message) => message.type === "error");
  if (error) throw new Error(`${locate(error.lineNum)}:${error.linePos} ${error.message}`);
  const invalid = await scope;
  if (invalid) throw new Error(`${kernel.file}.wgsl: ${invalid.message}`);
  const layout = device.gpu.createBindGroupLayout({
    label: kernel.file,
    entries: found.map(({ number, writable }) => ({
      binding: number,
      visibility: GPUShaderStage.COMPUTE,
      buffer: { type: writable ? "storage" : "read-only-storage" },
    })),
  });
  const pipelineLayout = device.gpu.createPipelineLayout({ bindGroupLayouts: [layout] });
  return {
    module,
    layout,
    pipelineLayout,
    needsLanes: /override LANES\b/.test(code),
    bindings: Object.fromEntries(found.map((binding) => [binding.name, binding])),
  };
}

/** Returns the variant of an include for a device: reductions in subgroups, without workgroup memory if one subgroup is the workgroup. */
function variantOf(included: string, device: Device): string {
  if (included !== "reduce" || !device.features.has("subgroups")) return included;
  if (device.subgroupWidth === rowLanes(device)) return "reduce-subgroups";
  return device.kernels === "gpu" ? "reduce-any-subgroups" : included;
}

/**
 * Returns a file with its includes appended, so that its line numbers stay valid; `locate` names the file and line of a line
 * of the result. `enable` directives of includes move to the front, where WGSL requires them.
 */
function assemble(device: Device, file: string): { readonly code: string; readonly locate: (line: number) => string } {
  const parts: { file: string; firstLine: number }[] = [];
  let code = "";
  let enables = "";
  let lines = 0;
  const hoist = (directive: string) => {
    enables += `${directive} `;
    return "";
  };
  const append = (name: string) => {
    const text = parts.length === 0 ? read(name) : read(name).replaceAll(ENABLE, hoist);
    parts.push({ file: name, firstLine: lines });
    code += text + "\n";
    lines += text.split("\n").length;
    for (const [, named] of text.matchAll(/^\/\/ include (\S+)$/gm)) {
      const included = variantOf(named!, device);
      if (!parts.some((part) => part.file === included)) append(included);
    }
  };
  const read = (name: string) => {
    try {
      return device.shaders(name);
    } catch (error) {
      if (name === file) throw error;
      throw new Error(`${file}.wgsl includes ${name}: ${(error as Error).message}`, { cause: error });
    }
  };
  append(file);
  const locate = (line: number) => {
    const part = parts.findLast(({ firstLine }) => firstLine < line)!;
    return `${part.file}.wgsl:${line - part.firstLine}`;
  };
  return { code: enables + code, locate };
}

const ENABLE = /^enable [\w, ]+;/gm;

/** A storage binding, parsed from the WGSL file. */
interface ParsedBinding {
  readonly name: string;
  readonly number: number;
  readonly writable: boolean;
  readonly dtype: DType;
}

const BINDING =
  /@group\(0\)\s*@binding\((\d+)\)\s*var<storage,\s*(read|read_write)>\s*(\w+)\s*:\s*array<(\w+)(?:<(\w+)>)?>/g;

function parseBindings(code: string): ParsedBinding[] {
  return [...code.matchAll(BINDING)].map(([, number, access, name, type, inner]) => ({
    name: name!,
    number: Number(number),
    writable: access === "read_write",
    dtype: dtypeOf(inner ?? type!),
  }));
}

/** Returns the element type of `u32`, `f16`, or a vector such as `vec4u` or `vec4h`. */
function dtypeOf(type: string): DType {
  if (/u$|u32$/.test(type)) return "u32";
  return /h$|f16$/.test(type) ? "f16" : "f32";
}

function checkDeclaration(kernel: Kernel, found: readonly ParsedBinding[]): void {
  const inFile = found.map(({ name, writable }) => `${writable ? "read_write" : "read"} ${name}`);
  const inDeclaration = kernel.bindings.map(
    ({ name, access }) => `${access === "read" ? "read" : "read_write"} ${name}`,
  );
  if ([...inFile].sort().join() !== [...inDeclaration].sort().join()) {
    throw new Error(
      `${kernel.file}.wgsl binds [${inFile.join(", ")}], but its declaration says [${inDeclaration.join(", ")}]`,
    );
  }
}
