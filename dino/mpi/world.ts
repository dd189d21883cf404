/** The processes that train together, one on each GPU: a world of one where this process was started alone. */
import { setTimeout as sleep } from "node:timers/promises";
import { type Launch, launchOf } from "./launcher.js";
import { type Library, type Memory, openLibrary } from "./library.js";

/**
 * Ranks 0 to size - 1, of which this process is one. Every rank has to call the same functions in the same order; each waits
 * for the others. Disposing of it waits until all do; it throws what the MPI library says went wrong.
 */
export interface World extends AsyncDisposable {
  readonly rank: number;
  readonly size: number;
  /** Among the ranks of this machine, of which there are `localSize`. */
  readonly localRank: number;
  readonly localSize: number;
  /** The MPI library, as it calls itself; undefined in a world of one. */
  readonly library: string | undefined;
  /** to = the sum over all ranks of `from`, f32, the same at every rank. */
  sum(from: Memory, to: Memory): Promise<void>;
  /** to [ranks, bytes of `from`] = every rank's `from`. */
  allGather(from: Memory, to: Memory): Promise<void>;
  /** from, to [ranks, bytes]: row r goes to rank r, whose own row for this rank comes back. */
  allToAll(from: Memory, to: Memory): Promise<void>;
  /** What every rank says, in the order of ranks, at rank 0; [] at the others. Its length may differ. */
  gather(bytes: Uint8Array): Promise<readonly Uint8Array[]>;
  /** What rank 0 says, at every rank; what others pass is not looked at. */
  broadcast(bytes: Uint8Array | undefined): Promise<Uint8Array>;
  /** Ends every process of the world, with this code for the launcher. */
  abort(exitCode: number): Promise<never>;
}

/** The world of this process. Throws where a launcher started several and no MPI library of it is found. */
export async function openWorld(): Promise<World> {
  const launch = launchOf(process.env);
  return launch ? mpiWorld(await openLibrary(launch), launch) : singleWorld();
}

/** A world of one, which needs no MPI. */
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
        const said = new Uint8Array(length[0]!);
        await library.receive(said, other);
        all.push(said);
      }
      return all;
    },
    async broadcast(bytes) {
      if (rank === 0) length[0] = bytes!.length;
      await library.broadcast(length);
      const said = rank === 0 ? bytes! : new Uint8Array(length[0]!);
      await library.broadcast(said);
      return said;
    },
    async abort(exitCode) {
      library.abort(exitCode);
      await sleep(KILLED_AFTER_MS);
      process.kill(process.pid, "SIGKILL"); // exiting would wait for the thread that is in a call of MPI
      throw new Error("mpi: not ended by MPI_Abort");
    },
    [Symbol.asyncDispose]() {
      library.finalize();
      return Promise.resolve();
    },
  };
}

/** A process that MPI_Abort has not ended by then ends itself. */
const KILLED_AFTER_MS = 2000;

/** The same memory as bytes. */
export function bytesIn(memory: Memory): Uint8Array {
  if (memory instanceof ArrayBuffer) return new Uint8Array(memory);
  return new Uint8Array(memory.buffer, memory.byteOffset, memory.byteLength);
}
