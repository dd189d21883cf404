/** Numbers that leave the device in the middle of a run, and what the host puts in their place. */
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
 * Hands numbers to the host in the middle of a run: what `work` makes of `from` is in `to`, which may be the same tensor, for
 * all that is noted afterwards. They leave as soon as the last of them is written, while the device goes on with what is noted
 * in between; so part after part of a large tensor can be under way.
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
  const noted = { constants: {}, grid: [1, 1, 1], decision: undefined, work } as const;
  dispatches.push(
    inPlace
      ? { ...noted, kernel: IN_PLACE, tensors: { x: from } }
      : { ...noted, kernel: OUT_OF_PLACE, tensors: { from, to } },
  );
}

/** After which dispatch all numbers that dispatch `index` takes to the host are written; -1 where they were there before. */
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

/** Bytes in a buffer. */
export interface BufferRange {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly bytes: number;
}

/** One way of numbers to the host and back, run after run, through memory of its own that both can reach. */
export interface HostCallback extends Disposable {
  /** Submits the copy towards the host, and starts to wait for it. */
  readonly send: () => void;
  /** When it last came, by performance.now(); Infinity while it is under way. */
  readonly arrivedMs: () => number;
  /** Once it has come, has the host do its work, and submits the copy back; returns when that work began and ended. */
  readonly receive: () => Promise<{ readonly beganMs: number; readonly endedMs: number }>;
}

/** The staging memory of one `onHost`. */
export function createHostCallback(
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
  let cameMs = -Infinity;
  const copy = (
    source: Pick<BufferRange, "buffer" | "offset">,
    target: Pick<BufferRange, "buffer" | "offset">,
    bytes: number,
  ) => {
    const encoder = gpu.createCommandEncoder();
    encoder.copyBufferToBuffer(source.buffer, source.offset, target.buffer, target.offset, bytes);
    gpu.queue.submit([encoder.finish()]);
  };
  /** Its failure is told to whoever awaits it, which may be much later. */
  const later = (answer: Promise<unknown>): Promise<unknown> => {
    answer.catch(() => undefined);
    return answer;
  };
  return {
    send() {
      copy(from, { buffer: outgoing, offset: 0 }, from.bytes);
      cameMs = Infinity;
      readable = later(outgoing.mapAsync(GPUMapMode.READ).then(() => void (cameMs = performance.now())));
    },
    arrivedMs: () => cameMs,
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
      writable = later(incoming.mapAsync(GPUMapMode.WRITE));
      return { beganMs, endedMs };
    },
    [Symbol.dispose]: () => [outgoing, incoming].forEach((buffer) => buffer.destroy()),
  };
}

/** Kernels in a row, or numbers that leave for the host, or those that come back from there. */
export type Stage<Row> =
  | { readonly kind: "kernels"; readonly rows: readonly Row[] }
  | { readonly kind: "leaving"; readonly crossing: HostCallback }
  | { readonly kind: "coming"; readonly crossing: HostCallback };

/** Cuts a program where numbers leave for the host and where they come back; `rows` are its kernels, ready to run. */
export function splitStages<Row>(
  device: Device,
  dispatches: readonly Dispatch[],
  rows: readonly Row[],
  placeOf: (x: Tensor) => Omit<BufferRange, "bytes">,
): readonly Stage<Row>[] {
  const stages: Stage<Row>[] = [];
  const kernels: Row[] = [];
  const cut = (kind: "leaving" | "coming", crossing: HostCallback): void => {
    if (kernels.length > 0) stages.push({ kind: "kernels", rows: kernels.splice(0) });
    stages.push({ kind, crossing });
  };
  const crossings = dispatches.map(({ work, tensors: { from, to, x } }) => {
    const place = (tensor: Tensor): BufferRange => ({ ...placeOf(tensor), bytes: bytesOf(tensor) });
    return work && createHostCallback(device, { from: place((from ?? x)!), to: place((to ?? x)!), work });
  });
  const leavingAfter = new Map<number, HostCallback[]>();
  crossings.forEach((crossing, index) => {
    if (!crossing) return;
    const ready = readyAfter(dispatches, index);
    leavingAfter.set(ready, [...(leavingAfter.get(ready) ?? []), crossing]);
  });
  const upcoming = rows.values();
  for (let index = -1; index < dispatches.length; index++) {
    const crossing = crossings[index];
    if (crossing) cut("coming", crossing);
    else if (index >= 0) kernels.push(upcoming.next().value!);
    for (const leaving of leavingAfter.get(index) ?? []) cut("leaving", leaving);
  }
  if (kernels.length > 0) stages.push({ kind: "kernels", rows: kernels });
  return stages;
}

/**
 * Goes through the stages in order, where `launch` submits kernels. Tells `onWaited` of each time, in milliseconds, that the
 * host was at work and nothing was under way to it any more, so that the device had nothing left to do.
 */
export async function runStages<Row>(
  stages: readonly Stage<Row>[],
  launch: (rows: readonly Row[]) => void | Promise<void>,
  onWaited: (ms: number) => void,
): Promise<void> {
  const crossings = stages.flatMap((stage) => (stage.kind === "leaving" ? [stage.crossing] : []));
  for (const stage of stages) {
    switch (stage.kind) {
      case "kernels":
        await launch(stage.rows);
        break;
      case "leaving":
        stage.crossing.send();
        break;
      case "coming": {
        const { beganMs, endedMs } = await stage.crossing.receive();
        onWaited(Math.max(0, endedMs - Math.max(beganMs, ...crossings.map((crossing) => crossing.arrivedMs()))));
        break;
      }
      default:
        stage satisfies never;
    }
  }
}
