/** The processes of a distributed training, one per GPU; a world of size one if this process was started alone. */
import { setTimeout as sleep } from "node:timers/promises";
import { type Launch, launchOf } from "./launcher.js";
import { type Library, type Memory, openLibrary } from "./library.js";

/**
 * Ranks 0 to size - 1, including this process. Every rank must call the same functions in the same order; each waits
 * for the others. Disposing waits until all ranks do, and throws errors of the MPI library.
 */
export interface World extends AsyncDisposable {
  readonly rank: number;
  readonly size: number;
  /** Rank among the `localSize` ranks on this machine. */
  readonly localRank: number;
  readonly localSize: number;
  /** Name and version of the MPI library; undefined in a world of one. */
  readonly library: string | undefined;
  /** All-reduce: to = the sum over all ranks of `from`, f32, identical on every rank. */
  sum(from: Memory, to: Memory): Promise<void>;
  /** All-gather: to [ranks, bytes of `from`] = every rank's `from`. */
  allGather(from: Memory, to: Memory): Promise<void>;
  /** All-to-all: from, to [ranks, bytes]; sends row r to rank r and receives its row for this rank. */
  allToAll(from: Memory, to: Memory): Promise<void>;
  /** Gathers bytes from every rank, in rank order, at rank 0; returns [] at the others. Lengths may differ. */
  gather(bytes: Uint8Array): Promise<readonly Uint8Array[]>;
  /** Broadcasts rank 0's bytes to every rank; the argument of other ranks is ignored. */
  broadcast(bytes: Uint8Array | undefined): Promise<Uint8Array>;
  /** Ends every process of the world with this exit code. */
  abort(exitCode: number): Promise<never>;
}

/** Opens the world of this process. Throws if a launcher started several processes and its MPI library is not found. */
export async function openWorld(): Promise<World> {
  const launch = launchOf(process.env);
  return launch ? mpiWorld(await openLibrary(launch), launch) : singleWorld();
}

/** Returns a world of one, which needs no MPI. */
export function singleWorld(): World {
  const copy = (from: Memory, to: Memory): Promise<void> => {
    bytesIn(to).set(bytesIn(from));
    return Promise.resolve();
  };
  return {
    rank: 0,
    size: 1,
    localRank: 0,
    localSize: 1,
    library: undefined,
    sum: copy,
    allGather: copy,
    allToAll: copy,
    gather: (bytes) => Promise.resolve([bytes]),
    broadcast: (bytes) => Promise.resolve(bytes!),
    abort: (exitCode) => process.exit(exitCode),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

function mpiWorld(library: Library, { localRank, localSize }: Launch): World {
  const { rank, size } = library;
  const length = new Float64Array(1);
  return {
    rank,
    size,
    localRank,
    localSize,
    library: library.name,
    sum: (from, to) => library.sum(from, to),
    allGather: (from, to) => library.allGather(from, to),
    allToAll: (from, to) => library.allToAll(from, to),
    async gather(bytes) {
      if (rank > 0) {
        length[0] = bytes.length;
        await library.send(length, 0);
        await library.send(bytes, 0);
        return [];
      }
      const all = [bytes];
      for (let other = 1; other < size; other++) {
        await library.receive(length, other);
        const message = new Uint8Array(length[0]!);
        await library.receive(message, other);
        all.push(message);
      }
      return all;
    },
    async broadcast(bytes) {
      if (rank === 0) length[0] = bytes!.length;
      await library.broadcast(length);
      const message = rank === 0 ? bytes! : new Uint8Array(length[0]!);
      await library.broadcast(message);
      return message;
    },
    async abort(exitCode) {
      library.abort(exitCode);
      await sleep(KILLED_AFTER_MS);
      process.kill(process.pid, "SIGKILL"); // exiting would wait for the thread inside an MPI call
      throw new Error("mpi: not ended by MPI_Abort");
    },
    [Symbol.asyncDispose]() {
      library.finalize();
      return Promise.resolve();
    },
  };
}

/** Time after which a process that MPI_Abort has not ended kills itself. */
const KILLED_AFTER_MS = 2000;

/** Returns a view of memory as bytes. */
export function bytesIn(memory: Memory): Uint8Array {
  if (memory instanceof ArrayBuffer) return new Uint8Array(memory);
  return new Uint8Array(memory.buffer, memory.byteOffset, memory.byteLength);
}
