/// <reference lib="esnext.disposable" preserve="true" />

/* eslint-disable @typescript-eslint/no-empty-object-type -- what these are is told by whoever has types of WebGPU */
declare global {
  // Merged with TypeScript's own types of WebGPU or those of @webgpu/types; a program that has neither needs no more than the names.
  interface GPU {}
  interface GPUAdapter {}
  interface GPUAdapterInfo {}
  interface GPUBindGroupLayout {}
  interface GPUBuffer {}
  interface GPUComputePipeline {}
  interface GPUDevice {}
  interface GPUSupportedLimits {}
}
/* eslint-enable @typescript-eslint/no-empty-object-type */

/** What stands behind an adapter; "software" is a driver on the CPU that has no other name here. */
export type AdapterKind = "gpu" | "lavapipe" | "swiftshader" | "software" | "null";

/**
 * For whom kernels are made where two files do one thing: "cpu" for drivers that run on the CPU, where a vector of threads works
 * alone and shared memory and barriers cost; "gpu" for thousands of threads that share tiles.
 */
export type KernelSet = "cpu" | "gpu";

/** Which way was the fastest on an adapter, by what was decided; measured by `dino tune`. */
export type Choices = Readonly<Record<string, string>>;

/** An opened GPU device, its abilities and the shader texts of the engine. */
export interface Device extends Disposable {
  readonly gpu: GPUDevice;
  readonly adapterKind: AdapterKind;
  readonly kernels: KernelSet;
  /** For people: what the driver calls itself. */
  readonly name: string;
  readonly limits: GPUSupportedLimits;
  /** Lanes of every subgroup; undefined where there are none, or where the driver may choose another width for each kernel. */
  readonly subgroupWidth: number | undefined;
  /** WebGPU's feature names, such as "shader-f16". */
  readonly features: ReadonlySet<string>;
  /** Whether subgroups multiply f16 matrices of 16 x 16 into f32, and workgroups have the memory to feed them. */
  readonly tensorCores: boolean;
  /** Ways of operations that were measured to be the fastest here; where none was, a rule decides. */
  readonly choices: Choices;
  /** Text of `shaders/NAME.wgsl`; throws for an unknown name. */
  readonly shaders: (name: string) => string;
  /** The first thing that went wrong outside any call: an uncaptured error, a lost device, or what `fail` reported. */
  readonly failure: () => Error | undefined;
  /** Remembers an error that cannot be thrown where it arises; only the first one counts. */
  readonly fail: (error: Error) => void;
  /** The longest that a submitted program may take to be done, in milliseconds. */
  readonly patienceMs: number;
}

/** The device is gone with all that was on it: the driver restarted, the card was unplugged. Another one may be opened. */
export class DeviceLostError extends Error {}

/** The device does not answer any more. What was asked of it may never end. */
export class HungDeviceError extends Error {
  constructor({ name, patienceMs }: Pick<Device, "name" | "patienceMs">) {
    super(
      `${name}: no answer for ${patienceMs / 1000} s, it seems to hang; work that takes longer needs a larger DINO_PATIENCE, in seconds`,
    );
  }
}

/** The device has no memory for a buffer, or none of that size. */
export class OutOfMemoryError extends Error {}

/** Whether an error, or what caused it, is of this class: errors of a device come as causes of those that calls throw. */
export function isCausedBy(error: unknown, type: new (...words: never[]) => Error): boolean {
  return error instanceof type || (error instanceof Error && isCausedBy(error.cause, type));
}

/** What to make of an adapter. */
export interface DeviceOptions {
  /** Text of `shaders/NAME.wgsl`; a browser fetches them beforehand from `dino-webgpu/shaders`. */
  readonly shaders: (name: string) => string;
  /** Instead of what suits the adapter: every set is right on every adapter, the other one is only slower. */
  readonly kernels?: KernelSet;
  /** Features to leave out although the adapter has them: the device is as on an adapter without. */
  readonly without?: readonly (typeof FEATURES)[number][];
  /** None if left out. */
  readonly choices?: Choices;
  /** Ten minutes on a GPU and an hour on a CPU if left out, where a step of a large network takes as long. */
  readonly patienceMs?: number;
}

/** The one width of an adapter's subgroups. */
function widthOf({ subgroupMinSize, subgroupMaxSize }: GPUAdapterInfo, features: readonly string[]) {
  return features.includes("subgroups") && subgroupMinSize === subgroupMaxSize ? subgroupMinSize : undefined;
}

/** Asked for at the most that the adapter offers; all others stay at WebGPU's defaults. */
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

/** Asked for where the adapter has them; no kernel may need one without another that does without. */
const FEATURES = ["timestamp-query", "shader-f16", "subgroups", "chromium-experimental-subgroup-matrix"] as const;

/**
 * Opens an adapter at its own limits and with the features the engine can use; an adapter opens once.
 * Throws what the adapter refuses. Knows nothing of Node, so that a browser runs it too.
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
  void gpu.lost.then(({ reason, message }) => {
    const why = [reason === "unknown" ? "" : ` (${reason})`, message && `: ${message.trim()}`].join("");
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

/** One shape of matrices that an adapter's subgroups multiply: M x K by K x N. */
export interface SubgroupMatrixConfig {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** The shapes that an adapter has; WebGPU's own types do not know of them yet. */
export function subgroupMatrixConfigs(info: GPUAdapterInfo): readonly SubgroupMatrixConfig[] {
  return (info as { readonly subgroupMatrixConfigs?: readonly SubgroupMatrixConfig[] }).subgroupMatrixConfigs ?? [];
}

/**
 * Of the shared tiles in `matmul-matrices.wgsl`, at 32 steps of k: two of 128 rows in f16 with their padding, results in f32. More
 * than those of `attention-matrices.wgsl`.
 */
const MATRIX_BYTES = 2 * 128 * (32 + 8) + 2 * 32 * (128 + 8) + 4 * 8 * 16 * 16;

function hasTensorCores(info: GPUAdapterInfo, { features, limits }: GPUDevice): boolean {
  const needed = ["shader-f16", "subgroups", "chromium-experimental-subgroup-matrix"];
  return (
    needed.every((feature) => features.has(feature)) &&
    limits.maxComputeWorkgroupStorageSize >= MATRIX_BYTES &&
    subgroupMatrixConfigs(info).some(
      ({ componentType, resultComponentType, M, N, K }) =>
        componentType === "f16" && resultComponentType === "f32" && [M, N, K].every((side) => side === 16),
    )
  );
}

/** Throws when something went wrong on the device since it was opened. */
export function throwIfFailed(device: Device): void {
  const failure = device.failure();
  if (failure) throw new Error(failure.message, { cause: failure });
}

/** Throws on a device whose kernels cannot compute in f16. */
export function expectF16({ name, features }: Device): void {
  if (!features.has("shader-f16")) throw new Error(`f16: ${name} has no shader-f16; compute in f32 there`);
}

/** Which kind of driver an adapter's own words belong to. */
export function adapterKind(info: GPUAdapterInfo): AdapterKind {
  if (info.device === "null-backend") return "null";
  if (info.architecture === "swiftshader") return "swiftshader";
  if (/^(llvmpipe|lavapipe)/i.test(info.description)) return "lavapipe";
  return info.isFallbackAdapter ? "software" : "gpu";
}

/** The words of a driver that tell one adapter from another: its card where it has one, and its version. */
export function adapterName(info: GPUAdapterInfo): string {
  const kind = adapterKind(info);
  const words = kind === "gpu" ? [info.device, info.description] : [info.description || info.device];
  const known = words.filter((word) => word !== "");
  if (known.length === 0) known.push(info.vendor, info.architecture);
  return known.filter((word) => word !== "").join(", ") || kind;
}

function message(error: unknown): string {
  return error instanceof Error ? error.message.trim() : String(error);
}
