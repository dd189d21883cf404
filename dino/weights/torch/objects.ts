/** The names that a pickle of torch.save may use: tensors, and plain objects of checkpoints. All others are refused. */
import { type Call, instancesOf, isName, type PickleRules } from "./pickle.js";
import {
  type Dtype,
  elementBytes,
  elementsOf,
  gatherElements,
  spanOf,
  type StoredTensor,
  toF32,
  type StorageView,
} from "./stored.js";

/** A flat array of numbers of one type, which tensors are views of. */
export interface TorchStorage {
  /** Key in the file. */
  readonly key: string;
  readonly dtype: Dtype;
  readonly elements: number;
}

/** Reads `length` bytes of a storage, from byte `first` on. */
export type ReadStorage = (storage: TorchStorage, first: number, length: number) => Promise<Uint8Array<ArrayBuffer>>;

export interface TorchRules extends PickleRules {
  /** Storages referenced so far, by key. */
  readonly storages: ReadonlyMap<string, TorchStorage>;
}

const storageTypes: ReadonlyMap<string, Dtype> = new Map([
  ["torch.BoolStorage", "BOOL"],
  ["torch.ByteStorage", "U8"],
  ["torch.CharStorage", "I8"],
  ["torch.ShortStorage", "I16"],
  ["torch.IntStorage", "I32"],
  ["torch.LongStorage", "I64"],
  ["torch.HalfStorage", "F16"],
  ["torch.BFloat16Storage", "BF16"],
  ["torch.FloatStorage", "F32"],
  ["torch.DoubleStorage", "F64"],
]);

/**
 * Names that occur beside tensors, as in the `args` and learning rates of official checkpoints; read as opaque
 * instances.
 */
const harmless = [
  "argparse.Namespace",
  ...["numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype", "_codecs.encode"],
  ...["pathlib.PosixPath", "pathlib.WindowsPath", "__builtin__.set", "torch.device"],
  ...["torch.float16", "torch.bfloat16", "torch.float32", "torch.float64", "torch.int64", "torch.bool"],
];

/**
 * Returns the rules for a PyTorch file. Tensors become `StoredTensor`s, which are read later; each is checked to lie
 * within its storage, and to hold no more numbers than it.
 */
export function torchRules(read: ReadStorage): TorchRules {
  const storages = new Map<string, TorchStorage>();
  const persistent = (id: unknown): TorchStorage => {
    const { key, dtype, elements } = storageOf(id);
    const known = storages.get(key);
    if (known === undefined) {
      const storage = { key, dtype, elements };
      storages.set(key, storage);
      return storage;
    }
    if (known.dtype !== dtype || known.elements !== elements)
      throw new Error(`storage ${key} has two conflicting descriptions`);
    return known;
  };
  const tensor: Call = ([storage, offset, shape, strides]) => {
    if (!isStorage(storage)) throw new Error("a tensor without a storage");
    if (!isWhole(offset) || !isWholeNumbers(shape) || !isWholeNumbers(strides) || shape.length !== strides.length)
      throw new Error("a tensor whose offset, shape or strides are not whole numbers");
    return storedTensor(storage, { offset, shape, strides }, read);
  };
  const first: Call = ([value]) => value;
  const names = new Map<string, Call>([
    ...[...storageTypes.keys(), ...harmless].map((name): [string, Call] => [name, instancesOf(name)]),
    ["collections.OrderedDict", () => new Map()],
    ["torch.Size", first],
    ["torch._utils._rebuild_tensor", tensor],
    ["torch._utils._rebuild_tensor_v2", tensor],
    ["torch._utils._rebuild_parameter", first],
    ["torch._utils._rebuild_parameter_with_state", first],
  ]);
  return { names, persistent, storages };
}

/** Parses a persistent id: ("storage", type, key, device, elements), and before 1.6 the part of another storage. */
function storageOf(id: unknown): TorchStorage {
  if (!Array.isArray(id)) throw new Error("expected a storage, got another persistent id");
  const [kind, type, key, , elements, partOf] = id as readonly unknown[];
  const dtype = isName(type) ? storageTypes.get(type.name) : undefined;
  if (kind !== "storage" || dtype === undefined || typeof key !== "string" || !isWhole(elements))
    throw new Error("expected a storage, got another persistent id");
  if (partOf !== undefined && partOf !== null) throw new Error(`storage ${key} is part of another one`);
  return { key, dtype, elements };
}

function isStorage(value: unknown): value is TorchStorage {
  return typeof value === "object" && value !== null && "elements" in value;
}

function storedTensor(storage: TorchStorage, view: StorageView, read: ReadStorage): StoredTensor {
  const { dtype, elements } = storage;
  const { offset, shape } = view;
  const span = spanOf(view);
  if (!(offset + span <= elements && elementsOf(shape) <= elements)) {
    throw new Error(
      `a tensor [${shape.join(", ")}] with strides [${view.strides.join(", ")}] from element ${offset} on ` +
        `does not fit its storage of ${elements} elements`,
    );
  }
  const size = elementBytes[dtype];
  return {
    shape,
    dtype,
    read: async () => gatherElements(toF32(await read(storage, offset * size, span * size), dtype), view),
  };
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isWholeNumbers(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.length <= MAX_AXES && value.every(isWhole);
}

/** Limit on axes; no weight has as many. */
const MAX_AXES = 16;
