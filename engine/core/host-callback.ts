/** Host work in the middle of a run: values are read back, processed on the host, and uploaded again. */
import { type Device, throwIfFailed } from "./device.js";
import { type Dispatch, type HostWork, type Kernel, recording } from "./recording.js";
import { bytesOf, formatShape, offsetInOwner, owner, type Tensor } from "./tensor.js";
import { withTimeout } from "./with-timeout.js";

const OUT_OF_PLACE: Kernel = {
  file: "the host",
  bindings: [
    { name: "from", access: "read" },
    { name: "to", access: "write" },
  ],
  constants: [],
};
const IN_PLACE: Kernel = { file: "the host", bindings: [{ name: "x", access: "update" }], constants: [] };

/**
 * Runs `work` on the host in the middle of a run. It reads `from` and writes `to`, which may be the same tensor; dispatches
 * recorded afterwards see the result. The read-back starts as soon as `from` is complete, and overlaps with the dispatches
 * recorded in between, so several parts of a large tensor can be in flight.
 */
export function onHost(from: Tensor, to: Tensor, work: HostWork): void {
  const { device, dispatches } = recording("onHost");
  for (const { dtype, shape, storage } of [from, to]) {
    if (dtype === "f16") throw new Error(`onHost: expected f32 or u32, got f16 ${formatShape(shape)}`);
    if (storage.kind === "resident" && storage.device !== device)
      throw new Error(`onHost: ${storage.label} belongs to another device`);
  }
  const inPlace = from === to;
  if (!inPlace && owner(from.storage) === owner(to.storage))
    throw new Error(`onHost: ${from.storage.label} and ${to.storage.label} lie in one buffer; give one tensor or two`);
  if (to.storage.kind === "transient" && to.storage.label === "unwritten") to.storage.label = "from the host";
  const common = { constants: {}, grid: [1, 1, 1], decision: undefined, work } as const;
  dispatches.push(
    inPlace
      ? { ...common, kernel: IN_PLACE, tensors: { x: from } }
      : { ...common, kernel: OUT_OF_PLACE, tensors: { from, to } },
  );
}

/** Returns the last dispatch that writes what dispatch `index` sends to the host; -1 if none does. */
export function readyAfter(dispatches: readonly Dispatch[], index: number): number {
  const { tensors } = dispatches[index]!;
  const from = (tensors["from"] ?? tensors["x"])!;
  const [start, end] = [offsetInOwner(from), offsetInOwner(from) + bytesOf(from)];
  return dispatches.slice(0, index).findLastIndex(({ kernel, tensors: bound }) =>
    kernel.bindings.some(({ name, access }) => {
      const x = bound[name]!;
      const first = offsetInOwner(x);
      return access !== "read" && sameMemory(x, from) && first < end && start < first + bytesOf(x);
    }),
  );
}

function sameMemory(a: Tensor, b: Tensor): boolean {
  const [x, y] = [owner(a.storage), owner(b.storage)];
  return x === y || (x.kind === "resident" && y.kind === "resident" && x.buffer === y.buffer);
}

/** A range of bytes in a buffer. */
export interface BufferRange {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly bytes: number;
}

/** A round trip to the host, repeated in every run, through its own staging buffers. */
export interface HostCallback extends Disposable {
  /** Submits the copy to the host, and starts mapping it. */
  readonly send: () => void;
  /** Time of the last arrival at the host, by performance.now(); Infinity while in flight. */
  readonly arrivedMs: () => number;
  /** Waits for the arrival, runs the host work, and submits the copy back; returns when the work began and ended. */
  readonly receive: () => Promise<{ readonly beganMs: number; readonly endedMs: number }>;
}

/** Creates the staging buffers of one `onHost`. */
function createHostCallback(
  device: Device,
  { from, to, work }: { from: BufferRange; to: BufferRange; work: HostWork },
): HostCallback {
  const { gpu } = device;
  const outgoing = gpu.createBuffer({
    label: "staging to the host",
    size: from.bytes,
    usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
  });
  const incoming = gpu.createBuffer({
    label: "staging from the host",
    size: to.bytes,
    usage: GPUBufferUsage.MAP_WRITE | GPUBufferUsage.COPY_SRC,
    mappedAtCreation: true,
  });
  let readable: Promise<unknown> = Promise.resolve();
  let writable: Promise<unknown> = Promise.resolve();
  let arrivedMs = -Infinity;
  const copy = (
    source: Pick<BufferRange, "buffer" | "offset">,
    target: Pick<BufferRange, "buffer" | "offset">,
    bytes: number,
  ) => {
    const encoder = gpu.createCommandEncoder();
    encoder.copyBufferToBuffer(source.buffer, source.offset, target.buffer, target.offset, bytes);
    gpu.queue.submit([encoder.finish()]);
  };
  /** Defers a rejection to the later `await`; until then it would count as unhandled. */
  const deferRejection = (answer: Promise<unknown>): Promise<unknown> => {
    answer.catch(() => undefined);
    return answer;
  };
  return {
    send() {
      copy(from, { buffer: outgoing, offset: 0 }, from.bytes);
      arrivedMs = Infinity;
      readable = deferRejection(outgoing.mapAsync(GPUMapMode.READ).then(() => void (arrivedMs = performance.now())));
    },
    arrivedMs: () => arrivedMs,
    async receive() {
      try {
        await withTimeout(device, Promise.all([readable, writable]));
      } catch (error) {
        throwIfFailed(device);
        throw error;
      }
      const beganMs = performance.now();
      await work(outgoing.getMappedRange(), incoming.getMappedRange());
      const endedMs = performance.now();
      outgoing.unmap();
      incoming.unmap();
      copy({ buffer: incoming, offset: 0 }, to, to.bytes);
      writable = deferRejection(incoming.mapAsync(GPUMapMode.WRITE));
      return { beganMs, endedMs };
    },
    [Symbol.dispose]: () => [outgoing, incoming].forEach((buffer) => buffer.destroy()),
  };
}

/** A part of a program: consecutive kernels, or one transfer to the host or back. */
export type Stage<Row> =
  | { readonly kind: "kernels"; readonly rows: readonly Row[] }
  | { readonly kind: "send"; readonly callback: HostCallback }
  | { readonly kind: "receive"; readonly callback: HostCallback };

/** Splits a program at its transfers to the host and back; `rows` are its kernels, ready to run. */
export function splitStages<Row>(
  device: Device,
  dispatches: readonly Dispatch[],
  rows: readonly Row[],
  locateTensor: (x: Tensor) => Omit<BufferRange, "bytes">,
): readonly Stage<Row>[] {
  const stages: Stage<Row>[] = [];
  const kernels: Row[] = [];
  const cut = (kind: "send" | "receive", callback: HostCallback): void => {
    if (kernels.length > 0) stages.push({ kind: "kernels", rows: kernels.splice(0) });
    stages.push({ kind, callback });
  };
  const callbacks = dispatches.map(({ work, tensors: { from, to, x } }) => {
    const range = (tensor: Tensor): BufferRange => ({ ...locateTensor(tensor), bytes: bytesOf(tensor) });
    return work && createHostCallback(device, { from: range((from ?? x)!), to: range((to ?? x)!), work });
  });
  const sendsAfter = new Map<number, HostCallback[]>();
  callbacks.forEach((callback, index) => {
    if (!callback) return;
    const ready = readyAfter(dispatches, index);
    sendsAfter.set(ready, [...(sendsAfter.get(ready) ?? []), callback]);
  });
  const upcoming = rows.values();
  for (let index = -1; index < dispatches.length; index++) {
    const callback = callbacks[index];
    if (callback) cut("receive", callback);
    else if (index >= 0) kernels.push(upcoming.next().value!);
    for (const sent of sendsAfter.get(index) ?? []) cut("send", sent);
  }
  if (kernels.length > 0) stages.push({ kind: "kernels", rows: kernels });
  return stages;
}

/**
 * Runs the stages in order; `launch` submits kernels. Calls `onWaited` with the milliseconds that the device was idle because
 * the host was working and nothing else was in flight.
 */
export async function runStages<Row>(
  stages: readonly Stage<Row>[],
  launch: (rows: readonly Row[]) => void | Promise<void>,
  onWaited: (ms: number) => void,
): Promise<void> {
  const callbacks = stages.flatMap((stage) => (stage.kind === "send" ? [stage.callback] : []));
  for (const stage of stages) {
    switch (stage.kind) {
      case "kernels":
        await launch(stage.rows);
        break;
      case "send":
        stage.callback.send();
        break;
      case "receive": {
        const { beganMs, endedMs } = await stage.callback.receive();
        onWaited(Math.max(0, endedMs - Math.max(beganMs, ...callbacks.map((callback) => callback.arrivedMs()))));
        break;
      }
      default:
        stage satisfies never;
    }
  }
}
