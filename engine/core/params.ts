import type { Device } from "./device.js";
import { allocate, copyOut, upload } from "./memory.js";
import {
  ALIGNMENT,
  BYTES_PER_ELEMENT,
  checkShape,
  formatShape,
  type Resident,
  type Shape,
  sizeOf,
  type Tensor,
} from "./tensor.js";

/** Name and shape of a parameter. */
export interface ParamSpec {
  readonly name: string;
  readonly shape: Shape;
  /** False for parameters that are saved and averaged but not trained (a fixed `weight_g`). */
  readonly trainable: boolean;
}

/** Position of a parameter in the flat buffer. */
export interface LayoutEntry extends ParamSpec {
  /** First element in the flat buffer. */
  readonly offset: number;
  readonly size: number;
}

/** Positions of all parameters in a flat buffer; each starts at a valid binding offset, of f32 and of f16 elements. */
export interface Layout {
  readonly entries: readonly LayoutEntry[];
  /** Elements of the flat buffer, gaps included. */
  readonly size: number;
}

/** One flat resident buffer; parameters are named views of it. */
export interface Params extends Disposable {
  readonly device: Device;
  readonly layout: Layout;
  /** The whole buffer `[layout.size]`; may be larger than one binding holds. */
  readonly flat: Tensor;
  readonly tensors: Readonly<Record<string, Tensor>>;
  /** Returns a parameter by name. Throws for an unknown name, listing the known ones. */
  readonly get: (name: string) => Tensor;
  /** Writes all parameters. Throws for missing or unknown names and for wrong numbers of values. */
  write(values: ReadonlyMap<string, ArrayLike<number>>): void;
  /** Reads all parameters, in layout order. */
  read(): Promise<Map<string, Float32Array>>;
}

/** Lays out parameters one after another. Throws for a repeated name. */
export function layoutOf(specs: readonly ParamSpec[]): Layout {
  const names = new Set<string>();
  let size = 0;
  const entries = specs.map((spec) => {
    checkShape(spec.name, spec.shape);
    if (names.has(spec.name)) throw new Error(`layoutOf: parameter "${spec.name}" appears twice`);
    names.add(spec.name);
    const entry = { ...spec, offset: size, size: sizeOf(spec.shape) };
    size += Math.ceil(entry.size / ENTRY_ALIGNMENT) * ENTRY_ALIGNMENT;
    return entry;
  });
  return { entries, size };
}

/** Alignment of entries in elements, of which f16 ones are half as large. */
const ENTRY_ALIGNMENT = 2 * ALIGNMENT;

/** Parameters that one binding holds. */
export interface Run {
  /** First element in the flat buffer, and the end, at a whole four: a gap may follow a parameter. */
  readonly start: number;
  readonly end: number;
  readonly entries: readonly LayoutEntry[];
}

/** Divides parameters, by their offsets, into runs of which a binding of `bytes` holds each. */
export function runsOf(entries: readonly LayoutEntry[], bytes: number): readonly Run[] {
  const runs: { start: number; end: number; entries: LayoutEntry[] }[] = [];
  for (const entry of entries.toSorted((a, b) => a.offset - b.offset)) {
    const end = entry.offset + Math.ceil(entry.size / 4) * 4;
    let run = runs.at(-1);
    if (!run || (end - run.start) * BYTES_PER_ELEMENT > bytes) {
      runs.push((run = { start: entry.offset, end, entries: [] }));
    }
    run.entries.push(entry);
    run.end = end;
  }
  return runs;
}

/** Creates parameters of zeros; `label` names them in messages ("student"). */
export function createParams(device: Device, layout: Layout, label: string): Params {
  const buffer = allocate(device, layout.size * BYTES_PER_ELEMENT, label);
  const view = (name: string, shape: Shape, offset: number): Tensor => {
    const storage: Resident = { kind: "resident", device, buffer, label: `${label} ${name}` };
    return { shape, dtype: "f32", storage, offset: offset * BYTES_PER_ELEMENT };
  };
  const flat = view("(all)", [layout.size], 0);
  const tensors = Object.fromEntries(
    layout.entries.map(({ name, shape, offset }) => [name, view(name, shape, offset)]),
  );
  return {
    device,
    layout,
    flat,
    tensors,
    get(name) {
      const found = Object.hasOwn(tensors, name) ? tensors[name] : undefined;
      if (!found) throw new Error(`${label}: no parameter "${name}"; there are ${Object.keys(tensors).join(", ")}`);
      return found;
    },
    write(values) {
      const unknown = [...values.keys()].filter((name) => !Object.hasOwn(tensors, name));
      const missing = layout.entries.filter(({ name }) => !values.has(name)).map(({ name }) => name);
      if (unknown.length + missing.length > 0) {
        throw new Error(`${label}: missing [${missing.join(", ")}], unknown [${unknown.join(", ")}]`);
      }
      for (const { name, shape, size } of layout.entries) {
        const { length } = values.get(name)!;
        if (length !== size)
          throw new Error(`${label} ${name}: ${formatShape(shape)} takes ${size} values, got ${length}`);
      }
      for (const { name } of layout.entries) upload(tensors[name]!, values.get(name)!);
    },
    async read() {
      const staging = device.gpu.createBuffer({
        size: buffer.size,
        usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
      });
      try {
        const all = await copyOut(device, buffer, 0, staging);
        return new Map(layout.entries.map(({ name, offset, size }) => [name, all.slice(offset, offset + size)]));
      } finally {
        staging.destroy();
      }
    },
    [Symbol.dispose]: () => buffer.destroy(),
  };
}
