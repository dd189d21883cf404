/** Opens files with weights of any format, which is detected by the first bytes, never by the name. */
import type { Config } from "../config/settings.js";
import type { OpenFile } from "../files/files.js";
import { STAND_IN_BYTES, standInOf } from "../files/stand-ins.js";
import { printable } from "../files/text.js";
import type { Which } from "../model/backbone.js";
import { configFromMetadata, isOfNetwork } from "./checkpoint-bytes.js";
import { nameWithoutWrappers } from "./names.js";
import { configFromNotes } from "./notes.js";
import { isProjection } from "./prefixes.js";
import { readSafetensorsHeader } from "./safetensors-header.js";
import { legacyMagic, readTorchLegacy } from "./torch/legacy.js";
import { isInstance } from "./torch/pickle.js";
import { elementBytes, type StoredTensor, toF32 } from "./torch/stored.js";
import { readTorchZip } from "./torch/zip.js";

/** A network of a file. */
export interface FoundNetwork {
  readonly format: "safetensors" | "PyTorch" | "PyTorch before 1.6";
  /** Undefined if the file holds one network. */
  readonly which: Which | undefined;
  /** Tensors by their names in the file. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Training settings, if this program wrote the file. */
  readonly config: Config | undefined;
}

/**
 * Finds the network of a file; default: the teacher of two. Throws for other formats, and for files without named
 * tensors. Never runs code of a file.
 */
export async function findNetwork(file: OpenFile, which?: Which): Promise<FoundNetwork> {
  const first = await file.read(0, Math.min(file.size, 16));
  if (startsWith(first, [0x50, 0x4b, 0x03, 0x04])) {
    return { format: "PyTorch", config: undefined, ...choose(await readTorchZip(file), which) };
  }
  if (startsWith(first, legacyMagic)) {
    return { format: "PyTorch before 1.6", config: undefined, ...choose(await readTorchLegacy(file), which) };
  }
  if (first[8] === OPENING_BRACE) {
    const { root, config } = await readSafetensors(file);
    return { format: "safetensors", config, ...choose(root, which) };
  }
  const standIn = standInOf(await file.read(0, Math.min(file.size, STAND_IN_BYTES)));
  throw new Error(`expected a file of PyTorch (torch.save) or safetensors, got ${standIn ?? "neither"}`);
}

const OPENING_BRACE = 0x7b;

function startsWith(bytes: Uint8Array, expected: ArrayLike<number>): boolean {
  return Array.from(expected).every((byte, i) => bytes[i] === byte);
}

/** Reads tensors by name; splits a checkpoint of this program into its two networks. */
async function readSafetensors(
  file: OpenFile,
): Promise<{ readonly root: ReadonlyMap<string, unknown>; readonly config: Config | undefined }> {
  const { bytes, entries, metadata } = await readSafetensorsHeader(file);
  const root = new Map<string, StoredTensor>();
  for (const { name, dtype, shape, begin } of entries) {
    const length = elementBytes[dtype] * shape.reduce((product, axis) => product * axis, 1);
    root.set(name, { dtype, shape, read: async () => toF32(await file.read(bytes + begin, length), dtype) });
  }
  const config = configFromMetadata(metadata) ?? configFromNotes(metadata);
  const student = [...root].flatMap(([name, tensor]) =>
    name.startsWith("student.") ? [[name.slice("student.".length), tensor] as const] : [],
  );
  if (config === undefined || student.length === 0) return { root, config };
  const teacher = [...root].filter(([name]) => isOfNetwork(name));
  return { root: new Map(Object.entries({ teacher: new Map(teacher), student: new Map(student) })), config };
}

/** Keys under which other projects store the weights of a single network. */
const WRAPPERS = ["state_dict", "model"];

function choose(root: unknown, which: Which | undefined): Pick<FoundNetwork, "which" | "tensors"> {
  if (!(root instanceof Map)) throw new Error(`expected tensors by name, got ${kindOf(root)}`);
  const networks = networksOf(root as ReadonlyMap<unknown, unknown>);
  const names = [...networks.keys()];
  if (names.length === 0) {
    if (which !== undefined) throw new Error(`the file holds a single network, without a ${which}; leave --which out`);
    return { which: undefined, tensors: tensorsOf(singleNetwork(root as ReadonlyMap<unknown, unknown>)) };
  }
  const wanted = which ?? "teacher";
  const network = networks.get(wanted);
  if (!network) throw new Error(`the file holds only a ${names.join("")}; use --which ${names.join("")}`);
  return { which: wanted, tensors: tensorsOf(network) };
}

/**
 * Returns the tensors of the only network within nested dictionaries, or of all of several, such as `model` and
 * `model_ema`, whose names then begin with the keys of their dictionaries.
 */
function singleNetwork(root: ReadonlyMap<unknown, unknown>): ReadonlyMap<unknown, unknown> {
  const found = nestedNetworks(root, "", MOST_NESTED);
  const [first, second] = found;
  if (!first) return unwrapped(root);
  if (!second) return first.network;
  return new Map(
    found.flatMap(({ path, network }) => [...network].map(([name, value]) => [path + String(name), value])),
  );
}

/** Maximum depth of dictionaries in which a network is looked for. */
const MOST_NESTED = 4;

interface Nested {
  /** The keys of the dictionaries, each with a dot. */
  readonly path: string;
  readonly network: ReadonlyMap<unknown, unknown>;
}

/** Lists the dictionaries that hold a patch projection. */
function nestedNetworks(within: ReadonlyMap<unknown, unknown>, path: string, depth: number): readonly Nested[] {
  const isNetwork = [...within].some(
    ([name, value]) => isTensor(value) && isProjection(nameWithoutWrappers(String(name))),
  );
  if (isNetwork) return [{ path, network: within }];
  if (depth === 0) return [];
  return [...within].flatMap(([key, value]) =>
    value instanceof Map
      ? nestedNetworks(value as ReadonlyMap<unknown, unknown>, `${path}${String(key)}.`, depth - 1)
      : [],
  );
}

function unwrapped(root: ReadonlyMap<unknown, unknown>): ReadonlyMap<unknown, unknown> {
  const wrapper = WRAPPERS.find((name) => root.get(name) instanceof Map);
  return wrapper === undefined ? root : (root.get(wrapper) as ReadonlyMap<unknown, unknown>);
}

/** Returns teacher and student, as DINO saves them under these keys and DINOv2 under names that begin so; empty without either. */
function networksOf(root: ReadonlyMap<unknown, unknown>): ReadonlyMap<Which, ReadonlyMap<unknown, unknown>> {
  const both = ["teacher", "student"] as const;
  const nested = both.flatMap((which) => {
    const network = root.get(which);
    return network instanceof Map ? [[which, network as ReadonlyMap<unknown, unknown>] as const] : [];
  });
  if (nested.length > 0) return new Map(nested);
  const entries = [...unwrapped(root)];
  const prefixed = both.flatMap((which) => {
    const own = entries.filter(([name]) => nameWithoutWrappers(String(name)).startsWith(`${which}.`));
    return own.length > 0 ? [[which, new Map(own)] as const] : [];
  });
  return new Map(prefixed);
}

function tensorsOf(network: ReadonlyMap<unknown, unknown>): ReadonlyMap<string, StoredTensor> {
  const tensors = new Map<string, StoredTensor>();
  for (const [name, value] of network) {
    if (typeof name === "string" && isTensor(value)) tensors.set(name, value);
    else throw new Error(`expected tensors by name, got ${kindOf(value)} under "${printable(String(name))}"`);
  }
  return tensors;
}

function isTensor(value: unknown): value is StoredTensor {
  return typeof value === "object" && value !== null && "read" in value;
}

function kindOf(value: unknown): string {
  if (isTensor(value)) return "one tensor";
  if (isInstance(value)) return `an object of ${value.instanceOf}`;
  if (Array.isArray(value)) return "a list";
  return value instanceof Map ? "a dictionary" : String(value);
}
