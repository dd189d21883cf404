import { type Device, throwIfFailed } from "./device.js";
import { elementGrid, type Grid, kernel, type Pipeline, pipelineOf } from "./kernel.js";
import { allocate, copyOut, type Input } from "./memory.js";
import { offsetInOwner, owner, plan, type Plan } from "./plan.js";
import { type Decision, type Dispatch, refuseNesting, writeDown } from "./recording.js";
import { bytesOf, formatShape, type Resident, sizeOf, type Storage, type Tensor, type Transient } from "./tensor.js";
import { goThrough, type Stage, stagesOf } from "./stages.js";
import { answerOf } from "./watchdog.js";

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

/** What a kernel took, all its dispatches together. */
export interface KernelTime {
  readonly kernel: string;
  readonly calls: number;
  readonly ms: number;
  /** Part of the whole, 0..1. */
  readonly share: number;
}

/** One dispatch on the clock. */
export interface Span {
  readonly kernel: string;
  /** Shape of what it wrote first. */
  readonly shape: readonly number[];
  /** What was decided for it, where there was a choice. */
  readonly decision: string | undefined;
  /** After the first dispatch began. */
  readonly startMs: number;
  readonly ms: number;
}

/** The first number of a run that is infinite or none. */
export interface NonFinite {
  /** Kernel and binding that hold the number, or the name of the input that came so. */
  readonly where: string;
  readonly shape: readonly number[];
  /** Position among the program's dispatches; -1 for an input. */
  readonly dispatch: number;
}

interface Row {
  readonly dispatch: Dispatch;
  readonly pipeline: GPUComputePipeline;
  readonly bindGroup: GPUBindGroup;
}

const MAX_QUEUED_RUNS = 2;

const nonFinite = kernel("nonfinite", { reads: ["x"], writes: [], updates: ["found"], constants: [] });
const nonFiniteHalf = kernel("nonfinite-f16", { reads: ["x"], writes: [], updates: ["found"], constants: ["ODD"] });

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
  const { result, recording } = writeDown(device, fn);
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
    const stages = stagesOf(device, planned.dispatches, rows, (x) => place(x, bufferOf));
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
  using program = await build(device, () => {
    const outputs = fn();
    names = Object.keys(outputs);
    return outputs;
  });
  await program.run();
  const values = {} as Record<Names, Float32Array>;
  for (const name of names) values[name] = await program.read(name);
  return values;
}

/** The largest tenant, which is the first one, names the buffer in out-of-memory messages. */
function bufferLabels({ lifetimes }: Plan): ReadonlyMap<number, string> {
  return new Map(lifetimes.toReversed().map(({ buffer, storage }) => [buffer, storage.label]));
}

async function compile(
  device: Device,
  dispatches: readonly Dispatch[],
  bufferOf: ReadonlyMap<Transient, GPUBuffer>,
): Promise<Row[]> {
  const compiling = dispatches.map((d) => pipelineOf(device, d.kernel, d.constants));
  const settled = await answerOf(device, Promise.allSettled(compiling));
  throwIfFailed(device);
  return settled.map((pipeline, i) => {
    if (pipeline.status === "rejected") throw pipeline.reason;
    const dispatch = dispatches[i]!;
    return { dispatch, pipeline: pipeline.value.pipeline, bindGroup: bind(device, dispatch, pipeline.value, bufferOf) };
  });
}

function bind(
  device: Device,
  { kernel, tensors }: Dispatch,
  { layout, bindings }: Pipeline,
  bufferOf: ReadonlyMap<Transient, GPUBuffer>,
): GPUBindGroup {
  return device.gpu.createBindGroup({
    label: kernel.file,
    layout,
    entries: kernel.bindings.map(({ name }) => {
      const { number, dtype } = bindings[name]!;
      const x = tensors[name]!;
      if (x.dtype !== dtype) throw new Error(`${kernel.file}: ${name} holds ${x.dtype}, the kernel reads ${dtype}`);
      return { binding: number, resource: { ...place(x, bufferOf), size: bytesOf(x) } };
    }),
  });
}

function place(
  x: Tensor,
  bufferOf: ReadonlyMap<Transient, GPUBuffer>,
): { readonly buffer: GPUBuffer; readonly offset: number } {
  const storage = owner(x.storage);
  const buffer = storage.kind === "resident" ? storage.buffer : bufferOf.get(storage);
  return { buffer: buffer!, offset: offsetInOwner(x) };
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
    await goThrough(stages, launch, (ms) => (waitedMs += ms));
    isUnderWay = false;
  };

  const run = async () => {
    await pass((rows) => {
      const encoder = device.gpu.createCommandEncoder();
      const pass = encoder.beginComputePass();
      let pipeline: GPUComputePipeline | undefined;
      for (const row of rows) {
        encode(pass, row, pipeline);
        ({ pipeline } = row);
      }
      pass.end();
      device.gpu.queue.submit([encoder.finish()]);
    });
    queued.push(device.gpu.queue.onSubmittedWorkDone());
    if (queued.length > MAX_QUEUED_RUNS) await answerOf(device, queued.shift()!);
    throwIfFailed(device);
  };

  const timed = async () => {
    const spans: Span[] = [];
    await pass(async (rows) => void spans.push(...(await timeline(device, rows))));
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
    const { buffer, offset } = place(x, bufferOf);
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
    profile: async () => byKernel(await timed()),
    timeline: timed,
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

/** Notes a row in a pass where `current` is the pipeline already; each call into the driver costs the host a microsecond. */
function encode(
  pass: GPUComputePassEncoder,
  { pipeline, bindGroup, dispatch }: Row,
  current?: GPUComputePipeline,
): void {
  if (pipeline !== current) pass.setPipeline(pipeline);
  pass.setBindGroup(0, bindGroup);
  const [x, y, z] = dispatch.grid;
  if (y === 1 && z === 1) pass.dispatchWorkgroups(x);
  else pass.dispatchWorkgroups(x, y, z);
}

/** Timestamps where the adapter has them, otherwise the host's clock around each dispatch. */
async function timeline(device: Device, rows: readonly Row[]): Promise<Span[]> {
  const timestamps = device.features.has("timestamp-query") && device.adapterKind !== "null"; // which makes them up
  const times = timestamps ? await timeOnDevice(device, rows) : await timeOnHost(device, rows);
  return times.map(({ beginMs, endMs }, i) => {
    const { kernel, tensors, decision } = rows[i]!.dispatch;
    const written = kernel.bindings.find(({ access }) => access !== "read")!;
    const { shape } = tensors[written.name]!;
    return { kernel: kernel.file, shape, decision, startMs: beginMs, ms: endMs - beginMs };
  });
}

/** Time by kernel, the costliest first. */
export function byKernel(spans: readonly Span[]): KernelTime[] {
  const kernels = new Map<string, { calls: number; ms: number }>();
  for (const { kernel, ms } of spans) {
    const sum = kernels.get(kernel) ?? { calls: 0, ms: 0 };
    kernels.set(kernel, { calls: sum.calls + 1, ms: sum.ms + ms });
  }
  const total = spans.reduce((sum, { ms }) => sum + ms, 0);
  return [...kernels]
    .map(([kernel, { calls, ms }]) => ({ kernel, calls, ms, share: total > 0 ? ms / total : 0 }))
    .sort((a, b) => b.ms - a.ms);
}

/** A timeline for chrome://tracing or https://ui.perfetto.dev, in the trace event format: times in microseconds. */
export function chromeTrace(spans: readonly Span[], device: string): string {
  const events = spans.map(({ kernel, shape, startMs, ms }) => ({
    ...{ name: kernel, cat: "kernel", ph: "X", pid: 1, tid: 1 },
    ...{ ts: 1000 * startMs, dur: 1000 * ms, args: { shape: formatShape(shape) } },
  }));
  const named = { name: "process_name", ph: "M", pid: 1, args: { name: device } };
  return JSON.stringify({ displayTimeUnit: "ms", traceEvents: [named, ...events] });
}

interface Interval {
  readonly beginMs: number;
  readonly endMs: number;
}

const MAX_QUERIES = 4096;

async function timeOnDevice(device: Device, rows: readonly Row[]): Promise<Interval[]> {
  const times: Interval[] = [];
  for (let start = 0; start < rows.length; start += MAX_QUERIES / 2) {
    const part = rows.slice(start, start + MAX_QUERIES / 2);
    const querySet = device.gpu.createQuerySet({ type: "timestamp", count: 2 * part.length });
    const bytes = 16 * part.length;
    const resolved = device.gpu.createBuffer({
      size: bytes,
      usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
    });
    const target = device.gpu.createBuffer({ size: bytes, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
    const encoder = device.gpu.createCommandEncoder();
    part.forEach((row, i) => {
      const pass = encoder.beginComputePass({
        timestampWrites: { querySet, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 },
      });
      encode(pass, row);
      pass.end();
    });
    encoder.resolveQuerySet(querySet, 0, 2 * part.length, resolved, 0);
    device.gpu.queue.submit([encoder.finish()]);
    const nanoseconds = new BigInt64Array((await copyOut(device, resolved, 0, target)).buffer);
    const ms = (query: number) => Number(nanoseconds[query]!) / 1e6;
    part.forEach((_, i) => times.push({ beginMs: ms(2 * i), endMs: ms(2 * i + 1) }));
    for (const owned of [querySet, resolved, target]) owned.destroy();
  }
  return times;
}

async function timeOnHost(device: Device, rows: readonly Row[]): Promise<Interval[]> {
  const times: Interval[] = [];
  for (const row of rows) {
    const beginMs = performance.now();
    const encoder = device.gpu.createCommandEncoder();
    const pass = encoder.beginComputePass();
    encode(pass, row);
    pass.end();
    device.gpu.queue.submit([encoder.finish()]);
    await answerOf(device, device.gpu.queue.onSubmittedWorkDone());
    times.push({ beginMs, endMs: performance.now() });
  }
  throwIfFailed(device);
  return times;
}

/** Looks at every resident tensor first, then at what each dispatch wrote, right after it. */
async function check(
  device: Device,
  rows: readonly Row[],
  bufferOf: ReadonlyMap<Transient, GPUBuffer>,
): Promise<NonFinite | undefined> {
  const stride = device.limits.minStorageBufferOffsetAlignment;
  const probes: { finding: NonFinite; x: Tensor; after: number }[] = [];
  const seen = new Map<GPUBuffer, Set<number>>();
  rows.forEach(({ dispatch: { kernel, tensors } }, index) => {
    for (const { name, access } of kernel.bindings) {
      const x = tensors[name]!;
      if (x.dtype === "u32") continue;
      const { storage } = x;
      if (storage.kind === "resident" && access !== "write" && !seen.get(storage.buffer)?.has(x.offset)) {
        seen.set(storage.buffer, (seen.get(storage.buffer) ?? new Set()).add(x.offset));
        probes.push({
          finding: { where: `${storage.label} (as it came in)`, shape: x.shape, dispatch: -1 },
          x,
          after: -1,
        });
      }
      if (access !== "read")
        probes.push({
          finding: { where: `${kernel.file}: ${name}`, shape: x.shape, dispatch: index },
          x,
          after: index,
        });
    }
  });
  probes.sort((a, b) => a.after - b.after);

  const found = allocate(device, probes.length * stride, "check");
  try {
    const storage: Resident = { kind: "resident", device, buffer: found, label: "check" };
    const { recording } = writeDown(device, () =>
      probes.forEach(({ x }, i) => {
        const size = sizeOf(x.shape);
        const tensors = { x, found: { shape: [], dtype: "u32", storage, offset: i * stride } } as const;
        if (x.dtype === "f16") nonFiniteHalf(tensors, { ODD: size % 2 }, elementGrid(size));
        else nonFinite(tensors, {}, elementGrid(size));
      }),
    );
    const probeRows = await compile(device, recording.dispatches, bufferOf);
    const encoder = device.gpu.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (let index = -1; index < rows.length; index++) {
      if (index >= 0) encode(pass, rows[index]!);
      probes.forEach(({ after }, i) => after === index && encode(pass, probeRows[i]!));
    }
    pass.end();
    device.gpu.queue.submit([encoder.finish()]);
    const target = device.gpu.createBuffer({
      size: found.size,
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    });
    const flags = new Uint32Array((await copyOut(device, found, 0, target)).buffer);
    target.destroy();
    return probes.find((_, i) => flags[(i * stride) / 4] !== 0)?.finding;
  } finally {
    found.destroy();
  }
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
