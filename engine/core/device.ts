/// <reference lib="esnext.disposable" preserve="true" />

/* eslint-disable @typescript-eslint/no-empty-object-type -- placeholders, merged with real WebGPU types */
declare global {
  // Merged with the WebGPU types of TypeScript or @webgpu/types. A program without either needs only the names.
  interface GPU {}
  interface GPUAdapter {}
  interface GPUAdapterInfo {}
  interface GPUBindGroup {}
  interface GPUBindGroupLayout {}
  interface GPUBuffer {}
  interface GPUComputePassEncoder {}
  interface GPUComputePipeline {}
  interface GPUDevice {}
  interface GPUSupportedLimits {}
}
/* eslint-enable @typescript-eslint/no-empty-object-type */

/** Kind of hardware or driver behind an adapter; "software" is any CPU driver other than the named ones. */
export type AdapterKind = "gpu" | "lavapipe" | "swiftshader" | "software" | "null";

/**
 * Kernel variants for operations that have two: "cpu" for drivers on the CPU, where each vector of threads works alone and
 * shared memory and barriers are expensive; "gpu" for thousands of threads that share tiles.
 */
export type KernelSet = "cpu" | "gpu";

/** Fastest way of each tunable operation on an adapter, by decision name; measured by `dino tune`. */
export type Choices = Readonly<Record<string, string>>;

/** An open GPU device, its capabilities, and the shader sources of the engine. */
export interface Device extends Disposable {
  readonly gpu: GPUDevice;
  readonly adapterKind: AdapterKind;
  readonly kernels: KernelSet;
  /** Human-readable name that the driver reports. */
  readonly name: string;
  readonly limits: GPUSupportedLimits;
  /** Lanes per subgroup; undefined without subgroups, or if the driver chooses the width per kernel. */
  readonly subgroupWidth: number | undefined;
  /** WebGPU's feature names, such as "shader-f16". */
  readonly features: ReadonlySet<string>;
  /** Whether subgroups multiply 16 x 16 f16 matrices into f32, and workgroup memory is large enough to feed them. */
  readonly tensorCores: boolean;
  /** Whether subgroups multiply 8 x 8 f32 matrices, as on Apple's GPUs. */
  readonly matricesOf8: boolean;
  /** Capabilities that the adapter claims but gets wrong, a sentence each; they are not used. */
  readonly faults: readonly string[];
  /** Measured choices between ways of an operation; a built-in rule decides the others. */
  readonly choices: Choices;
  /** Returns the source of `shaders/NAME.wgsl`; throws for an unknown name. */
  readonly shaders: (name: string) => string;
  /** Returns the first asynchronous error: an uncaptured error, a lost device, or an error given to `fail`. */
  readonly failure: () => Error | undefined;
  /** Records an error that cannot be thrown where it occurs; only the first is kept. */
  readonly fail: (error: Error) => void;
  /** Timeout of a submitted program, in milliseconds. */
  readonly patienceMs: number;
}

/** Thrown after the device and its memory were lost: the driver restarted, or the card was unplugged. Another device may be opened. */
export class DeviceLostError extends Error {}

/** Thrown when the device does not answer within its timeout; submitted work may never end. */
export class HungDeviceError extends Error {
  constructor({ name, patienceMs }: Pick<Device, "name" | "patienceMs">) {
    super(
      `${name}: no answer for ${patienceMs / 1000} s, it seems to hang; work that takes longer needs a larger DINO_PATIENCE, in seconds`,
    );
  }
}

/** Thrown when the device cannot allocate a buffer, or no buffer of that size. */
export class OutOfMemoryError extends Error {}

/** Whether an error or one of its causes is of this class; calls wrap device errors as causes. */
export function isCausedBy(error: unknown, type: new (...args: never[]) => Error): boolean {
  return error instanceof type || (error instanceof Error && isCausedBy(error.cause, type));
}

/** Options of `createDevice`. */
export interface DeviceOptions {
  /** Returns the source of `shaders/NAME.wgsl`; a browser fetches the files beforehand from `dino-webgpu/shaders`. */
  readonly shaders: (name: string) => string;
  /** Kernel set; by default the one that suits the adapter. Both give correct results on every adapter, the other is slower. */
  readonly kernels?: KernelSet;
  /** Features not to request even if the adapter has them. */
  readonly without?: readonly (typeof FEATURES)[number][];
  /** Measured choices; none by default. */
  readonly choices?: Choices;
  /** Timeout of a submitted program; default 10 minutes on a GPU, 1 hour on a CPU, where a step of a large network takes that long. */
  readonly patienceMs?: number;
}

/** Returns the subgroup width of an adapter, if it has exactly one. */
function widthOf({ subgroupMinSize, subgroupMaxSize }: GPUAdapterInfo, features: readonly string[]) {
  return features.includes("subgroups") && subgroupMinSize === subgroupMaxSize ? subgroupMinSize : undefined;
}

/** Limits requested at the adapter's maximum; all others keep WebGPU's defaults. */
const LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
  "maxComputeWorkgroupSizeZ",
  "maxComputeWorkgroupsPerDimension",
] as const satisfies readonly (keyof GPUSupportedLimits)[];

/** Features requested if available; every kernel that needs one has an alternative that does not. */
const FEATURES = ["timestamp-query", "shader-f16", "subgroups", "chromium-experimental-subgroup-matrix"] as const;

/**
 * Opens an adapter with its maximum limits and the features that the engine uses; an adapter can be opened once.
 * Throws if the adapter refuses. Runs in browsers and Node.
 */
export async function createDevice(
  adapter: GPUAdapter,
  { shaders, kernels, without = [], choices = {}, patienceMs }: DeviceOptions,
): Promise<Device> {
  const { info } = adapter;
  const kind = adapterKind(info);
  const name = adapterName(info);
  const features = FEATURES.filter((feature) => adapter.features.has(feature) && !without.includes(feature));
  const gpu = await adapter
    .requestDevice({
      requiredLimits: Object.fromEntries(LIMITS.map((limit) => [limit, adapter.limits[limit]])),
      requiredFeatures: features as GPUFeatureName[], // subgroup matrices are not in WebGPU's own list yet
    })
    .catch((error: unknown) => {
      throw new Error(`${name}: no device: ${message(error)}`, { cause: error });
    });

  let failure: Error | undefined;
  const fail = (error: Error) => void (failure ??= error);
  gpu.addEventListener("uncapturederror", (event) => {
    event.preventDefault(); // thrown by the next run or read, so a browser need not print it too
    fail(new Error(`${name}: ${event.error.message.trim()}`));
  });
  void gpu.lost.then(({ reason, message: details }) => {
    const why = [reason === "unknown" ? "" : ` (${reason})`, details && `: ${details.trim()}`].join("");
    fail(new DeviceLostError(`${name}: the device was lost${why}`));
  });

  return {
    gpu,
    adapterKind: kind,
    kernels: kernels ?? (kind === "gpu" || kind === "null" ? "gpu" : "cpu"),
    name,
    subgroupWidth: widthOf(info, features),
    limits: gpu.limits,
    features: new Set(gpu.features),
    tensorCores: hasTensorCores(info, gpu),
    matricesOf8: kind === "gpu" && hasMatricesOf8(info, gpu),
    faults: [],
    choices,
    shaders,
    patienceMs: patienceMs ?? (kind === "gpu" ? 600_000 : 3_600_000),
    failure: () => failure,
    fail,
    [Symbol.dispose]() {
      fail(new Error(`${name}: the device was disposed`));
      gpu.destroy();
    },
  };
}

/** Shape and types of a subgroup matrix multiplication: M x K by K x N. */
export interface SubgroupMatrixConfig {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** Returns the subgroup matrix shapes of an adapter; the WebGPU types lack them so far. */
export function subgroupMatrixConfigs(info: GPUAdapterInfo): readonly SubgroupMatrixConfig[] {
  return (info as { readonly subgroupMatrixConfigs?: readonly SubgroupMatrixConfig[] }).subgroupMatrixConfigs ?? [];
}

/**
 * Bytes of workgroup memory in `matmul-matrices.wgsl`: two padded f16 tiles of 128 rows and 32 steps of k, and f32 results.
 * `attention-matrices.wgsl` needs less.
 */
const MATRIX_BYTES = 2 * 2 * 128 * (32 + 8) + 4 * 8 * 16 * 16;

function hasTensorCores(info: GPUAdapterInfo, gpu: GPUDevice): boolean {
  const hasMemory = gpu.limits.maxComputeWorkgroupStorageSize >= MATRIX_BYTES;
  return gpu.features.has("shader-f16") && hasMemory && multiplies(info, gpu, { of: "f16", side: 16 });
}

function hasMatricesOf8(info: GPUAdapterInfo, gpu: GPUDevice): boolean {
  return multiplies(info, gpu, { of: "f32", side: 8 });
}

/** Whether subgroups multiply square matrices into f32. */
function multiplies(
  info: GPUAdapterInfo,
  { features }: GPUDevice,
  { of, side }: { readonly of: "f16" | "f32"; readonly side: number },
): boolean {
  return (
    features.has("subgroups") &&
    features.has("chromium-experimental-subgroup-matrix") &&
    subgroupMatrixConfigs(info).some(
      ({ componentType, resultComponentType, M, N, K }) =>
        componentType === of && resultComponentType === "f32" && [M, N, K].every((each) => each === side),
    )
  );
}

/** Throws the asynchronous error of a device, if any. */
export function throwIfFailed(device: Device): void {
  const failure = device.failure();
  if (failure) throw new Error(failure.message, { cause: failure });
}

/** Throws on a device whose kernels cannot compute in f16. */
export function expectF16({ name, features }: Device): void {
  if (!features.has("shader-f16")) throw new Error(`f16: ${name} has no shader-f16; compute in f32 there`);
}

/** Returns the kind of an adapter, from the strings its driver reports. */
export function adapterKind(info: GPUAdapterInfo): AdapterKind {
  if (info.device === "null-backend") return "null";
  if (info.architecture === "swiftshader") return "swiftshader";
  if (/^(llvmpipe|lavapipe)/i.test(info.description)) return "lavapipe";
  return info.isFallbackAdapter ? "software" : "gpu";
}

/** Returns a name that identifies an adapter: its card, if any, and the driver version. */
export function adapterName(info: GPUAdapterInfo): string {
  const kind = adapterKind(info);
  const parts = kind === "gpu" ? [info.device, info.description] : [info.description || info.device];
  const known = parts.filter((part) => part !== "");
  if (known.length === 0) known.push(info.vendor, info.architecture);
  return known.filter((part) => part !== "").join(", ") || kind;
}

function message(error: unknown): string {
  return error instanceof Error ? error.message.trim() : String(error);
}
