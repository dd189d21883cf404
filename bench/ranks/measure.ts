/** Measurement of model constants on this machine: transfers between host and device, and sums under mpirun. */
import { execFile } from "node:child_process";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Device } from "../../engine/core/device.js";
import { quantile } from "../figures/quantile.js";
import { oversubscribed, fastest, type Algorithm, type Link } from "./collectives.js";

/** Repeated measurement: the minimum, which other load disturbs least, and the quartiles. */
export interface Timed {
  readonly leastMs: number;
  readonly quartilesMs: readonly [number, number, number];
  readonly repeats: number;
}

function summarise(times: readonly number[]): Timed {
  const [leastMs, ...quartilesMs] = [0, 0.25, 0.5, 0.75].map((q) => quantile(times, q)) as [
    number,
    number,
    number,
    number,
  ];
  return { leastMs, quartilesMs, repeats: times.length };
}

/** Linear model of a time: latencyMs + bytes * msPerByte milliseconds. */
export interface Line {
  readonly latencyMs: number;
  readonly msPerByte: number;
}

/** Fits a line with least relative squares to positive times; latency and slope are not negative. */
export function fitLine(points: readonly { readonly bytes: number; readonly ms: number }[]): Line {
  let [w, wx, wxx, wy, wxy] = [0, 0, 0, 0, 0];
  for (const { bytes, ms } of points) {
    const weight = 1 / ms ** 2;
    w += weight;
    wx += weight * bytes;
    wxx += weight * bytes ** 2;
    wy += weight * ms;
    wxy += weight * bytes * ms;
  }
  const msPerByte = (w * wxy - wx * wy) / (w * wxx - wx ** 2);
  const latencyMs = (wy - msPerByte * wx) / w;
  return latencyMs < 0 || msPerByte < 0 ? { latencyMs: 0, msPerByte: wxy / wxx } : { latencyMs, msPerByte };
}

/** Times of one direction of transfer, by bytes, and the line fitted to them. */
export interface TransferTimes extends Line {
  readonly sizes: readonly (Timed & { readonly bytes: number })[];
}

const lineThrough = (sizes: TransferTimes["sizes"]): Line =>
  fitLine(sizes.map(({ bytes, leastMs }) => ({ bytes, ms: leastMs })));

/** Extent of the measurements. */
export interface RankEffort {
  /** Sizes of messages in bytes, ascending, each a multiple of 16. */
  readonly sizes: readonly number[];
  /** Maximum number of rounds over all sizes, and milliseconds after which no round begins. */
  readonly rounds: number;
  readonly maxMs: number;
}

export const RANK_EFFORT = {
  usual: {
    sizes: [64, 1024, 2 ** 14, 2 ** 16, 2 ** 18, 2 ** 20, 2 ** 22, 2 ** 24],
    rounds: 200,
    maxMs: 30_000,
  },
  quick: { sizes: [64, 2 ** 16, 2 ** 20], rounds: 5, maxMs: 500 },
} as const satisfies Record<string, RankEffort>;

/**
 * Times read-back and upload through persistent staging buffers: until a copy of a device buffer is mapped, and until unmapped
 * host data has arrived in a device buffer.
 */
export async function measureTransfers(
  { gpu }: Device,
  { sizes, rounds, maxMs }: RankEffort,
): Promise<{ readonly readBack: TransferTimes; readonly upload: TransferTimes }> {
  const most = sizes.at(-1)!;
  const [inside, outgoing, incoming] = [
    GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    GPUBufferUsage.MAP_WRITE | GPUBufferUsage.COPY_SRC,
  ].map((usage) => gpu.createBuffer({ label: "bench of crossings", size: most, usage })) as [
    GPUBuffer,
    GPUBuffer,
    GPUBuffer,
  ];
  const copy = (from: GPUBuffer, to: GPUBuffer, bytes: number) => {
    const encoder = gpu.createCommandEncoder();
    encoder.copyBufferToBuffer(from, 0, to, 0, bytes);
    gpu.queue.submit([encoder.finish()]);
  };
  const timeTransfer = async (once: (bytes: number) => Promise<number>): Promise<TransferTimes> => {
    const times = sizes.map((): number[] => []);
    for (const bytes of sizes) await once(bytes);
    const start = performance.now();
    for (let round = 0; round < rounds && (round < 3 || performance.now() - start < maxMs); round++)
      for (const [i, bytes] of sizes.entries()) times[i]!.push(await once(bytes));
    const found = times.map((all, i) => ({ bytes: sizes[i]!, ...summarise(all) }));
    return { sizes: found, ...lineThrough(found) };
  };
  try {
    const readBack = await timeTransfer(async (bytes) => {
      const start = performance.now();
      copy(inside, outgoing, bytes);
      await outgoing.mapAsync(GPUMapMode.READ);
      outgoing.getMappedRange();
      const ms = performance.now() - start;
      outgoing.unmap();
      return ms;
    });
    const upload = await timeTransfer(async (bytes) => {
      await incoming.mapAsync(GPUMapMode.WRITE);
      new Uint8Array(incoming.getMappedRange()).fill(1, 0, bytes);
      const start = performance.now();
      incoming.unmap();
      copy(incoming, inside, bytes);
      await gpu.queue.onSubmittedWorkDone();
      return performance.now() - start;
    });
    return { readBack, upload };
  } finally {
    for (const buffer of [inside, outgoing, incoming]) buffer.destroy();
  }
}

/** Output of rank 0: milliseconds of each repeat of an empty call, and of the sums and gathers of each size. */
export interface RankTimes {
  readonly library: string;
  readonly call: readonly number[];
  readonly sums: readonly (readonly number[])[];
  readonly gathers: readonly (readonly number[])[];
}

/** Sums of several ranks on this machine. */
export interface RankSums {
  readonly ranks: number;
  readonly library: string;
  /** Time of a call without data. */
  readonly call: Timed;
  readonly sums: TransferTimes["sizes"];
  readonly gathers: TransferTimes["sizes"];
}

/** Measures sums over several ranks; undefined if the launcher is missing. Throws if it fails. */
export async function measureSums(
  ranks: number,
  effort: RankEffort,
  launcher = process.env.MPIRUN ?? "mpirun",
): Promise<RankSums | undefined> {
  const script = fileURLToPath(new URL("rank.ts", import.meta.url));
  const args = ["-n", `${ranks}`, process.execPath, "--import", "tsx", script, JSON.stringify(effort)];
  const openMpi = {
    OMPI_MCA_rmaps_base_oversubscribe: "1",
    OMPI_MCA_hwloc_base_binding_policy: "none",
    OMPI_ALLOW_RUN_AS_ROOT: "1",
    OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1",
  };
  let printed: string;
  try {
    printed = (await promisify(execFile)(launcher, args, { env: { ...process.env, ...openMpi } })).stdout;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  const { library, call, sums, gathers } = JSON.parse(printed) as RankTimes;
  const bySize = (times: RankTimes["sums"]) => times.map((all, i) => ({ bytes: effort.sizes[i]!, ...summarise(all) }));
  return { ranks, library, call: summarise(call), sums: bySize(sums), gathers: bySize(gathers) };
}

/** Constants of shared memory, from the sums of two ranks on separate cores. */
export interface Shared {
  readonly callS: number;
  readonly link: Link;
}

/** Minimum seconds to add a byte, used if a sum is no slower than a gather. */
const MIN_ADD_S = 1e-12;

/** Maximum bytes of a message whose time is all latency. */
const SMALL = 1024;

/**
 * Derives the constants from two ranks: a sum is a call, two latencies, all bytes sent and half of them added; a gather of
 * halves is a call, one latency, and half of the bytes sent.
 */
export function sharedMemory({ call, sums, gathers }: RankSums): Shared {
  const callS = call.leastMs / 1000;
  const small = Math.min(...sums.filter(({ bytes }) => bytes <= SMALL).map(({ leastMs }) => leastMs)) / 1000;
  const sendS = (2 * lineThrough(gathers).msPerByte) / 1000;
  const sumS = lineThrough(sums).msPerByte / 1000;
  const addSPerByte = Math.max(MIN_ADD_S, 2 * (sumS - sendS));
  return { callS, link: { latencyS: Math.max(0, small - callS), sPerByte: Math.min(sendS, sumS), addSPerByte } };
}

/** A measured sum and its prediction. */
export interface Predicted {
  readonly ranks: number;
  readonly bytes: number;
  readonly measured: Timed;
  readonly predictedMs: number;
  readonly algorithm: Algorithm;
}

/** Predicts measured sums; ranks in excess of the cores of this machine take turns. */
export function predict(
  { ranks, sums }: RankSums,
  { callS, link }: Shared,
  cores = availableParallelism(),
): readonly Predicted[] {
  return sums.map(({ bytes, ...measured }) => {
    const { algorithm, seconds } = fastest(ranks, bytes, oversubscribed(link, ranks, cores));
    const turns = Math.max(1, ranks / cores);
    return { ranks, bytes, measured, predictedMs: 1000 * (callS * turns + seconds), algorithm };
  });
}
