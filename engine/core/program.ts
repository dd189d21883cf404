import { type Device, throwIfFailed } from "./device.js";
import { runStages, type Stage, splitStages } from "./host-callback.js";
import { allocate, copyOut, type Input } from "./memory.js";
import { check, type NonFinite } from "./nonfinite.js";
import { plan, type Plan } from "./plan.js";
import { byKernel, type KernelTime, type Span, timeline } from "./profile.js";
import { type Decision, type Dispatch, type Grid, refuseNesting, trace } from "./recording.js";
import { compile, encodeDispatch, locate, type Row } from "./rows.js";
import { bytesOf, formatShape, owner, sizeOf, type Storage, type Tensor, type Transient } from "./tensor.js";
import { withTimeout } from "./with-timeout.js";

/** A recorded function that can be run again and again. */
export interface Program<Names extends string = string> extends Disposable {
  /**
   * Submits every dispatch once; resolves when at most two runs are queued, throws if the device failed. Where the host has
   * work in the middle, that is done by then; throws what it threw, and where the run before has not ended.
   */
  run(): Promise<void>;
  /** The numbers of a returned tensor after the latest run. */
  read(name: Names): Promise<Float32Array>;
  /** A returned scalar after the latest run; throws where the tensor has more than one element. */
  readScalar(name: Names): Promise<number>;
  /** Runs once, timing each dispatch: milliseconds per kernel, the costliest first. */
  profile(): Promise<readonly KernelTime[]>;
  /** Runs once, timing each dispatch: when it began and how long it took, in order. */
  timeline(): Promise<readonly Span[]>;
  /** Runs once and finds the first kernel that wrote a NaN or an infinity; undefined where all is finite. */
  check(): Promise<NonFinite | undefined>;
  /** The program as text: each dispatch with its shapes and buffer, then the totals. */
  print(): string;
  /** How long the device has had nothing to do since the program was recorded but wait for the host's work, in milliseconds. */
  readonly waitedMs: () => number;
  readonly dispatches: number;
  /** Bytes of the pooled buffers. */
  readonly bytes: number;
  /** Bytes live at the fullest dispatch: the least that any plan needs. */
  readonly lowerBoundBytes: number;
  /** How it was decided where there was more than one way. */
  readonly decisions: readonly Decision[];
}

const MAX_QUEUED_RUNS = 2;

/**
 * Runs `fn` once, noting each dispatch; drops those nobody reads, plans memory, compiles every pipeline at once.
 * What `fn` returns can be read after a run; everything else it computes is gone.
 */
export function record<const Outputs extends Readonly<Record<string, Tensor>>>(
  device: Device,
  fn: () => Outputs,
): Promise<Program<keyof Outputs & string>> {
  refuseNesting(); // thrown at once, since inside a recording nobody awaits
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

/** Records, runs, reads and forgets: `{ name: numbers }` of what `fn` returns. */
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

/** The largest tenant, which is the first one, names the buffer in out-of-memory messages. */
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
  const crossings = stages.flatMap((stage) => (stage.kind === "coming" ? [stage.crossing] : []));
  const queued: Promise<unknown>[] = [];
  const idleStaging = new Map<string, GPUBuffer>();
  let disposed = false;

  const use = () => {
    if (disposed) throw new Error("program: used after it was disposed");
    throwIfFailed(device);
  };

  let waitedMs = 0;
  let isUnderWay = false;

  /** Goes through the stages; two runs at a time would mix what their host has. */
  const pass = async (launch: (rows: readonly Row[]) => void | Promise<void>): Promise<void> => {
    use();
    if (isUnderWay) throw new Error("program: run again before the last run has ended; await each one");
    isUnderWay = crossings.length > 0;
    await runStages(stages, launch, (ms) => (waitedMs += ms));
    isUnderWay = false;
  };

  const run = async () => {
    await pass((kernels) => {
      const encoder = device.gpu.createCommandEncoder();
      const encoding = encoder.beginComputePass();
      let pipeline: GPUComputePipeline | undefined;
      for (const row of kernels) {
        encodeDispatch(encoding, row, pipeline);
        ({ pipeline } = row);
      }
      encoding.end();
      device.gpu.queue.submit([encoder.finish()]);
    });
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

  const output = (name: Names): Tensor => {
    const x = Object.hasOwn(outputs, name) ? outputs[name] : undefined;
    if (!x) throw new Error(`read: no output "${name}"; record() returned ${Object.keys(outputs).join(", ")}`);
    if (x.dtype !== "f32") {
      const way = x.dtype === "f16" ? '; return cast(x, "f32") instead' : "";
      throw new Error(`read ${name}: expected f32, got ${x.dtype}${way}`);
    }
    return x;
  };

  const read = async (name: Names) => {
    use();
    const x = output(name);
    const { buffer, offset } = locate(x, bufferOf);
    const staging =
      idleStaging.get(name) ??
      device.gpu.createBuffer({
        label: `staging of ${name}`,
        size: bytesOf(x),
        usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
      });
    idleStaging.delete(name);
    try {
      return await copyOut(device, buffer, offset, staging);
    } finally {
      if (disposed || idleStaging.has(name)) staging.destroy();
      else idleStaging.set(name, staging);
    }
  };

  return {
    run,
    read,
    async readScalar(name) {
      const { shape } = output(name);
      if (sizeOf(shape) !== 1) throw new Error(`readScalar ${name}: expected [], got ${formatShape(shape)}`);
      return (await read(name))[0]!;
    },
    profile: async () => byKernel(await runTimed()),
    timeline: runTimed,
    async check() {
      use();
      return check(device, rows, bufferOf);
    },
    print: () => print(planned),
    waitedMs: () => waitedMs,
    dispatches: rows.length,
    bytes: planned.bytes,
    lowerBoundBytes: planned.lowerBoundBytes,
    decisions: parts.decisions,
    [Symbol.dispose]() {
      disposed = true;
      for (const buffer of [...buffers, ...idleStaging.values()]) buffer.destroy();
      for (const crossing of crossings) crossing[Symbol.dispose]();
      for (const constant of constants) constant[Symbol.dispose]();
    },
  };
}

function print({ dispatches, lifetimes, buffers, bytes, lowerBoundBytes }: Plan): string {
  const bufferOf = new Map<Storage, number>(lifetimes.map(({ storage, buffer }) => [storage, buffer]));
  const describe = ({ kernel, tensors }: Dispatch, wanted: (access: string) => boolean) =>
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
    const from = describe(dispatch, (access) => access === "read");
    const to = describe(dispatch, (access) => access !== "read");
    return `${String(i).padStart(4)}  ${dispatch.kernel.file}: ${from} -> ${to}  ${formatGrid(dispatch.grid)}`;
  });
  const mib = (n: number) => `${(n / 2 ** 20).toFixed(1)} MiB`;
  lines.push(
    `${dispatches.length} dispatches; ${buffers.length} buffers of ${mib(bytes)} in all (at least ${mib(lowerBoundBytes)} are live at once)`,
  );
  return lines.join("\n");
}

function formatGrid(grid: Grid): string {
  return grid.filter((groups, axis) => axis === 0 || groups > 1).join(" x ");
}
