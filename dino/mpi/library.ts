/** Open MPI and MPICH, called through koffi: the few functions of MPI that a training needs. */
import type { KoffiFunc, LibraryHandle } from "koffi";
import type { Launch } from "./launcher.js";

/** Numbers in memory that MPI reads and writes in place, a range that a device has mapped as well. */
export type Memory = ArrayBuffer | ArrayBufferView;

/**
 * An MPI library that is initialised. What returns a promise waits on a thread of its own, and takes its turn after what was
 * called before it; all of them throw what the library says went wrong.
 */
export interface Library {
  /** As it calls itself: "Open MPI v4.1.4". */
  readonly name: string;
  readonly rank: number;
  readonly size: number;
  /** to = the sum over all ranks of `from`, f32, the same at every rank. */
  sum(from: Memory, to: Memory): Promise<void>;
  /** to [ranks, bytes of `from`] = every rank's `from`. */
  allGather(from: Memory, to: Memory): Promise<void>;
  /** from, to [ranks, bytes]: row r goes to rank r, whose own row for this rank comes back. */
  allToAll(from: Memory, to: Memory): Promise<void>;
  /** Rank 0's bytes to all others. */
  broadcast(bytes: Memory): Promise<void>;
  send(bytes: Memory, rank: number): Promise<void>;
  receive(bytes: Memory, rank: number): Promise<void>;
  /** Waits until every rank comes to its end, and ends the library. */
  finalize(): void;
  /** Ends all processes of the world, this one too. */
  abort(exitCode: number): void;
}

/** Where the two look for their handles: Open MPI's are symbols of the library, MPICH's are numbers. */
const KINDS = {
  "Open MPI": {
    type: "void *",
    handles: {
      world: "ompi_mpi_comm_world",
      byte: "ompi_mpi_byte",
      float: "ompi_mpi_float",
      sum: "ompi_mpi_op_sum",
      errorsReturn: "ompi_mpi_errors_return",
    },
  },
  MPICH: {
    type: "int",
    handles: { world: 0x44000000, byte: 0x4c00010d, float: 0x4c00040a, sum: 0x58000003, errorsReturn: 0x54000001 },
  },
} as const;

type Kind = keyof typeof KINDS;

/** A function of the library, which returns an error code. */
type MpiFunction = KoffiFunc<(...given: unknown[]) => number>;

/** Names that the libraries go by; libmpi.so.12 is what MPICH calls itself where Debian does not, and Intel MPI too. */
const NAMES: Readonly<Record<Kind, readonly string[]>> =
  process.platform === "darwin"
    ? { "Open MPI": ["libmpi.40.dylib"], MPICH: ["libmpi.12.dylib", "libmpich.12.dylib"] }
    : { "Open MPI": ["libmpi.so.40"], MPICH: ["libmpich.so.12", "libmpi.so.12"] };

const PACKAGES = "libopenmpi3 or libmpich12 on Debian and Ubuntu, openmpi or mpich on Fedora";

/** In bytes and elements, an MPI call counts up to 2^31 - 1. */
const MOST = 2 ** 30;

/**
 * The MPI library of the launcher, initialised. Throws where none is installed, and where none of those that are there takes
 * part in the launcher's world; `given` names one by its path.
 */
export async function openLibrary({ launcher, size }: Launch, given = process.env.DINO_MPI_LIBRARY): Promise<Library> {
  const kinds: readonly Kind[] = launcher === "mpirun of MPICH" ? ["MPICH", "Open MPI"] : ["Open MPI", "MPICH"];
  const names = given === undefined || given === "" ? kinds.flatMap((kind) => NAMES[kind]) : [given];
  const { default: koffi } = await import("koffi");
  koffi.config({ ...koffi.config(), async_stack_size: 2 ** 22 }); // on the usual stack MPICH crashes
  const alone: string[] = [];
  for (const name of names) {
    let lib: LibraryHandle;
    try {
      lib = koffi.load(name);
    } catch {
      continue;
    }
    const library = initialise(lib);
    if (library.size === size) return library;
    alone.push(`${library.name} (${name}) makes a world of ${library.size}`);
    library.finalize();
  }
  const started = `${launcher} started ${size} processes`;
  if (alone.length > 0) {
    throw new Error(
      `mpi: ${started}, but ${alone.join(", ")}; install the library of that launcher, or with srun choose the right --mpi`,
    );
  }
  const what = given === undefined || given === "" ? "an MPI library" : `DINO_MPI_LIBRARY=${given}`;
  throw new Error(
    `mpi: ${started}, but ${what} is not found; install ${PACKAGES}, or name one by DINO_MPI_LIBRARY=PATH`,
  );
}

function initialise(lib: LibraryHandle): Library {
  const kind = kindOf(lib);
  const { type, handles: places } = KINDS[kind];
  const handle = (name: keyof typeof places): unknown => {
    const place: string | number = places[name];
    return typeof place === "number" ? place : lib.symbol(place);
  };
  const [world, byte, float, plus] = (["world", "byte", "float", "sum"] as const).map(handle);
  const declare = (text: string): MpiFunction => lib.func(text.replaceAll("HANDLE", type));

  const errorText = declare("int MPI_Error_string(int code, _Out_ void *text, _Out_ int *length)");
  const expectSuccess = (name: string, code: number): void => {
    if (code === 0) return;
    const text = Buffer.alloc(512);
    errorText(code, text, [0]);
    throw new Error(`mpi: ${name}: ${text.toString("latin1").split("\0")[0]}`);
  };
  const numberFrom = (name: string): number => {
    const out = [0];
    expectSuccess(name, declare(`int ${name}(HANDLE world, _Out_ int *out)`)(world, out));
    return out[0]!;
  };

  const SERIALIZED = 2; // calls come from several threads, but never two at a time
  const provided = [0];
  const initThread = declare("int MPI_Init_thread(void *argc, void *argv, int required, _Out_ int *provided)");
  expectSuccess("MPI_Init_thread", initThread(null, null, SERIALIZED, provided));
  const name = versionOf(declare("int MPI_Get_library_version(_Out_ void *text, _Out_ int *length)"));
  if (provided[0]! < SERIALIZED)
    throw new Error(`mpi: ${name} takes calls from one thread only; install another build`);
  const setHandler = declare("int MPI_Comm_set_errhandler(HANDLE world, HANDLE handler)");
  expectSuccess("MPI_Comm_set_errhandler", setHandler(world, handle("errorsReturn")));

  let before: Promise<unknown> = Promise.resolve();
  /** Calls on a thread, in turn. */
  const inTurn = (symbol: string, fn: MpiFunction, ...given: readonly unknown[]): Promise<void> => {
    const call = async (): Promise<void> => {
      const code = await new Promise<number>((resolve, reject) => {
        fn.async(...given, (error: Error | null, result: number) => {
          if (error) reject(error);
          else resolve(result);
        });
      });
      expectSuccess(symbol, code);
    };
    const done = before.then(call);
    before = done.catch(() => undefined); // whoever awaits this call is told
    return done;
  };

  const allReduce = declare("int MPI_Allreduce(void *, void *, int, HANDLE, HANDLE, HANDLE)");
  const allGather = declare("int MPI_Allgather(void *, int, HANDLE, void *, int, HANDLE, HANDLE)");
  const allToAll = declare("int MPI_Alltoall(void *, int, HANDLE, void *, int, HANDLE, HANDLE)");
  const broadcast = declare("int MPI_Bcast(void *, int, HANDLE, int, HANDLE)");
  const send = declare("int MPI_Send(void *, int, HANDLE, int, int, HANDLE)");
  const receive = declare("int MPI_Recv(void *, int, HANDLE, int, int, HANDLE, void *)");
  const finalize = declare("int MPI_Finalize()");
  const abort = declare("int MPI_Abort(HANDLE world, int code)");
  const size = numberFrom("MPI_Comm_size");
  const TAG = 0;
  return {
    name,
    rank: numberFrom("MPI_Comm_rank"),
    size,
    async sum(from, to) {
      const [sources, targets] = [pieces(from, 4), pieces(to, 4)];
      for (const [i, piece] of sources.entries())
        await inTurn("MPI_Allreduce", allReduce, piece, targets[i], piece.length / 4, float, plus, world);
    },
    allGather: (from, to) =>
      inTurn("MPI_Allgather", allGather, from, from.byteLength, byte, to, from.byteLength, byte, world),
    allToAll: (from, to) => {
      const bytes = from.byteLength / size;
      return inTurn("MPI_Alltoall", allToAll, from, bytes, byte, to, bytes, byte, world);
    },
    async broadcast(bytes) {
      for (const piece of pieces(bytes)) await inTurn("MPI_Bcast", broadcast, piece, piece.length, byte, 0, world);
    },
    async send(bytes, rank) {
      for (const piece of pieces(bytes)) await inTurn("MPI_Send", send, piece, piece.length, byte, rank, TAG, world);
    },
    async receive(bytes, rank) {
      const status = new Uint8Array(64); // of 24 bytes at most
      for (const piece of pieces(bytes))
        await inTurn("MPI_Recv", receive, piece, piece.length, byte, rank, TAG, world, status);
    },
    finalize: () => expectSuccess("MPI_Finalize", finalize()),
    abort: (exitCode) => void abort(world, exitCode),
  };
}

function kindOf(lib: LibraryHandle): Kind {
  try {
    lib.symbol(KINDS["Open MPI"].handles.world);
    return "Open MPI";
  } catch {
    return "MPICH";
  }
}

/** Name and version, which the libraries put at the front of long lines. */
function versionOf(libraryVersion: MpiFunction): string {
  const text = Buffer.alloc(8192); // MPI_MAX_LIBRARY_VERSION_STRING, of which MPICH's is the longest
  libraryVersion(text, [0]);
  const words = text.toString("latin1").split("\0")[0]!;
  return /^[^,\n]*/.exec(words)![0].replace(/\s+/g, " ").replace("Version: ", "").trim();
}

/** Memory in pieces that one call takes. */
function pieces(memory: Memory, unit = 1): Uint8Array[] {
  const whole =
    memory instanceof ArrayBuffer
      ? new Uint8Array(memory)
      : new Uint8Array(memory.buffer, memory.byteOffset, memory.byteLength);
  const each = MOST * unit;
  return Array.from({ length: Math.ceil(whole.length / each) }, (_, i) => whole.subarray(i * each, (i + 1) * each));
}
