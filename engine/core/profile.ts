/** Timing of the kernels of a program. */
import { type Device, throwIfFailed } from "./device.js";
import { copyOut } from "./memory.js";
import { encodeDispatch, type Row } from "./rows.js";
import { formatShape } from "./tensor.js";
import { withTimeout } from "./with-timeout.js";

/** Total time of a kernel over all its dispatches. */
export interface KernelTime {
  readonly kernel: string;
  readonly calls: number;
  readonly ms: number;
  /** Fraction of the total time, 0..1. */
  readonly share: number;
}

/** Timing of one dispatch. */
export interface Span {
  readonly kernel: string;
  /** Shape of the first output. */
  readonly shape: readonly number[];
  /** Name of the kernel choice that it belongs to, if any. */
  readonly decision: string | undefined;
  /** Start, relative to the start of the first dispatch. */
  readonly startMs: number;
  readonly ms: number;
}

/** Runs and times each dispatch, by GPU timestamps if available, else by the host clock. */
export async function timeline(device: Device, rows: readonly Row[]): Promise<Span[]> {
  const timestamps = device.features.has("timestamp-query") && device.adapterKind !== "null"; // the null backend invents timestamps
  const times = timestamps ? await timeOnDevice(device, rows) : await timeOnHost(device, rows);
  return exclusive(times).map(({ beginMs, endMs }, i) => {
    const { kernel, tensors, decision } = rows[i]!.dispatch;
    const written = kernel.bindings.find(({ access }) => access !== "read")!;
    const { shape } = tensors[written.name]!;
    return { kernel: kernel.file, shape, decision, startMs: beginMs, ms: endMs - beginMs };
  });
}

/** Sums times by kernel, longest first. */
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

/** Formats a timeline for chrome://tracing or https://ui.perfetto.dev, in the trace event format. */
export function chromeTrace(spans: readonly Span[], device: string): string {
  const events = spans.map(({ kernel, shape, startMs, ms }) => ({
    name: kernel,
    cat: "kernel",
    ph: "X",
    pid: 1,
    tid: 1,
    ts: 1000 * startMs,
    dur: 1000 * ms,
    args: { shape: formatShape(shape) },
  }));
  const named = { name: "process_name", ph: "M", pid: 1, args: { name: device } };
  return JSON.stringify({ displayTimeUnit: "ms", traceEvents: [named, ...events] });
}

/** Begin and end of a dispatch on one clock, in milliseconds. */
export interface Interval {
  readonly beginMs: number;
  readonly endMs: number;
}

/**
 * Begins each interval at the end of the last one at the earliest. A device may stamp the begin of a dispatch while it still waits
 * for the one before.
 */
export function exclusive(intervals: readonly Interval[]): readonly Interval[] {
  let lastEndMs = -Infinity;
  return intervals.map(({ beginMs, endMs }) => {
    const begin = Math.max(beginMs, lastEndMs);
    lastEndMs = Math.max(begin, endMs);
    return { beginMs: begin, endMs: lastEndMs };
  });
}

/** Dispatches of a timed command buffer, few enough that drivers do not take it for hung. */
const TIMED_DISPATCHES = 128;

async function timeOnDevice(device: Device, rows: readonly Row[]): Promise<Interval[]> {
  const times: Interval[] = [];
  for (let start = 0; start < rows.length; start += TIMED_DISPATCHES) {
    const part = rows.slice(start, start + TIMED_DISPATCHES);
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
      encodeDispatch(pass, row);
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
    encodeDispatch(pass, row);
    pass.end();
    device.gpu.queue.submit([encoder.finish()]);
    await withTimeout(device, device.gpu.queue.onSubmittedWorkDone());
    times.push({ beginMs, endMs: performance.now() });
  }
  throwIfFailed(device);
  return times;
}
