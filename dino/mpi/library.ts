/** Calls the MPI functions that training needs in Open MPI or MPICH, through koffi. */
import type { KoffiFunc, LibraryHandle } from "koffi";
import type { Launch } from "./launcher.js";

/** Memory that MPI reads and writes in place; may be a mapped range of a device buffer. */
export type Memory = ArrayBuffer | ArrayBufferView;

/**
 * An initialised MPI library. Functions that return a promise run on another thread, in the order of the calls; every function
 * throws the library's error message.
 */
export interface Library {
  /** Name and version, such as "Open MPI v4.1.4". */
  readonly name: string;
  readonly rank: number;
  readonly size: number;
  /** All-reduce: to = the sum over all ranks of `from`, f32, identical on every rank. */
  sum(from: Memory, to: Memory): Promise<void>;
  /** to [ranks, bytes of `from`] = every rank's `from`. */
  allGather(from: Memory, to: Memory): Promise<void>;
  /** from, to [ranks, bytes]: sends row r to rank r and receives its row for this rank. */
  allToAll(from: Memory, to: Memory): Promise<void>;
  /** Copies rank 0's bytes to all other ranks. */
  broadcast(bytes: Memory): Promise<void>;
  send(bytes: Memory, rank: number): Promise<void>;
  receive(bytes: Memory, rank: number): Promise<void>;
  /** Waits until every rank finalizes, and shuts the library down. */
  finalize(): void;
  /** Ends all processes of the world, including this one. */
  abort(exitCode: number): void;
}

/** The handles of both libraries: symbols in Open MPI, numbers in MPICH. */
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

/** A function of the library; returns an error code. */
type MpiFunction = KoffiFunc<(...given: unknown[]) => number>;

/** File names of the libraries; MPICH outside of Debian and Intel MPI are named libmpi.so.12. */
const NAMES: Readonly<Record<Kind, readonly string[]>> =
  process.platform === "darwin"
    ? { "Open MPI": ["libmpi.40.dylib"], MPICH: ["libmpi.12.dylib", "libmpich.12.dylib"] }
    : { "Open MPI": ["libmpi.so.40"], MPICH: ["libmpich.so.12", "libmpi.so.12"] };

const PACKAGES = "libopenmpi3 or libmpich12 on Debian and Ubuntu, openmpi or mpich on Fedora";

/** The maximum number of elements of one call; MPI counts up to 2^31 - 1. */
const MOST = 2 ** 30;

/**
 * Opens and initialises the MPI library of the launcher, or the one at path `given`. Throws if none is installed or none of those
 * installed joins the launcher's world.
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

/** Initialises MPI for calls from several threads and opens its world. */
function initialise(lib: LibraryHandle): Library {
  const mpi = bind(lib);
  const { world, declare, expectSuccess } = mpi;
  const name = initialiseThreads(mpi);
  const size = numberOf(mpi, "MPI_Comm_size");
  const enqueue = openQueue(expectSuccess);
  const finalize = declare("int MPI_Finalize()");
  const abort = declare("int MPI_Abort(HANDLE world, int code)");
  return {
    name,
    rank: numberOf(mpi, "MPI_Comm_rank"),
    size,
    ...collectives(mpi, enqueue, size),
    ...messages(mpi, enqueue),
    finalize: () => expectSuccess("MPI_Finalize", finalize()),
    abort: (exitCode) => void abort(world, exitCode),
  };
}

/** The handles of a library, and the way to declare its functions and check what they return. */
interface Bindings {
  readonly world: unknown;
  readonly byte: unknown;
  readonly float: unknown;
  readonly plus: unknown;
  readonly errorsReturn: unknown;
  /** Declares a function by its C prototype, in which HANDLE is the type of a handle. */
  readonly declare: (prototype: string) => MpiFunction;
  /** Throws the library's error message unless the code is 0. */
  readonly expectSuccess: (name: string, code: number) => void;
}

function bind(lib: LibraryHandle): Bindings {
  const { type, handles } = KINDS[kindOf(lib)];
  const handle = (name: keyof typeof handles): unknown => {
    const place: string | number = handles[name];
    return typeof place === "number" ? place : lib.symbol(place);
  };
  const declare = (prototype: string): MpiFunction => lib.func(prototype.replaceAll("HANDLE", type));
  const errorText = declare("int MPI_Error_string(int code, _Out_ void *text, _Out_ int *length)");
  return {
    world: handle("world"),
    byte: handle("byte"),
    float: handle("float"),
    plus: handle("sum"),
    errorsReturn: handle("errorsReturn"),
    declare,
    expectSuccess(name, code) {
      if (code === 0) return;
      const text = Buffer.alloc(512);
      errorText(code, text, [0]);
      throw new Error(`mpi: ${name}: ${text.toString("latin1").split("\0")[0]}`);
    },
  };
}

/** Initialises MPI and makes its errors return codes; returns name and version. Throws if it is built for one thread only. */
function initialiseThreads({ world, errorsReturn, declare, expectSuccess }: Bindings): string {
  const SERIALIZED = 2; // calls come from several threads, but never two at a time
  const provided = [0];
  const initThread = declare("int MPI_Init_thread(void *argc, void *argv, int required, _Out_ int *provided)");
  expectSuccess("MPI_Init_thread", initThread(null, null, SERIALIZED, provided));
  const name = versionOf(declare("int MPI_Get_library_version(_Out_ void *text, _Out_ int *length)"));
  if (provided[0]! < SERIALIZED)
    throw new Error(`mpi: ${name} takes calls from one thread only; install another build`);
  const setHandler = declare("int MPI_Comm_set_errhandler(HANDLE world, HANDLE handler)");
  expectSuccess("MPI_Comm_set_errhandler", setHandler(world, errorsReturn));
  return name;
}

/** Calls a function that returns one number about the world. */
function numberOf({ world, declare, expectSuccess }: Bindings, name: "MPI_Comm_size" | "MPI_Comm_rank"): number {
  const out = [0];
  expectSuccess(name, declare(`int ${name}(HANDLE world, _Out_ int *out)`)(world, out));
  return out[0]!;
}

/** Calls a function on another thread, after all calls before it; rejects if it fails. */
type Enqueue = (name: string, fn: MpiFunction, ...args: readonly unknown[]) => Promise<void>;

function openQueue(expectSuccess: Bindings["expectSuccess"]): Enqueue {
  let previous: Promise<unknown> = Promise.resolve();
  return (name, fn, ...args) => {
    const call = async (): Promise<void> => {
      const code = await new Promise<number>((resolve, reject) => {
        fn.async(...args, (error: Error | null, result: number) => {
          if (error) reject(error);
          else resolve(result);
        });
      });
      expectSuccess(name, code);
    };
    const done = previous.then(call);
    previous = done.catch(() => undefined); // the caller handles the error
    return done;
  };
}

/** The operations in which all ranks take part. */
function collectives(
  { world, byte, float, plus, declare }: Bindings,
  enqueue: Enqueue,
  size: number,
): Pick<Library, "sum" | "allGather" | "allToAll" | "broadcast"> {
  const allReduce = declare("int MPI_Allreduce(void *, void *, int, HANDLE, HANDLE, HANDLE)");
  const allGather = declare("int MPI_Allgather(void *, int, HANDLE, void *, int, HANDLE, HANDLE)");
  const allToAll = declare("int MPI_Alltoall(void *, int, HANDLE, void *, int, HANDLE, HANDLE)");
  const broadcast = declare("int MPI_Bcast(void *, int, HANDLE, int, HANDLE)");
  return {
    async sum(from, to) {
      const [sources, targets] = [pieces(from, 4), pieces(to, 4)];
      for (const [i, piece] of sources.entries())
        await enqueue("MPI_Allreduce", allReduce, piece, targets[i], piece.length / 4, float, plus, world);
    },
    allGather: (from, to) =>
      enqueue("MPI_Allgather", allGather, from, from.byteLength, byte, to, from.byteLength, byte, world),
    allToAll: (from, to) => {
      const bytes = from.byteLength / size;
      return enqueue("MPI_Alltoall", allToAll, from, bytes, byte, to, bytes, byte, world);
    },
    async broadcast(bytes) {
      for (const piece of pieces(bytes)) await enqueue("MPI_Bcast", broadcast, piece, piece.length, byte, 0, world);
    },
  };
}

/** The operations between two ranks. */
function messages({ world, byte, declare }: Bindings, enqueue: Enqueue): Pick<Library, "send" | "receive"> {
  const TAG = 0;
  const send = declare("int MPI_Send(void *, int, HANDLE, int, int, HANDLE)");
  const receive = declare("int MPI_Recv(void *, int, HANDLE, int, int, HANDLE, void *)");
  return {
    async send(bytes, rank) {
      for (const piece of pieces(bytes)) await enqueue("MPI_Send", send, piece, piece.length, byte, rank, TAG, world);
    },
    async receive(bytes, rank) {
      const status = new Uint8Array(64); // of 24 bytes at most
      for (const piece of pieces(bytes))
        await enqueue("MPI_Recv", receive, piece, piece.length, byte, rank, TAG, world, status);
    },
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

/** Returns name and version, the beginning of a long description. */
function versionOf(libraryVersion: MpiFunction): string {
  const text = Buffer.alloc(8192); // the larger MPI_MAX_LIBRARY_VERSION_STRING, of MPICH
  libraryVersion(text, [0]);
  const words = text.toString("latin1").split("\0")[0]!;
  return /^[^,\n]*/.exec(words)![0].replace(/\s+/g, " ").replace("Version: ", "").trim();
}

/** Splits memory into pieces of at most `MOST` elements of `unit` bytes, as one call takes. */
function pieces(memory: Memory, unit = 1): Uint8Array[] {
  const whole =
    memory instanceof ArrayBuffer
      ? new Uint8Array(memory)
      : new Uint8Array(memory.buffer, memory.byteOffset, memory.byteLength);
  const each = MOST * unit;
  return Array.from({ length: Math.ceil(whole.length / each) }, (_, i) => whole.subarray(i * each, (i + 1) * each));
}
