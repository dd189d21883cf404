import { type Device, throwIfFailed } from "./device.js";
import { runStages, type Stage, splitStages } from "./host-callback.js";
import { allocate, copyOut, type Input } from "./memory.js";
import { check, type NonFinite } from "./nonfinite.js";
import { plan, type Plan } from "./plan.js";
import { byKernel, type KernelTime, type Span, timeline } from "./profile.js";
import { type Decision, type Dispatch, type Grid, refuseNesting, trace } from "./recording.js";
import { compile, locate, type Row } from "./rows.js";
import { createSubmitter } from "./submit.js";
import {
  bytesOf,
  formatShape,
  type HostDType,
  owner,
  sizeOf,
  type Storage,
  type Tensor,
  type Transient,
} from "./tensor.js";
import { withTimeout } from "./with-timeout.js";

/** A recorded function that can be run repeatedly. */
export interface Program<Names extends string = string> extends Disposable {
  /**
   * Submits every dispatch once. Resolves when at most two runs are queued and host callbacks are done. Throws if the device
   * failed, if a host callback throws, and if a program with host callbacks is already running.
   */
  run(): Promise<void>;
  /** Reads a returned f32 tensor after the latest run. */
  read(name: Names): Promise<Float32Array>;
  /** Reads a returned u32 tensor after the latest run. */
  readIntegers(name: Names): Promise<Uint32Array>;
  /** Reads a returned scalar after the latest run. Throws if the tensor has more than one element. */
  readScalar(name: Names): Promise<number>;
  /** Runs once, timing each dispatch; returns milliseconds per kernel, longest first. */
  profile(): Promise<readonly KernelTime[]>;
  /** Runs once, timing each dispatch; returns start and duration of each, in order. */
  timeline(): Promise<readonly Span[]>;
  /** Runs once and returns the first kernel that wrote a NaN or an infinity; undefined if all values are finite. */
  check(): Promise<NonFinite | undefined>;
  /** Formats the program as text: each dispatch with its shapes and buffers, then the totals. */
  print(): string;
  /** Returns what each dispatch launches, in order. */
  recorded(): readonly RecordedDispatch[];
  /** Returns the milliseconds that the device has been idle, waiting for host callbacks, since the program was recorded. */
  readonly waitedMs: () => number;
  readonly dispatches: number;
  /** Bytes of the pooled buffers. */
  readonly bytes: number;
  /** Peak of the live bytes, a lower bound for any plan. */
  readonly lowerBoundBytes: number;
  /** Decisions between several kernels for one operation. */
  readonly decisions: readonly Decision[];
}

/** A dispatch of a program: a kernel, its constants, and the tensors that it binds. */
export interface RecordedDispatch {
  readonly kernel: string;
  readonly grid: Grid;
  readonly constants: Readonly<Record<string, number>>;
  /** Shape, element type and size of each bound tensor, by binding name. */
  readonly tensors: Readonly<Record<string, Pick<Tensor, "shape" | "dtype"> & { readonly bytes: number }>>;
}

const MAX_QUEUED_RUNS = 2;

/**
 * Runs `fn` once, recording each dispatch; drops unused dispatches, plans memory, and compiles all pipelines in parallel.
 * Tensors that `fn` returns can be read after a run; all other results are gone.
 */
export function record<const Outputs extends Readonly<Record<string, Tensor>>>(
  device: Device,
  fn: () => Outputs,
): Promise<Program<keyof Outputs & string>> {
  refuseNesting(); // synchronous, since a promise made inside a recording may not be awaited
  return build(device, fn);
}

async function build<Outputs extends Readonly<Record<string, Tensor>>>(
  device: Device,
  fn: () => Outputs,
): Promise<Program<keyof Outputs & string>> {
  throwIfFailed(device);
  const { result, recording } = trace(device, fn);
  const planned = plan(recording, result);
  const buffers: GPUBuffer[] = [];
  try {
    const labels = bufferLabels(planned);
    planned.buffers.forEach((bytes, i) => buffers.push(allocate(device, bytes, labels.get(i)!)));
    const bufferOf = new Map<Transient, GPUBuffer>(
      planned.lifetimes.map(({ storage, buffer }) => [storage, buffers[buffer]!]),
    );
    const kernels = planned.dispatches.filter(({ work }) => !work);
    const rows = await compile(device, kernels, bufferOf);
    throwIfFailed(device);
    const { constants, decisions } = recording;
    const stages = splitStages(device, planned.dispatches, rows, (x) => locate(x, bufferOf));
    const made = {
      planned,
      rows,
      stages,
      outputs: result,
      buffers,
      bufferOf,
      constants,
      decisions: [...decisions.values()],
    };
    return program(device, made);
  } catch (error) {
    for (const buffer of buffers) buffer.destroy();
    for (const constant of recording.constants) constant[Symbol.dispose]();
    throw error;
  }
}

/** Records and runs `fn` once, and returns the values of its outputs by name. */
export function evaluate<const Outputs extends Readonly<Record<string, Tensor>>>(
  device: Device,
  fn: () => Outputs,
): Promise<Record<keyof Outputs & string, Float32Array>> {
  refuseNesting();
  return once(device, fn);
}

async function once<Outputs extends Readonly<Record<string, Tensor>>>(
  device: Device,
  fn: () => Outputs,
): Promise<Record<keyof Outputs & string, Float32Array>> {
  type Names = keyof Outputs & string;
  let names: Names[] = [];
  using made = await build(device, () => {
    const outputs = fn();
    names = Object.keys(outputs);
    return outputs;
  });
  await made.run();
  const values = {} as Record<Names, Float32Array>;
  for (const name of names) values[name] = await made.read(name);
  return values;
}

/** Returns labels for out-of-memory messages: each buffer is named after its largest tenant, the first one. */
function bufferLabels({ lifetimes }: Plan): ReadonlyMap<number, string> {
  return new Map(lifetimes.toReversed().map(({ buffer, storage }) => [buffer, storage.label]));
}

interface Parts {
  readonly planned: Plan;
  readonly rows: readonly Row[];
  readonly stages: readonly Stage<Row>[];
  readonly outputs: Readonly<Record<string, Tensor>>;
  readonly buffers: readonly GPUBuffer[];
  readonly bufferOf: ReadonlyMap<Transient, GPUBuffer>;
  readonly constants: readonly Input[];
  readonly decisions: readonly Decision[];
}

function program<Names extends string>(device: Device, parts: Parts): Program<Names> {
  const { planned, rows, stages, outputs, buffers, bufferOf, constants } = parts;
  const callbacks = stages.flatMap((stage) => (stage.kind === "receive" ? [stage.callback] : []));
  const queued: Promise<unknown>[] = [];
  const staging = createStagingPool(device);
  const submit = createSubmitter(device);
  let disposed = false;
  let waitedMs = 0;
  let isRunning = false;

  const expectUsable = () => {
    if (disposed) throw new Error("program: used after it was disposed");
    throwIfFailed(device);
  };

  /** Runs the stages; overlapping runs would share the staging memory of the host callbacks. */
  const pass = async (launch: (rows: readonly Row[]) => void | Promise<void>): Promise<void> => {
    expectUsable();
    if (isRunning) throw new Error("program: run again before the last run has ended; await each one");
    isRunning = callbacks.length > 0;
    await runStages(stages, launch, (ms) => (waitedMs += ms));
    isRunning = false;
  };

  const run = async () => {
    await pass(submit);
    queued.push(device.gpu.queue.onSubmittedWorkDone());
    if (queued.length > MAX_QUEUED_RUNS) await withTimeout(device, queued.shift()!);
    throwIfFailed(device);
  };

  const runTimed = async () => {
    const spans: Span[] = [];
    await pass(async (kernels) => void spans.push(...(await timeline(device, kernels))));
    const beganMs = spans[0]?.startMs ?? 0;
    return spans.map((span) => ({ ...span, startMs: span.startMs - beganMs }));
  };

  const read = async (name: Names, dtype: HostDType = "f32") => {
    expectUsable();
    const x = outputNamed(outputs, name, dtype);
    const { buffer, offset } = locate(x, bufferOf);
    const target = staging.take(name, bytesOf(x));
    try {
      return await copyOut(device, buffer, offset, target);
    } finally {
      staging.release(name, target);
    }
  };

  return {
    run,
    read: (name) => read(name),
    readIntegers: async (name) => new Uint32Array((await read(name, "u32")).buffer),
    async readScalar(name) {
      const { shape } = outputNamed(outputs, name, "f32");
      if (sizeOf(shape) !== 1) throw new Error(`readScalar ${name}: expected [], got ${formatShape(shape)}`);
      return (await read(name))[0]!;
    },
    profile: async () => byKernel(await runTimed()),
    timeline: runTimed,
    async check() {
      expectUsable();
      return check(device, rows, bufferOf);
    },
    print: () => print(planned),
    recorded: () => planned.dispatches.map(describe),
    waitedMs: () => waitedMs,
    dispatches: rows.length,
    bytes: planned.bytes,
    lowerBoundBytes: planned.lowerBoundBytes,
    decisions: parts.decisions,
    [Symbol.dispose]() {
      disposed = true;
      for (const buffer of buffers) buffer.destroy();
      for (const owned of [staging, ...callbacks, ...constants]) owned[Symbol.dispose]();
    },
  };
}

/** Returns an output that the host can read. Throws for an unknown name, and for another dtype. */
function outputNamed(outputs: Parts["outputs"], name: string, dtype: HostDType): Tensor {
  const x = Object.hasOwn(outputs, name) ? outputs[name] : undefined;
  if (!x) throw new Error(`read: no output "${name}"; record() returned ${Object.keys(outputs).join(", ")}`);
  if (x.dtype !== dtype) {
    const remedy = x.dtype === "f16" ? '; return cast(x, "f32") instead' : "";
    throw new Error(`read ${name}: expected ${dtype}, got ${x.dtype}${remedy}`);
  }
  return x;
}

/** Staging buffers for reads: one per output is reused, simultaneous reads of one output get further ones. */
interface StagingPool extends Disposable {
  readonly take: (name: string, bytes: number) => GPUBuffer;
  readonly release: (name: string, buffer: GPUBuffer) => void;
}

function createStagingPool(device: Device): StagingPool {
  const idle = new Map<string, GPUBuffer>();
  let disposed = false;
  return {
    take(name, bytes) {
      const reused = idle.get(name);
      idle.delete(name);
      if (reused) return reused;
      const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
      return device.gpu.createBuffer({ label: `staging of ${name}`, size: bytes, usage });
    },
    release(name, buffer) {
      if (disposed || idle.has(name)) buffer.destroy();
      else idle.set(name, buffer);
    },
    [Symbol.dispose]() {
      disposed = true;
      for (const buffer of idle.values()) buffer.destroy();
    },
  };
}

function print({ dispatches, lifetimes, buffers, bytes, lowerBoundBytes }: Plan): string {
  const bufferOf = new Map<Storage, number>(lifetimes.map(({ storage, buffer }) => [storage, buffer]));
  const bindingsOf = ({ kernel, tensors }: Dispatch, wanted: (access: string) => boolean) =>
    kernel.bindings
      .filter(({ access }) => wanted(access))
      .map(({ name }) => {
        const x = tensors[name]!;
        const storage = owner(x.storage);
        const home = storage.kind === "resident" ? storage.label : `#${bufferOf.get(storage)}`;
        return `${name} ${formatShape(x.shape)} ${home}`;
      })
      .join(", ");
  const lines = dispatches.map((dispatch, i) => {
    const from = bindingsOf(dispatch, (access) => access === "read");
    const to = bindingsOf(dispatch, (access) => access !== "read");
    return `${String(i).padStart(4)}  ${dispatch.kernel.file}: ${from} -> ${to}  ${formatGrid(dispatch.grid)}`;
  });
  lines.push(
    `${dispatches.length} dispatches; ${buffers.length} buffers of ${formatMiB(bytes)} in all (at least ${formatMiB(lowerBoundBytes)} are live at once)`,
  );
  return lines.join("\n");
}

function describe({ kernel, grid, constants, tensors }: Dispatch): RecordedDispatch {
  const bound = kernel.bindings.map(({ name }) => {
    const x = tensors[name]!;
    return [name, { shape: x.shape, dtype: x.dtype, bytes: bytesOf(x) }] as const;
  });
  return { kernel: kernel.file, grid, constants, tensors: Object.fromEntries(bound) };
}

function formatMiB(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

function formatGrid(grid: Grid): string {
  return grid.filter((groups, axis) => axis === 0 || groups > 1).join(" x ");
}
